"""The bag checks pass on correct estimators, and each catches what it is there for."""

from unittest import SkipTest

import numpy as np
import pandas as pd
import pytest
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning
from sklearn.utils.validation import check_is_fitted

from milkit import BagArray
from milkit.base import BagClassifierMixin, BagMixin, BagsToBagsMixin, split_by_bag
from milkit.utils._bag_checks import CHECKS
from milkit.utils._segments import segment_max, segment_sum
from milkit.utils.estimator_checks import (
    bag_estimator_checks_generator,
    check_bag_estimator,
    parametrize_with_bag_checks,
)
from milkit.utils.validation import check_bag_weight, resolve_groups, validate_bags

# -- correct references --------------------------------------------------------------------


def _means(values, bags):
    return segment_sum(values, bags.flat()[1]) / bags.sizes.reshape(-1, *[1] * (values.ndim - 1))


class Reference(BagMixin, BagClassifierMixin, BaseEstimator):
    """Nearest mean of the bags' means: linear, so that the mean instance score decides."""

    def fit(self, X, y, sample_weight=None, groups=None):
        bags, y = self._read(X, y)
        self._check_groups(X, groups)
        encoded = self._encode_labels(y)
        weight = self._weight(sample_weight, bags)
        means = _means(bags.flat()[0], bags)
        self.centers_ = np.array(
            [
                np.average(means[encoded == k], axis=0, weights=weight[encoded == k])
                for k in range(len(self.classes_))
            ]
        )
        return self

    def _read(self, X, *y):
        return validate_bags(self, X, *y, reset=bool(y), dtype=np.float64)

    def _check_groups(self, X, groups):
        resolve_groups(X, groups)

    def _weight(self, sample_weight, bags):
        return check_bag_weight(sample_weight, bags)

    def _scores(self, X):
        check_is_fitted(self)
        bags = self._read(X)
        scores = bags.flat()[0] @ self.centers_.T - (self.centers_**2).sum(axis=1) / 2
        return (scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores), bags

    def _decide(self, X):
        return _means(*self._scores(X))

    def decision_function(self, X):
        return self._decide(X)

    def predict_proba(self, X):
        decision = self._decide(X)
        if decision.ndim == 1:
            decision = np.column_stack([np.zeros(len(decision)), decision])
        odds = np.exp(decision - decision.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def score_instances(self, X):
        return split_by_bag(*self._scores(X))

    def predict_instances(self, X):
        return [
            self.classes_[(part > 0).astype(int) if part.ndim == 1 else part.argmax(axis=1)]
            for part in self.score_instances(X)
        ]

    def attention_weights(self, X):
        bags = self._read(X)
        strength = 1.0 + (bags.flat()[0] ** 2).sum(axis=1)
        total = np.repeat(segment_sum(strength, bags.flat()[1]), bags.sizes)
        return split_by_bag(strength / total, bags)


class ReferenceRegressor(BagMixin, RegressorMixin, BaseEstimator):
    """Least squares on the means of the bags."""

    def fit(self, X, y, sample_weight=None):
        bags, y = validate_bags(self, X, y, y_numeric=True, dtype=np.float64)
        root = np.sqrt(check_bag_weight(sample_weight, bags))
        table = np.column_stack([np.ones(len(bags)), _means(bags.flat()[0], bags)])
        self.coef_ = np.linalg.lstsq(table * root[:, None], y * root, rcond=None)[0]
        return self

    def score_instances(self, X):
        check_is_fitted(self)
        bags = validate_bags(self, X, reset=False, dtype=np.float64)
        return split_by_bag(bags.flat()[0] @ self.coef_[1:] + self.coef_[0], bags)

    def predict(self, X):
        return np.array([part.mean() for part in self.score_instances(X)])


class ReferenceEmbedding(
    BagMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """The maximum of each feature over the bag."""

    def fit(self, X, y=None):
        validate_bags(self, X, dtype=np.float64)
        self._n_features_out = self.n_features_in_
        return self

    def transform(self, X):
        check_is_fitted(self)
        return segment_max(*validate_bags(self, X, reset=False, dtype=np.float64).flat())


class ReferenceFilter(BagMixin, BagsToBagsMixin, BaseEstimator):
    """Keeps the instances that are at least half as long as the longest of their bag."""

    def fit(self, X, y=None):
        validate_bags(self, X)
        return self

    def transform(self, X):
        bags = validate_bags(self, X, reset=False, instance_data=True)
        length = np.linalg.norm(bags.flat()[0].astype(float), axis=1)
        longest = np.repeat(segment_max(length, bags.flat()[1]), bags.sizes)
        return self._like_input(X, bags.select_instances(length >= longest / 2))


REFERENCES = [Reference(), ReferenceRegressor(), ReferenceEmbedding(), ReferenceFilter()]


# -- one broken estimator for each check ---------------------------------------------------


class FirstInstancesCountMore(Reference):
    def attention_weights(self, X):
        return [np.arange(1, n + 1) * 2 / (n * (n + 1)) for n in self._read(X).sizes]


class DependsOnPosition(Reference):
    def _decide(self, X):
        decision = super()._decide(X)
        return decision * np.linspace(1, 2, len(decision))[(...,) + (None,) * (decision.ndim - 1)]


class SqueezesSingleBag(Reference):
    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return np.full_like(proba, 0.5) if len(proba) == 1 else proba


class CentersTheBatch(Reference):
    def _decide(self, X):
        decision = super()._decide(X)
        return decision - decision.mean(axis=0)


class TakesLabelColumn(Reference):
    def _decide(self, X):
        decision = super()._decide(X)
        if isinstance(X, pd.DataFrame) and "label" in X:
            decision = decision + X["label"].to_numpy()
        return decision


class TruncatesLargeBags(Reference):
    def _decide(self, X):
        return np.array([part[:1000].mean(axis=0) for part in self.score_instances(X)])


class CannotFitLargeBags(Reference):
    def _read(self, X, *y):
        result = super()._read(X, *y)
        if y and result[0].sizes.max() > 5000:
            raise ValueError("Too many instances.")
        return result


class LateBagsCountMore(Reference):
    def _weight(self, sample_weight, bags):
        return super()._weight(sample_weight, bags) * np.linspace(1, 2, len(bags))


class FitsOnFirstInstances(Reference):
    def _read(self, X, *y):
        if not y:
            return super()._read(X)
        bags, y = super()._read(X, *y)
        return bags.select_instances([np.arange(n) == 0 for n in bags.sizes]), y


class WritesNothingInPlace(Reference):
    def _read(self, X, *y):
        result = super()._read(X, *y)
        flat, _ = (result[0] if y else result).flat()
        flat += 0.0
        return result


class ScalesInPlace(Reference):
    def _read(self, X, *y):
        result = super()._read(X, *y)
        flat, _ = (result[0] if y else result).flat()
        if flat.flags.writeable:
            flat *= 1 + 1e-9
        return result


class IgnoresRepeatedRows(Reference):
    def fit(self, X, y, sample_weight=None, groups=None):
        if isinstance(X, BagArray) and len(X) == len(y):
            rows = np.unique(X.rows, return_index=True)[1]
            X, y = X[rows], y[rows]
        return super().fit(X, y, sample_weight, groups)


class ScoresOneClassOnly(Reference):
    def score_instances(self, X):
        return [p if p.ndim == 1 else p.max(axis=1) for p in super().score_instances(X)]


class AttentionWithoutSoftmax(Reference):
    def attention_weights(self, X):
        return [len(part) * part for part in super().attention_weights(X)]


class LosesNames(ReferenceFilter):
    def transform(self, X):
        return super().transform(X).with_columns(names=None)


class LooksAtInstanceLabels(Reference):
    def _decide(self, X):
        decision = super()._decide(X)
        known = getattr(X, "instance_data", {}).get("label")
        return decision if known is None else decision + _means(known, X)


class LooksAtCovariates(Reference):
    def _decide(self, X):
        decision = super()._decide(X)
        table = getattr(X, "covariates", None)
        return decision if table is None else decision + table["age"].to_numpy()


class DropsCovariates(Reference):
    def _read(self, X, *y):
        return super()._read(X.with_columns(covariates=None) if isinstance(X, BagArray) else X, *y)


class IgnoresGroups(Reference):
    def _check_groups(self, X, groups):
        pass


class DropsEmptyBags(Reference):
    def _read(self, X, *y):
        return super()._read([b for b in X if len(b)] if isinstance(X, list) else X, *y)


class FillsNaN(Reference):
    def _read(self, X, *y):
        if isinstance(X, BagArray):
            X = X.with_instances(np.nan_to_num(X.flat()[0]))
        return super()._read(X, *y)


class PadsNarrowBags(Reference):
    def _read(self, X, *y):
        if isinstance(X, list) and X[0].ndim == 2:
            width = max(bag.shape[1] for bag in X)
            X = [np.pad(bag, [(0, 0), (0, width - bag.shape[1])]) for bag in X]
        return super()._read(X, *y)


class CutsLabels(Reference):
    def _read(self, X, *y):
        return super()._read(X, *(np.resize(labels, len(X)) for labels in y))


class WrapsBareBag(Reference):
    def _read(self, X, *y):
        return super()._read([X] if isinstance(X, np.ndarray) and X.ndim == 2 else X, *y)


class FlattensTensors(Reference):
    def _read(self, X, *y):
        if isinstance(X, list) and X[0].ndim > 2:
            X = [bag.reshape(len(bag), -1) for bag in X]
        return super()._read(X, *y)


class OverflowsBytes(Reference):
    def _read(self, X, *y):
        return super()._read([(b + b) / 2 for b in X] if isinstance(X, list) else X, *y)


class BooleansBecomeNumbers(Reference):
    def _encode_labels(self, y):
        encoded = super()._encode_labels(y)
        if self.classes_.dtype == bool:
            self.classes_ = self.classes_.astype(int)
        return encoded


class OnlyTwoClassesDecide(Reference):
    def predict(self, X):
        return self.classes_[self.predict_proba(X)[:, :2].argmax(axis=1)]


class AcceptsOneClass(Reference):
    def _encode_labels(self, y):
        self.classes_, encoded = np.unique(y, return_inverse=True)
        return encoded


class DecisionForFirstClass(Reference):
    def decision_function(self, X):
        decision = super().decision_function(X)
        return -decision if decision.ndim == 1 else decision


class PicklesRounded(Reference):
    def __getstate__(self):
        state = super().__getstate__()
        if "centers_" in state:
            state["centers_"] = state["centers_"].astype(np.float32)
        return state


class KeepsTheStore(Reference):
    def fit(self, X, y, sample_weight=None, groups=None):
        self.bags_ = X
        return super().fit(X, y, sample_weight, groups)


class ForgetsVersion(Reference):
    def __setstate__(self, state):
        state = {key: value for key, value in state.items() if key != "_milkit_version"}
        BaseEstimator.__setstate__(self, state)


class IsNotRepeatable(Reference):
    def fit(self, X, y, sample_weight=None, groups=None):
        super().fit(X, y, sample_weight, groups)
        self.centers_ += 1e-9 * np.random.default_rng().normal(size=self.centers_.shape)
        return self


class DrawsFromGlobalState(Reference):
    def fit(self, X, y, sample_weight=None, groups=None):
        np.random.rand()  # noqa: NPY002 - the fault that is to be found
        return super().fit(X, y, sample_weight, groups)


class ChangesItsParameter(Reference):
    def __init__(self, scale=None):
        self.scale = scale

    def fit(self, X, y, sample_weight=None, groups=None):
        self.scale = 1.0
        return super().fit(X, y, sample_weight, groups)


class CountsItsCalls(Reference):
    def _scores(self, X):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return super()._scores(X)


class IgnoresSetOutput(ReferenceEmbedding):
    def set_output(self, *, transform=None):
        return self


class WeightsInstances(Reference):
    def _weight(self, sample_weight, bags):
        weight = super()._weight(sample_weight, bags)
        return weight if sample_weight is None else weight * bags.sizes


class CutsWeights(Reference):
    def _weight(self, sample_weight, bags):
        if sample_weight is not None:
            sample_weight = np.resize(sample_weight, len(bags))
        return super()._weight(sample_weight, bags)


class ScoresBagArraysOtherwise(Reference):
    def score(self, X, y, sample_weight=None):
        return super().score(X, y, sample_weight) / (2 if isinstance(X, BagArray) else 1)


# The check that catches it; the others that cannot help catching it too.
BREAKERS = [
    # The bag of 10 000 instances comes in two orders.
    ("check_bags_instance_order", FirstInstancesCountMore(), {"check_bags_sizes"}),
    # What depends on the position also depends on which bags stand before it.
    (
        "check_bags_bag_order",
        DependsOnPosition(),
        {"check_bags_batch_composition", "check_bags_sizes"},
    ),
    ("check_bags_batch_composition", SqueezesSingleBag(), set()),
    # The bag of 10 000 instances is part of a batch as well.
    ("check_bags_batch_composition", CentersTheBatch(), {"check_bags_sizes"}),
    ("check_bags_containers", TakesLabelColumn(), set()),
    ("check_bags_sizes", TruncatesLargeBags(), set()),
    ("check_bags_sizes", CannotFitLargeBags(), set()),
    ("check_bags_fit_bag_order", LateBagsCountMore(), set()),
    ("check_bags_fit_instance_order", FitsOnFirstInstances(), set()),
    ("check_bags_readonly", WritesNothingInPlace(), set()),
    ("check_bags_input_unchanged", ScalesInPlace(), set()),
    ("check_bags_views", IgnoresRepeatedRows(), set()),
    ("check_bags_instance_outputs", ScoresOneClassOnly(), set()),
    ("check_bags_attention_weights", AttentionWithoutSoftmax(), set()),
    ("check_bags_columns_kept", LosesNames(), set()),
    ("check_bags_columns_unused", LooksAtInstanceLabels(), set()),
    ("check_bags_columns_unused", LooksAtCovariates(), set()),
    ("check_bags_label_covariate", DropsCovariates(), set()),
    ("check_bags_groups", IgnoresGroups(), set()),
    ("check_bags_empty_bag", DropsEmptyBags(), set()),
    ("check_bags_nonfinite", FillsNaN(), set()),
    ("check_bags_width", PadsNarrowBags(), set()),
    ("check_bags_y_length", CutsLabels(), set()),
    ("check_bags_bare_bag", WrapsBareBag(), set()),
    ("check_bags_instance_shape", FlattensTensors(), set()),
    ("check_bags_dtypes", OverflowsBytes(), set()),
    ("check_bags_labels", BooleansBecomeNumbers(), set()),
    ("check_bags_multiclass", OnlyTwoClassesDecide(), set()),
    ("check_bags_one_class", AcceptsOneClass(), set()),
    ("check_bags_classifier_outputs", DecisionForFirstClass(), set()),
    ("check_bags_pickle", PicklesRounded(), set()),
    ("check_bags_pickle_size", KeepsTheStore(), set()),
    ("check_bags_pickle_version", ForgetsVersion(), set()),
    ("check_bags_random_state", IsNotRepeatable(), set()),
    ("check_bags_global_random_state", DrawsFromGlobalState(), set()),
    ("check_bags_clone", ChangesItsParameter(), set()),
    ("check_bags_state_unchanged", CountsItsCalls(), set()),
    ("check_bags_set_output", IgnoresSetOutput(), set()),
    ("check_bags_sample_weight_ones", WeightsInstances(), set()),
    ("check_bags_sample_weight_length", CutsWeights(), set()),
    ("check_bags_cross_validation", ScoresBagArraysOtherwise(), set()),
]


# -- the tests -----------------------------------------------------------------------------


@parametrize_with_bag_checks(REFERENCES)
def test_correct_estimators_pass(estimator, check):
    check(estimator)


def test_every_check_has_a_breaker_and_applies_to_a_reference():
    names = {check.__name__ for check in CHECKS}
    assert {name for name, _, _ in BREAKERS} == names
    applied = {
        result["check_name"]
        for estimator in REFERENCES
        for result in check_bag_estimator(estimator, on_skip=None)
        if result["status"] == "passed"
    }
    assert applied == names


@pytest.mark.parametrize(
    ("check_name", "estimator", "others"),
    BREAKERS,
    ids=[type(estimator).__name__ for _, estimator, _ in BREAKERS],
)
def test_a_broken_estimator_is_caught_by_its_check(check_name, estimator, others):
    results = check_bag_estimator(estimator, on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed == {check_name} | others


@pytest.mark.parametrize("estimator", REFERENCES, ids=lambda e: type(e).__name__)
def test_a_skipped_check_says_why(estimator):
    for result in check_bag_estimator(estimator, on_skip=None):
        if result["status"] == "skipped":
            assert str(result["exception"]).endswith(".")


def test_results_are_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.estimator_checks import check_estimator

    theirs = check_estimator(LogisticRegression(), on_skip=None, on_fail=None, legacy=False)
    ours = check_bag_estimator(ReferenceFilter(), on_skip=None)
    assert ours[0].keys() == theirs[0].keys()
    assert ours[0]["expected_to_fail_reason"] == theirs[0]["expected_to_fail_reason"]


def test_on_fail():
    broken = AcceptsOneClass()
    with pytest.raises(AssertionError, match="A single class must be refused"):
        check_bag_estimator(broken, on_skip=None)
    with pytest.warns(EstimatorCheckFailedWarning, match="check_bags_one_class"):
        check_bag_estimator(broken, on_skip=None, on_fail="warn")
    expected = {"check_bags_one_class": "one class is a fit like any other here"}
    results = check_bag_estimator(broken, on_skip=None, expected_failed_checks=expected)
    (result,) = [r for r in results if r["status"] == "xfail"]
    assert result["expected_to_fail"]
    assert result["expected_to_fail_reason"] == expected["check_bags_one_class"]


def test_on_skip():
    with pytest.warns(SkipTestWarning, match="Skipping check_bags_.* for Reference") as caught:
        results = check_bag_estimator(Reference())
    assert len(caught) == sum(result["status"] == "skipped" for result in results) > 0


def test_callback_sees_every_result():
    seen = []
    results = check_bag_estimator(
        AcceptsOneClass(),
        on_skip=None,
        on_fail=None,
        callback=lambda **result: seen.append(result),
    )
    assert seen == results
    assert len(seen) == len(CHECKS)
    with pytest.raises(ValueError, match="callback cannot be given together"):
        check_bag_estimator(Reference(), callback=print)


def test_a_class_is_refused():
    with pytest.raises(TypeError, match="Pass an instance of Reference"):
        check_bag_estimator(Reference)
    with pytest.raises(TypeError, match="Pass an instance of Reference"):
        parametrize_with_bag_checks([Reference])


def test_marks_of_expected_failures():
    expected = {"check_bags_one_class": "one class is fine"}
    marked = parametrize_with_bag_checks(
        [AcceptsOneClass()], expected_failed_checks=lambda estimator: expected, xfail_strict=True
    )
    (param,) = [value for value in marked.args[1] if hasattr(value, "marks")]
    assert param.marks[0].kwargs == {"reason": "one class is fine", "strict": True}
    checks = bag_estimator_checks_generator(
        AcceptsOneClass(), expected_failed_checks=expected, mark="skip"
    )
    (skipping,) = [check for _, check in checks if not hasattr(check, "func")]
    with pytest.raises(SkipTest, match="one class is fine"):
        skipping(AcceptsOneClass())


def test_a_dict_of_expected_failures_is_refused():
    with pytest.raises(TypeError, match=r"must be a callable .* Got dict .* pass lambda estimator"):
        parametrize_with_bag_checks(
            [Reference()], expected_failed_checks={"check_bags_one_class": "one class is fine"}
        )


def _status(estimator, check_name):
    results = check_bag_estimator(estimator, on_skip=None)
    (result,) = [result for result in results if result["check_name"] == check_name]
    return result["status"], str(result["exception"])


class DrawsItsFit(Reference):
    """What is drawn falls on other bags in another order, and that is right."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def _weight(self, sample_weight, bags):
        drawn = np.random.default_rng(self.random_state).uniform(size=len(bags))
        return super()._weight(sample_weight, bags) * drawn


class HasAnUnusedSeed(LateBagsCountMore):
    def __init__(self, random_state=None):
        self.random_state = random_state


@pytest.mark.parametrize("seed", [None, 7])
def test_order_at_fit_is_free_only_where_fit_draws(seed):
    status, reason = _status(DrawsItsFit(seed), "check_bags_fit_bag_order")
    assert status == "skipped"
    assert "fit draws at random" in reason
    results = check_bag_estimator(HasAnUnusedSeed(seed), on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed == {"check_bags_fit_bag_order"}


class NeedsAllPairs(Reference):
    _fit_needs_all_pairs = True
    largest = []

    def fit(self, X, y, sample_weight=None, groups=None):
        self.largest.append(max(len(bag) for bag in X))
        return super().fit(X, y, sample_weight, groups)


def test_an_estimator_of_all_pairs_is_fitted_on_smaller_bags():
    assert _status(NeedsAllPairs(), "check_bags_sizes")[0] == "passed"
    assert max(NeedsAllPairs.largest) == 300
