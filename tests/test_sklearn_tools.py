"""Every container in every tool of scikit-learn: the same numbers, and patients kept whole."""

import inspect
import re
from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - switches it on
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay, roc_auc_score
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
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils._testing import SkipTest, ignore_warnings
from sklearn.utils.fixes import parse_version

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    ClinicalFusion,
    InstanceTransformer,
    InstanceVotingClassifier,
    SetKernel,
)
from milkit.base import BagMixin, BagsToBagsMixin
from milkit.exceptions import GroupLeakageError
from milkit.model_selection import GroupedSplit
from milkit.utils.validation import validate_bags

from .test_common import ALL_ESTIMATORS, ESTIMATORS, public_names

matplotlib.use("Agg")

N_PATIENTS = 24
CONTAINERS = ["list", "object array", "BagArray", "DataFrame"]


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


def look_up(numbers):
    return [BAGS[i] for i in np.ravel(numbers)]


class Case:
    """A container, and how its groups reach a splitter.

    "numbers" is no container of bags but the reference: the tool gets a plain table with the
    number of each bag, and the first step of the pipeline looks the bags up.
    """

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
        elif container == "numbers":
            self.X = np.arange(len(BAGS))[:, None]
        elif container == "BagArray":
            self.X = BagArray.from_list(BAGS, groups=GROUPS)
        else:
            # A list of arrays fills a column of objects; the label beside it is never a feature.
            self.X = pd.DataFrame({"cells": BAGS, "patient": GROUPS, "label": Y})
        self.carries_groups = container in ("BagArray", "DataFrame")

    def on_bags(self, model):
        if self.container != "numbers":
            return model
        steps = getattr(model, "steps", [("model", model)])
        return Pipeline([("look_up", FunctionTransformer(look_up)), *steps])

    def model(self, statistics=("mean", "std"), spy=True):
        return self.on_bags(_model(statistics)[0 if spy else 1 :])

    @property
    def n_jobs(self):
        # Worker processes cannot import what is defined in a test module.
        return 1 if self.container == "numbers" else 2

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
    return clone(case.model()).fit(case.X, case.y).predict_proba(case.X)


def feature_union(case):
    union = make_union(BagStatistics(["mean"]), BagStatistics(["max"]), SetKernel())
    table = case.on_bags(union).fit_transform(case.X, case.y)
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
    model = case.model(spy=False).fit(X_train, y_train)
    return np.r_[model.predict_proba(X_test)[:, 1], y_test]


def scores(case):
    return cross_val_score(case.model(), case.X, case.y, cv=case.splitter(), **case.groups())


def predictions(case):
    return cross_val_predict(
        case.model(), case.X, case.y, cv=case.splitter(), method="predict_proba", **case.groups()
    )


def validate(case):
    result = cross_validate(
        case.model(),
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
    model = case.model(spy=False)
    search = GridSearchCV(model, GRID, cv=case.splitter(), n_jobs=case.n_jobs, scoring="roc_auc")
    return _search_numbers(search, case)


def grid_search_with_spy(case):
    return _search_numbers(GridSearchCV(case.model(), GRID, cv=case.splitter()), case)


def halving_search(case):
    search = HalvingGridSearchCV(
        case.model(), GRID, cv=case.splitter(), min_resources=24, factor=2, random_state=0
    )
    return _search_numbers(search, case)


def nested_search(case):
    search = GridSearchCV(case.model(), GRID, cv=case.splitter(2))
    return cross_val_score(search, case.X, case.y, cv=case.splitter(), **case.groups())


def curve_of_sizes(case):
    result = learning_curve(
        case.model(), case.X, case.y, cv=case.splitter(), train_sizes=[0.5, 1.0], **case.groups()
    )
    return np.hstack([result[1], result[2]])


def curve_of_parameter(case):
    (name, values), *_ = GRID.items()
    result = validation_curve(
        case.model(),
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
    # bags, so all containers pass them here, and each way has its own reference. The test
    # that is wanted for patients is milkit.model_selection.group_permutation_test.
    told = {"params": {"groups": GROUPS}} if case.routing else {"groups": GROUPS}
    score, permuted, p = permutation_test_score(
        case.model(), case.X, case.y, cv=case.splitter(), n_permutations=3, random_state=0, **told
    )
    return np.r_[score, permuted, p]


def stacking(case):
    stack = StackingClassifier(
        [("mean", case.model(["mean"])), ("max", case.model(["max"]))], cv=case.folds()
    )
    return stack.fit(case.X, case.y).predict_proba(case.X)


def voting(case):
    vote = VotingClassifier(
        [("mean", case.model(["mean"])), ("max", case.model(["max"]))], voting="soft"
    )
    return vote.fit(case.X, case.y).predict_proba(case.X)


def calibrated(case):
    # What is new to a member of the ensemble belongs to patients that are new to it as well.
    return np.hstack(
        [
            CalibratedClassifierCV(case.model(), cv=case.folds(), ensemble=ensemble)
            .fit(case.X, case.y)
            .predict_proba(case.X)
            for ensemble in (True, False)
        ]
    )


def tuned_threshold(case):
    tuned = TunedThresholdClassifierCV(case.model(), cv=case.folds()).fit(case.X, case.y)
    return np.r_[tuned.best_threshold_, tuned.predict(case.X)]


def fixed_threshold(case):
    fixed = FixedThresholdClassifier(case.model(), threshold=0.3, response_method="predict_proba")
    return fixed.fit(case.X, case.y).predict(case.X)


def frozen(case):
    fitted = FrozenEstimator(case.model().fit(case.X, case.y))
    return CalibratedClassifierCV(fitted, cv=case.folds()).fit(case.X, case.y).predict_proba(case.X)


def one_vs_rest(case):
    return OneVsRestClassifier(case.model()).fit(case.X, Y3).predict_proba(case.X)


def roc_display(case):
    if parse_version(sklearn.__version__) < parse_version("1.7"):
        raise SkipTest("RocCurveDisplay.from_cv_results is new in scikit-learn 1.7.")
    result = cross_validate(
        case.model(),
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
        case.model(), case.X, case.y, cv=case.folds(), train_sizes=[0.5, 1.0]
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
def _reference(tool, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        return tool(Case("numbers", routing))


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("container", CONTAINERS)
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
    np.testing.assert_allclose(numbers, _reference(tool, like), rtol=1e-7, atol=1e-9)


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


# -- estimators on bags of their own in the tools that clone and refit them --------------------


def _misvm(case, **params):
    return case.on_bags(make_pipeline(PatientSpy(), MISVM(random_state=0, **params)))


def _misvm_scores(case):
    steps = PatientSpy(), InstanceTransformer(StandardScaler()), MISVM()
    model = case.on_bags(make_pipeline(*steps))
    return cross_val_score(
        model, case.X, case.y, cv=case.splitter(), scoring="roc_auc", **case.groups()
    )


def _misvm_searched(case):
    grid = {"misvm__C": [0.1, 10.0]}
    search = GridSearchCV(_misvm(case), grid, cv=case.folds(), scoring="roc_auc")
    search.fit(case.X, case.y)
    return np.r_[search.cv_results_["mean_test_score"], search.decision_function(case.X)]


def _misvm_calibrated(case):
    model = _misvm(case, kernel="linear")
    fitted = CalibratedClassifierCV(model, cv=case.folds(), ensemble=False).fit(case.X, case.y)
    return fitted.predict_proba(case.X)


def _misvm_stacked(case):
    stack = StackingClassifier([("svm", _misvm(case)), ("mean", case.model())], cv=case.folds())
    return stack.fit(case.X, case.y).predict_proba(case.X)


def _misvm_three_classes(case):
    return OneVsRestClassifier(_misvm(case)).fit(case.X, Y3).decision_function(case.X)


def _attention(case, spy=True):
    network = AttentionMILClassifier(
        hidden_layer_sizes=(8,), learning_rate_init=0.02, max_iter=3, random_state=0
    )
    steps = PatientSpy(), InstanceTransformer(StandardScaler()), network
    return case.on_bags(make_pipeline(*steps[0 if spy else 1 :]))


def _attention_scores(case):
    return cross_val_score(
        _attention(case), case.X, case.y, cv=case.splitter(), scoring="roc_auc", **case.groups()
    )


def _attention_predictions(case):
    return cross_val_predict(
        _attention(case),
        case.X,
        case.y,
        cv=case.splitter(),
        method="predict_proba",
        **case.groups(),
    )


def _attention_searched(case):
    grid = {"attentionmilclassifier__learning_rate_init": [1e-4, 1e-2]}
    search = GridSearchCV(
        _attention(case, spy=False),
        grid,
        cv=case.splitter(),
        n_jobs=case.n_jobs,
        scoring="roc_auc",
    )
    return _search_numbers(search, case)


def _attention_curve(case):
    result = learning_curve(
        _attention(case),
        case.X,
        case.y,
        cv=case.splitter(),
        scoring="neg_log_loss",
        train_sizes=[0.5, 1.0],
        **case.groups(),
    )
    return np.hstack([result[1], result[2]])


def _attention_stacked(case):
    members = [("attention", _attention(case)), ("mean", case.model())]
    stack = StackingClassifier(members, cv=case.folds())
    return stack.fit(case.X, case.y).predict_proba(case.X)


def _attention_voting(case):
    members = [("attention", _attention(case)), ("mean", case.model())]
    return VotingClassifier(members, voting="soft").fit(case.X, case.y).predict_proba(case.X)


def _attention_calibrated(case):
    calibrated = CalibratedClassifierCV(_attention(case), cv=case.folds())
    return calibrated.fit(case.X, case.y).predict_proba(case.X)


def _attention_tuned(case):
    tuned = TunedThresholdClassifierCV(_attention(case), cv=case.folds()).fit(case.X, case.y)
    return np.r_[tuned.best_threshold_, tuned.predict(case.X)]


def _attention_fixed(case):
    fixed = FixedThresholdClassifier(
        _attention(case), threshold=0.5, response_method="predict_proba"
    )
    return fixed.fit(case.X, case.y).predict(case.X)


def _attention_frozen(case):
    fitted = FrozenEstimator(_attention(case).fit(case.X, case.y))
    return CalibratedClassifierCV(fitted, cv=case.folds()).fit(case.X, case.y).predict_proba(case.X)


def _attention_three_classes(case):
    return OneVsRestClassifier(_attention(case)).fit(case.X, Y3).predict_proba(case.X)


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "tool",
    [
        _misvm_scores,
        _misvm_searched,
        _misvm_calibrated,
        _misvm_stacked,
        _misvm_three_classes,
        _attention_scores,
        _attention_predictions,
        _attention_searched,
        _attention_curve,
        _attention_stacked,
        _attention_voting,
        _attention_calibrated,
        _attention_tuned,
        _attention_fixed,
        _attention_frozen,
        _attention_three_classes,
    ],
    ids=lambda tool: tool.__name__.strip("_"),
)
def test_estimator_on_bags_in_tool(tool, container, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        numbers = tool(Case(container, routing))
    assert np.ptp(numbers) > 0
    np.testing.assert_allclose(numbers, _reference(tool, False), rtol=1e-5, atol=1e-7)


# -- some tools by hand: a loop over the folds, with clones fitted on slices of the list ---------


def _by_hand(model, train, test):
    """A model fitted on some bags, and its probabilities for others."""
    fitted = clone(model).fit([BAGS[i] for i in train], Y[train])
    return fitted, fitted.predict_proba([BAGS[i] for i in test])


FOLDS = list(StratifiedGroupKFold(3).split(np.zeros(len(Y)), Y, GROUPS))
MODELS = {"statistics": lambda case: case.model(), "attention": _attention}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_cross_validation_is_the_loop_over_the_folds(model, container):
    expected, scores = np.empty((len(Y), 2)), []
    for train, test in FOLDS:
        _, expected[test] = _by_hand(model(Case("list")), train, test)
        scores.append(roc_auc_score(Y[test], expected[test, 1]))
    case = Case(container)
    told = {"cv": case.splitter(), **case.groups()}
    predicted = cross_val_predict(model(case), case.X, Y, method="predict_proba", **told)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)
    actual = cross_val_score(model(case), case.X, Y, scoring="roc_auc", **told)
    np.testing.assert_allclose(actual, scores)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_stacking_is_the_regression_on_out_of_fold_predictions(model, container):
    everything = np.arange(len(Y))
    inside = np.empty(len(Y))
    for train, test in FOLDS:
        inside[test] = _by_hand(model(Case("list")), train, test)[1][:, 1]
    final = LogisticRegression().fit(inside[:, None], Y)
    refitted = _by_hand(model(Case("list")), everything, everything)[1][:, 1]
    case = Case(container)
    stack = StackingClassifier([("one", model(case))], cv=case.folds()).fit(case.X, Y)
    expected = final.predict_proba(refitted[:, None])
    np.testing.assert_allclose(stack.predict_proba(case.X), expected, rtol=1e-6)


@pytest.mark.parametrize("container", CONTAINERS)
def test_grid_search_is_the_loop_over_the_grid(container):
    (name, values), *_ = GRID.items()
    expected = [
        np.mean(
            [
                roc_auc_score(
                    Y[test], _by_hand(_model().set_params(**{name: value}), *fold)[1][:, 1]
                )
                for fold in FOLDS
                for test in fold[1:]
            ]
        )
        for value in values
    ]
    case = Case(container)
    search = GridSearchCV(case.model(), GRID, cv=case.splitter(), scoring="roc_auc")
    search.fit(case.X, Y, **case.fit_groups())
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)


# -- who is in which fit, inside an outer cross-validation -------------------------------------


class Recorder(PatientSpy):
    """Notes the bags of each fit."""

    fits = []

    def fit(self, X, y=None):
        super().fit(X, y)
        self.fits.append(tuple(self.bags_.astype(int)))
        return self


def _recorded(*steps):
    return make_pipeline(Recorder(), *steps)


def _votes():
    return _recorded(InstanceVotingClassifier())


def _machine():
    return _recorded(MISVM(kernel="linear", random_state=0))


def _soft_vote(cv):
    # MISVM has no probabilities of its own.
    members = [("votes", _votes()), ("svm", CalibratedClassifierCV(_machine(), cv=cv))]
    return VotingClassifier(members, voting="soft")


def _hard_vote(cv):
    return VotingClassifier([("votes", _votes()), ("svm", _machine())])


def _stack(cv):
    return StackingClassifier(
        [("votes", _votes()), ("svm", _machine())], LogisticRegression(), cv=cv
    )


def _tuned(model, cv):
    return TunedThresholdClassifierCV(model, thresholds=5, cv=cv)


def _tuned_stack(cv):
    return _tuned(_stack(cv), cv)


def _tuned_votes(cv):
    return _tuned(_votes(), cv)


def _fusion(cv):
    return ClinicalFusion(
        _votes(), LogisticRegression(), covariates=["iron"], group=cv.group, cv=cv
    )


def _tuned_fusion(cv):
    return _tuned(_fusion(cv), cv)


def _fusion_in_vote(cv):
    return VotingClassifier([("fusion", _fusion(cv)), ("votes", _votes())], voting="soft")


def _fusion_in_stack(cv):
    members = [("fusion", _fusion(cv)), ("votes", _votes())]
    return StackingClassifier(members, LogisticRegression(), cv=cv)


def _plain(bags):
    return [bags]


def _all_and_folds(inside=_plain):
    """The bags of each fit of a tool that fits its estimator on all bags and in three folds."""

    def fits(bags):
        splits = StratifiedGroupKFold(3).split(bags, Y[bags], GROUPS[bags])
        return [*inside(bags), *(fit for train, _ in splits for fit in inside(bags[train]))]

    return fits


def _folds_only(bags):
    return _all_and_folds()(bags)[1:]


# The tool, and for each of its members the bags of every fit.
NESTED = [
    (_soft_vote, [_plain, _folds_only]),
    (_hard_vote, [_plain, _plain]),
    (_stack, [_all_and_folds()] * 2),
    (_tuned_stack, [_all_and_folds(_all_and_folds())] * 2),
    (_tuned_votes, [_all_and_folds()]),
    (_tuned_fusion, [_all_and_folds(_all_and_folds())]),
    (_fusion_in_vote, [_all_and_folds(), _plain]),
    (_fusion_in_stack, [_all_and_folds(_all_and_folds()), _all_and_folds()]),
]


@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
@pytest.mark.parametrize("container", ["BagArray", "DataFrame"])
@pytest.mark.parametrize(
    ("make", "members"), NESTED, ids=lambda part: getattr(part, "__name__", "")
)
def test_inner_fits_under_cross_val_score(make, members, container, routing, monkeypatch):
    """Every fit at every level has the bags of splits by patient, no more and no fewer."""
    monkeypatch.setattr(Recorder, "fits", [])
    case = Case(container)
    iron = np.random.default_rng(1).normal(size=len(Y))
    if container == "BagArray":
        X = case.X.with_columns(covariates={"iron": iron})
    else:
        X = case.X.assign(iron=iron)
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_val_score(
            make(case.splitter()), X, Y, cv=case.splitter(2), error_score="raise"
        )
    assert np.isfinite(scores).all()
    outer = [train for train, _ in StratifiedGroupKFold(2).split(BAGS, Y, GROUPS)]
    expected = [tuple(fit) for train in outer for member in members for fit in member(train)]
    assert sorted(Recorder.fits) == sorted(expected)
    for fit in Recorder.fits:
        patients, bags = np.unique(GROUPS[list(fit)], return_counts=True)
        assert len(patients) < N_PATIENTS
        assert np.all(bags == 2)  # all that the patient has


@pytest.mark.parametrize("make", [_soft_vote, _stack, _tuned_votes])
def test_the_recorder_sees_a_split_patient(make):
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    with pytest.raises(AssertionError, match=r"Patient \d+ is on both sides of a split"):
        cross_val_score(make(cv), Case("BagArray").X, Y, cv=GroupedSplit(2), error_score="raise")


@pytest.mark.parametrize("make", [_soft_vote, _stack, _tuned_votes])
def test_inner_splits_without_groups_are_refused(make):
    with pytest.raises(GroupLeakageError, match="No groups"):
        make(GroupedSplit(3)).fit(BAGS, Y)


# -- clone, names, pages ---------------------------------------------------------------------


def test_clone_of_a_nested_search_is_unfitted():
    case = Case("BagArray")
    search = GridSearchCV(_model(), GRID, cv=case.splitter()).fit(case.X, case.y)
    copy = clone(search)
    assert not hasattr(copy, "best_estimator_")
    np.testing.assert_array_equal(copy.fit(case.X, case.y).predict(case.X), search.predict(case.X))


@pytest.mark.parametrize("container", CONTAINERS)
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


def test_clone_of_a_bag_array_is_a_copy():
    X = BagArray.from_list(
        BAGS,
        names=[f"bag-{i}" for i in range(len(BAGS))],
        groups=GROUPS,
        covariates={"age": Y + 40.0},
        instance_data={"row": [np.arange(len(bag)) for bag in BAGS]},
    )[::-2]
    copy = clone(X, safe=False)  # as scikit-learn clones a parameter that is no estimator
    assert type(copy) is BagArray
    assert not np.shares_memory(copy.instances, X.instances)
    for first, second in zip(copy, X, strict=True):
        np.testing.assert_array_equal(first, second)
    for column in ("names", "groups"):
        np.testing.assert_array_equal(getattr(copy, column), getattr(X, column))
    assert copy.covariates.equals(X.covariates)
    np.testing.assert_array_equal(copy.instance_data["row"], X.instance_data["row"])
    with pytest.raises(TypeError, match="does not implement a 'get_params' method"):
        clone(X)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_clone_of_a_fitted_estimator_is_unfitted(estimator):
    with ignore_warnings(category=ConvergenceWarning):
        model = clone(estimator).fit(BAGS, Y)
    copy = clone(model)
    assert not [name for name in vars(copy) if name.endswith("_")]
    assert repr(copy.get_params()) == repr(model.get_params()) == repr(estimator.get_params())
    assert "random_state" not in copy.get_params() or copy.random_state is None


PAGES = {cls: name for name, cls in public_names().items() if inspect.isclass(cls)}


def _links(estimator):
    return re.findall(
        r"https://milkit\.readthedocs\.io/en/stable/api/generated/([\w.]+)\.html",
        estimator._repr_html_(),
    )


@pytest.mark.parametrize("estimator", ALL_ESTIMATORS, ids=repr)
def test_html_links_to_the_documentation(estimator):
    cls = type(estimator)
    parts = {type(part) for part in [estimator, *estimator.get_params().values()]}
    assert set(_links(estimator)) == {PAGES[part] for part in parts if part in PAGES}
    assert PAGES[cls] == f"{cls.__module__.rpartition('._')[0]}.{cls.__name__}"


def test_html_of_a_pipeline_links_every_step():
    model = make_pipeline(
        InstanceTransformer(StandardScaler()), BagStatistics(), LogisticRegression()
    )
    assert set(_links(model)) == {PAGES[InstanceTransformer], PAGES[BagStatistics]}
