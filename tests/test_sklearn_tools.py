"""Every container in every tool of scikit-learn: the same numbers, and patients kept whole."""

from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - switches it on
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    StratifiedGroupKFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.utils._testing import SkipTest
from sklearn.utils.fixes import parse_version

from milkit import MISVM, BagArray, BagStatistics, InstanceTransformer, SetKernel
from milkit.base import BagMixin, BagsToBagsMixin
from milkit.model_selection import GroupedSplit
from milkit.utils.validation import validate_bags

matplotlib.use("Agg")

N_PATIENTS = 24


# -- the data: three features, then the number of the bag and of its patient ------------------


def _make():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(N_PATIENTS), 2)
    y = patient % 2
    bags = []
    for i, label in enumerate(y):
        bag = rng.normal(size=(rng.integers(1, 9), 5))
        bag[:, :3] += 0.5 * label
        bag[:, 3:] = i, patient[i]
        bags.append(bag)
    return bags, y, np.array([f"patient-{p:02d}" for p in patient])


BAGS, Y, GROUPS = _make()
Y3 = np.unique(GROUPS, return_inverse=True)[1] % 3


class PatientSpy(BagMixin, BagsToBagsMixin, BaseEstimator):
    """Cuts off the last two features, and raises where a new bag's patient was fitted on."""

    def fit(self, X, y=None):
        flat, _ = validate_bags(self, X).flat()
        self.bags_, self.patients_ = np.unique(flat[:, 3]), np.unique(flat[:, 4])
        return self

    def transform(self, X):
        bags = validate_bags(self, X, reset=False)
        flat, _ = bags.flat()
        leaked = ~np.isin(flat[:, 3], self.bags_) & np.isin(flat[:, 4], self.patients_)
        if leaked.any():
            raise AssertionError(f"Patient {flat[leaked, 4][0]:.0f} is on both sides of a split.")
        return bags.with_instances(flat[:, :3])


class Case:
    """A container, and how its groups reach a splitter."""

    def __init__(self, container, routing=False):
        self.container = container
        self.routing = routing
        self.y = Y
        if container == "list":
            self.X = BAGS
        elif container == "object array":
            self.X = np.empty(len(BAGS), dtype=object)
            for i, bag in enumerate(BAGS):
                self.X[i] = bag
        elif container == "BagArray":
            self.X = BagArray.from_list(BAGS, groups=GROUPS)
        else:
            # A list of arrays fills a column of objects; the label beside it is never a feature.
            self.X = pd.DataFrame({"cells": BAGS, "patient": GROUPS, "label": Y})
        self.carries_groups = container in ("BagArray", "DataFrame")

    def splitter(self, n=3):
        """Folds that keep patients whole; GroupedSplit(n) makes those of StratifiedGroupKFold."""
        if not self.carries_groups:
            return StratifiedGroupKFold(n)
        return GroupedSplit(n, group="patient" if self.container == "DataFrame" else None)

    def groups(self):
        """What a function such as cross_val_score must be told."""
        if self.carries_groups:
            return {}
        return {"params": {"groups": GROUPS}} if self.routing else {"groups": GROUPS}

    def fit_groups(self):
        """What fit of a search must be told."""
        return {} if self.carries_groups else {"groups": GROUPS}

    def folds(self, n=3):
        """``cv`` of a tool that tells its splitter no groups: splits made beforehand."""
        if self.carries_groups:
            return self.splitter(n)
        return list(StratifiedGroupKFold(n).split(BAGS, Y, GROUPS))


def _model(statistics=("mean", "std")):
    return make_pipeline(
        PatientSpy(),
        InstanceTransformer(StandardScaler()),
        BagStatistics(statistics),
        LogisticRegression(),
    )


GRID = {"logisticregression__C": [0.01, 1.0, 100.0]}


# -- the tools: each returns numbers -----------------------------------------------------------


def pipeline(case):
    return clone(_model()).fit(case.X, case.y).predict_proba(case.X)


def feature_union(case):
    union = make_union(BagStatistics(["mean"]), BagStatistics(["max"]), SetKernel())
    table = union.fit_transform(case.X, case.y)
    assert table.shape == (len(BAGS), 5 + 5 + len(BAGS))
    return table


def split_once(case):
    X_train, X_test, y_train, y_test = train_test_split(
        case.X, case.y, stratify=case.y, random_state=0
    )
    assert type(X_train) is type(case.X)
    if case.container == "BagArray":
        assert np.shares_memory(X_train.instances, case.X.instances)
        assert len(X_train.groups) == len(X_train)
    # train_test_split takes no groups, so the patients are not whole and the spy stays out.
    model = _model()[1:].fit(X_train, y_train)
    return np.r_[model.predict_proba(X_test)[:, 1], y_test]


def scores(case):
    return cross_val_score(_model(), case.X, case.y, cv=case.splitter(), **case.groups())


def predictions(case):
    return cross_val_predict(
        _model(), case.X, case.y, cv=case.splitter(), method="predict_proba", **case.groups()
    )


def validate(case):
    result = cross_validate(
        _model(),
        case.X,
        case.y,
        cv=case.splitter(),
        scoring=["roc_auc", "accuracy"],
        return_train_score=True,
        **case.groups(),
    )
    return np.array([value for key, value in result.items() if "time" not in key])


def _search_numbers(search, case):
    search.fit(case.X, case.y, **case.fit_groups())
    return np.r_[search.cv_results_["mean_test_score"], search.predict_proba(case.X)[:, 1]]


def grid_search(case):
    # Worker processes cannot import the spy of a test module.
    search = GridSearchCV(_model()[1:], GRID, cv=case.splitter(), n_jobs=2, scoring="roc_auc")
    return _search_numbers(search, case)


def grid_search_with_spy(case):
    return _search_numbers(GridSearchCV(_model(), GRID, cv=case.splitter()), case)


def halving_search(case):
    search = HalvingGridSearchCV(
        _model(), GRID, cv=case.splitter(), min_resources=24, factor=2, random_state=0
    )
    return _search_numbers(search, case)


def nested_search(case):
    search = GridSearchCV(_model(), GRID, cv=case.splitter(2))
    return cross_val_score(search, case.X, case.y, cv=case.splitter(), **case.groups())


def curve_of_sizes(case):
    result = learning_curve(
        _model(), case.X, case.y, cv=case.splitter(), train_sizes=[0.5, 1.0], **case.groups()
    )
    return np.hstack([result[1], result[2]])


def curve_of_parameter(case):
    (name, values), *_ = GRID.items()
    result = validation_curve(
        _model(),
        case.X,
        case.y,
        cv=case.splitter(),
        param_name=name,
        param_range=values,
        **case.groups(),
    )
    return np.hstack(result)


def permutation_test(case):
    # With groups= scikit-learn permutes labels inside each group only, with params= over all
    # bags, so all containers pass them here, and each way is compared with itself. The test
    # that is wanted for patients is milkit.model_selection.group_permutation_test.
    told = {"params": {"groups": GROUPS}} if case.routing else {"groups": GROUPS}
    score, permuted, p = permutation_test_score(
        _model(), case.X, case.y, cv=case.splitter(), n_permutations=3, random_state=0, **told
    )
    return np.r_[score, permuted, p]


def stacking(case):
    stack = StackingClassifier(
        [("mean", _model(["mean"])), ("max", _model(["max"]))], cv=case.folds()
    )
    return stack.fit(case.X, case.y).predict_proba(case.X)


def voting(case):
    vote = VotingClassifier([("mean", _model(["mean"])), ("max", _model(["max"]))], voting="soft")
    return vote.fit(case.X, case.y).predict_proba(case.X)


def calibrated(case):
    # What is new to a member of the ensemble belongs to patients that are new to it as well.
    return np.hstack(
        [
            CalibratedClassifierCV(_model(), cv=case.folds(), ensemble=ensemble)
            .fit(case.X, case.y)
            .predict_proba(case.X)
            for ensemble in (True, False)
        ]
    )


def tuned_threshold(case):
    tuned = TunedThresholdClassifierCV(_model(), cv=case.folds()).fit(case.X, case.y)
    return np.r_[tuned.best_threshold_, tuned.predict(case.X)]


def fixed_threshold(case):
    fixed = FixedThresholdClassifier(_model(), threshold=0.3, response_method="predict_proba")
    return fixed.fit(case.X, case.y).predict(case.X)


def frozen(case):
    fitted = FrozenEstimator(_model().fit(case.X, case.y))
    return CalibratedClassifierCV(fitted, cv=case.folds()).fit(case.X, case.y).predict_proba(case.X)


def one_vs_rest(case):
    return OneVsRestClassifier(_model()).fit(case.X, Y3).predict_proba(case.X)


def roc_display(case):
    if parse_version(sklearn.__version__) < parse_version("1.7"):
        raise SkipTest("RocCurveDisplay.from_cv_results is new in scikit-learn 1.7.")
    result = cross_validate(
        _model(),
        case.X,
        case.y,
        cv=case.splitter(),
        return_estimator=True,
        return_indices=True,
        **case.groups(),
    )
    display = RocCurveDisplay.from_cv_results(result, case.X, case.y)
    matplotlib.pyplot.close(display.figure_)
    return np.array(display.roc_auc)


def learning_curve_display(case):
    # It takes no params=, so that a list cannot give its groups under metadata routing.
    display = LearningCurveDisplay.from_estimator(
        _model(), case.X, case.y, cv=case.folds(), train_sizes=[0.5, 1.0]
    )
    matplotlib.pyplot.close(display.figure_)
    return np.hstack([display.train_scores, display.test_scores])


TOOLS = [
    pipeline,
    feature_union,
    split_once,
    scores,
    predictions,
    validate,
    grid_search,
    grid_search_with_spy,
    halving_search,
    nested_search,
    curve_of_sizes,
    curve_of_parameter,
    permutation_test,
    stacking,
    voting,
    calibrated,
    tuned_threshold,
    fixed_threshold,
    frozen,
    one_vs_rest,
    roc_display,
    learning_curve_display,
]
# The inner splitter of a nested search gets the groups of a list under metadata routing only.
LIST_NEEDS_ROUTING = {nested_search}


@cache
def _numbers_of_the_list(tool, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        return tool(Case("list", routing))


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("container", ["list", "object array", "BagArray", "DataFrame"])
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_tool(tool, container, routing):
    case = Case(container, routing)
    with sklearn.config_context(enable_metadata_routing=routing):
        if tool in LIST_NEEDS_ROUTING and not case.carries_groups and not routing:
            with pytest.raises(ValueError, match="'groups' parameter should not be None"):
                cross_val_score(
                    GridSearchCV(_model(), GRID, cv=GroupKFold(2)),
                    case.X,
                    case.y,
                    cv=StratifiedGroupKFold(3),
                    groups=GROUPS,
                    error_score="raise",
                )
            return
        numbers = tool(case)
    assert np.isfinite(numbers).all()
    like = routing if tool is permutation_test else tool in LIST_NEEDS_ROUTING
    np.testing.assert_allclose(numbers, _numbers_of_the_list(tool, like), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("container", ["list", "BagArray", "DataFrame"])
def test_the_spy_sees_a_split_patient(container):
    case = Case(container)
    with pytest.raises(AssertionError, match=r"Patient \d+ is on both sides of a split"):
        cross_val_predict(
            _model(), case.X, case.y, cv=StratifiedKFold(3, shuffle=True, random_state=0)
        )
    with pytest.raises(AssertionError, match=r"Patient \d+ is on both sides of a split"):
        StackingClassifier(
            [("mean", _model())], cv=StratifiedKFold(3, shuffle=True, random_state=0)
        ).fit(case.X, case.y)


# -- an estimator on bags of its own in the tools that clone and refit it -----------------------


def _misvm_scores(case):
    model = make_pipeline(PatientSpy(), InstanceTransformer(StandardScaler()), MISVM())
    return cross_val_score(
        model, case.X, case.y, cv=case.splitter(), scoring="roc_auc", **case.groups()
    )


def _misvm_searched(case):
    model = make_pipeline(PatientSpy(), MISVM(random_state=0))
    search = GridSearchCV(model, {"misvm__C": [0.1, 10.0]}, cv=case.folds(), scoring="roc_auc")
    search.fit(case.X, case.y)
    return np.r_[search.cv_results_["mean_test_score"], search.decision_function(case.X)]


def _misvm_calibrated(case):
    model = make_pipeline(PatientSpy(), MISVM(kernel="linear", random_state=0))
    fitted = CalibratedClassifierCV(model, cv=case.folds(), ensemble=False).fit(case.X, case.y)
    return fitted.predict_proba(case.X)


def _misvm_stacked(case):
    svm = make_pipeline(PatientSpy(), MISVM(random_state=0))
    stack = StackingClassifier([("svm", svm), ("mean", _model())], cv=case.folds())
    return stack.fit(case.X, case.y).predict_proba(case.X)


def _misvm_three_classes(case):
    model = make_pipeline(PatientSpy(), MISVM(random_state=0))
    return OneVsRestClassifier(model).fit(case.X, Y3).decision_function(case.X)


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("container", ["object array", "BagArray", "DataFrame"])
@pytest.mark.parametrize(
    "tool",
    [_misvm_scores, _misvm_searched, _misvm_calibrated, _misvm_stacked, _misvm_three_classes],
    ids=lambda tool: tool.__name__,
)
def test_misvm_in_tool(tool, container, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        numbers = tool(Case(container, routing))
    np.testing.assert_allclose(numbers, _numbers_of_the_list(tool, False), rtol=1e-5, atol=1e-7)


# -- clone, names, pages ---------------------------------------------------------------------


def test_clone_of_a_nested_search_is_unfitted():
    case = Case("BagArray")
    search = GridSearchCV(_model(), GRID, cv=case.splitter()).fit(case.X, case.y)
    copy = clone(search)
    assert not hasattr(copy, "best_estimator_")
    np.testing.assert_array_equal(copy.fit(case.X, case.y).predict(case.X), search.predict(case.X))


@pytest.mark.parametrize("container", ["list", "object array", "BagArray", "DataFrame"])
def test_set_output_through_a_pipeline(container):
    case = Case(container)
    table = (
        make_pipeline(InstanceTransformer(StandardScaler()), BagStatistics(["mean", "size"]))
        .set_output(transform="pandas")
        .fit_transform(case.X)
    )
    assert list(table.columns) == [*(f"mean_x{j}" for j in range(5)), "size"]
    assert len(table) == len(BAGS)


def test_set_output_uses_feature_names():
    X = BagArray.from_list(BAGS, feature_names=["area", "round", "dark", "bag", "patient"])
    steps = make_pipeline(InstanceTransformer(StandardScaler()), BagStatistics(["max"]))
    table = steps.set_output(transform="pandas").fit_transform(X)
    assert list(table.columns) == ["max_area", "max_round", "max_dark", "max_bag", "max_patient"]
    assert list(steps.get_feature_names_out()) == list(table.columns)


@pytest.mark.parametrize(
    ("estimator", "page"),
    [
        (BagStatistics(), "milkit.embedding.BagStatistics"),
        (InstanceTransformer(StandardScaler()), "milkit.preprocessing.InstanceTransformer"),
        (SetKernel(), "milkit.kernels.SetKernel"),
        (MISVM(), "milkit.svm.MISVM"),
        (make_pipeline(BagStatistics(), LogisticRegression()), "milkit.embedding.BagStatistics"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_html_links_to_the_documentation(estimator, page):
    html = estimator._repr_html_()
    assert f"https://milkit.readthedocs.io/en/stable/api/generated/{page}.html" in html
