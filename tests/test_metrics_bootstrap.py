"""bootstrap_interval."""

import warnings
from time import perf_counter

import numpy as np
import pytest
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning

from milkit.metrics import BootstrapInterval, bootstrap_interval


def make_scores(seed, n_groups=60, each=1, shared=0.0):
    """Scores of AUC 0.76 (a gap of one standard deviation); ``shared`` of it by group."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), each)
    y = groups % 2
    noise = np.sqrt(shared) * rng.normal(size=n_groups)[groups]
    noise += np.sqrt(1 - shared) * rng.normal(size=len(groups))
    return y, y + noise, groups


@pytest.mark.parametrize(
    ("metric", "reference"),
    [("roc_auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)],
)
def test_value_is_scikit_learns(metric, reference):
    y, scores, groups = make_scores(0)
    interval = bootstrap_interval(metric, y, scores, groups=groups, random_state=0)
    assert interval.value == pytest.approx(reference(y, scores))
    assert interval.low < interval.value < interval.high
    assert (interval.n_undefined, interval.n_resamples) == (0, 2000)


def test_labels_may_be_strings_and_classes_more():
    y, scores, _ = make_scores(0)
    labels = np.array(["healthy", "sick"])[y]
    expected = bootstrap_interval("roc_auc", y, scores, random_state=0)
    assert bootstrap_interval("roc_auc", labels, scores, random_state=0) == expected
    predicted = np.array(["healthy", "sick"])[(scores > 0.5).astype(int)]
    accuracy = bootstrap_interval("accuracy", labels, predicted, random_state=0)
    assert accuracy.value == np.mean(labels == predicted)
    rng = np.random.default_rng(0)
    y3 = np.array(list("abc") * 20)
    scores3 = np.eye(3)[np.arange(60) % 3] + rng.normal(size=(60, 3))
    interval = bootstrap_interval("roc_auc", y3, scores3, n_resamples=100, random_state=0)
    assert interval.value == pytest.approx(
        np.mean([metrics.roc_auc_score(y3 == c, scores3[:, k]) for k, c in enumerate("abc")])
    )


@pytest.mark.parametrize("weighted", [True, False])
def test_a_callable_agrees_with_the_name(weighted):
    y, scores, groups = make_scores(0, n_groups=30, each=2)
    if weighted:

        def metric(y_true, y_score, sample_weight=None):
            return metrics.roc_auc_score(y_true, y_score, sample_weight=sample_weight)
    else:

        def metric(y_true, y_score):
            return metrics.roc_auc_score(y_true, y_score)

    params = {"groups": groups, "n_resamples": 100, "random_state": 0}
    by_name = bootstrap_interval("roc_auc", y, scores, **params)
    by_call = bootstrap_interval(metric, y, scores, **params)
    np.testing.assert_allclose(
        [by_call.value, by_call.low, by_call.high], [by_name.value, by_name.low, by_name.high]
    )
    assert bootstrap_interval(metrics.roc_auc_score, y, scores, **params) == by_name


def test_real_valued_targets():
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    predicted = y + rng.normal(size=50)
    interval = bootstrap_interval(
        metrics.mean_absolute_error, y, predicted, n_resamples=200, random_state=0
    )
    assert interval.low < interval.value < interval.high


def test_a_group_repeated_is_the_group_once():
    """Copies of every bag inside its group add nothing, and the interval knows."""
    y, scores, groups = make_scores(0, n_groups=40)
    once = bootstrap_interval("roc_auc", y, scores, random_state=0)
    copies = np.tile(np.arange(40), 5)
    five = bootstrap_interval(
        "roc_auc", y[copies], scores[copies], groups=groups[copies], random_state=0
    )
    np.testing.assert_allclose([five.low, five.high], [once.low, once.high])


def test_ignoring_groups_makes_it_narrower():
    widths = []
    for seed in range(10):
        y, scores, groups = make_scores(seed, n_groups=30, each=6, shared=0.8)
        pair = [
            bootstrap_interval("roc_auc", y, scores, groups=g, n_resamples=300, random_state=0)
            for g in (groups, None)
        ]
        widths.append([interval.high - interval.low for interval in pair])
    grouped, ungrouped = np.mean(widths, axis=0)
    assert grouped > 1.5 * ungrouped


@pytest.mark.parametrize(("each", "shared"), [(1, 0.0), (4, 0.7)])
def test_coverage(each, shared):
    """200 data sets whose true AUC is Φ(1/√2); nominal 95 %."""
    truth, covered = 0.7602, {True: 0, False: 0}
    for seed in range(200):
        y, scores, groups = make_scores(seed, n_groups=60, each=each, shared=shared)
        for grouped in (True, False):
            interval = bootstrap_interval(
                "roc_auc",
                y,
                scores,
                groups=groups if grouped else None,
                n_resamples=300,
                random_state=seed,
            )
            covered[grouped] += interval.low <= truth <= interval.high
    assert 0.88 <= covered[True] / 200 <= 0.99
    if shared:
        assert covered[False] / 200 < 0.85


def test_folds_are_averaged():
    y, scores, groups = make_scores(0)
    folds = (groups // 2) % 3
    interval = bootstrap_interval("roc_auc", y, scores, groups=groups, folds=folds, random_state=0)
    expected = np.mean([metrics.roc_auc_score(y[folds == k], scores[folds == k]) for k in range(3)])
    assert interval.value == pytest.approx(expected)
    # A shift between folds spoils the pooled value only.
    shifted = scores + 10 * folds
    again = bootstrap_interval("roc_auc", y, shifted, groups=groups, folds=folds, random_state=0)
    np.testing.assert_allclose([again.value, again.low], [interval.value, interval.low])
    pooled = bootstrap_interval("roc_auc", y, shifted, groups=groups, random_state=0)
    assert pooled.value < interval.value


def share_right(seed, n_groups=30, each=4):
    """Patients whose bags are right with probabilities of their own, 0.7 on average."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), each)
    y = groups % 2
    right = rng.uniform(size=len(y)) < rng.beta(2.1, 0.9, n_groups)[groups]
    return y, np.where(right, y, 1 - y), groups


@pytest.mark.parametrize("groups_per_fold", [1, 2, 10])
def test_folds_of_few_groups_are_as_uncertain_as_all_bags_together(groups_per_fold):
    y, predicted, groups = share_right(0)
    params = {"groups": groups, "random_state": 0}
    pooled = bootstrap_interval("accuracy", y, predicted, **params)
    folds = groups // groups_per_fold
    by_fold = bootstrap_interval("accuracy", y, predicted, folds=folds, **params)
    # With equal numbers of bags and weights for how often a fold is drawn, they are the same.
    np.testing.assert_allclose(
        [by_fold.value, by_fold.low, by_fold.high], [pooled.value, pooled.low, pooled.high]
    )


@pytest.mark.parametrize("groups_per_fold", [1, 2])
def test_coverage_with_few_groups_in_a_fold(groups_per_fold):
    covered = 0
    for seed in range(300):
        y, predicted, groups = share_right(seed)
        interval = bootstrap_interval(
            "accuracy",
            y,
            predicted,
            groups=groups,
            folds=groups // groups_per_fold,
            n_resamples=300,
            random_state=seed,
        )
        covered += interval.low <= 0.7 <= interval.high
    assert 0.9 <= covered / 300 <= 0.98


def test_undefined_resamples_are_counted():
    y = np.array([1] + [0] * 20)
    with pytest.warns(UndefinedMetricWarning, match="of 2000 resamples"):
        interval = bootstrap_interval("roc_auc", y, np.arange(21.0)[::-1], random_state=0)
    # The one positive bag is not drawn with probability (20/21)^21.
    assert interval.n_undefined / 2000 == pytest.approx((20 / 21) ** 21, abs=0.04)
    assert interval.value == interval.low == interval.high == 1


def test_undefined_in_the_data():
    with pytest.warns(UndefinedMetricWarning, match="a class has no bags there"):
        interval = bootstrap_interval("roc_auc", [1, 1, 1], [0.1, 0.2, 0.3])
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    with pytest.warns(UndefinedMetricWarning, match="at least one of 2 folds"):
        bootstrap_interval("roc_auc", [1, 0, 1], [0.1, 0.2, 0.3], folds=[0, 0, 1])


def test_errors_of_a_metric_are_not_swallowed():
    def broken(y_true, y_score):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        bootstrap_interval(broken, [0, 1, 0, 1], [1.0, 2, 3, 4])


def test_a_seed_repeats_and_level_widens():
    y, scores, groups = make_scores(0)
    narrow, again, wide = (
        bootstrap_interval(
            "roc_auc", y, scores, groups=groups, confidence_level=level, random_state=1
        )
        for level in (0.8, 0.8, 0.99)
    )
    assert narrow == again
    assert wide.low < narrow.low < narrow.high < wide.high


def test_it_is_quick():
    y, scores, groups = make_scores(0, n_groups=50, each=4)
    start = perf_counter()
    for metric, prediction in [("roc_auc", scores), ("accuracy", (scores > 0.5).astype(int))]:
        bootstrap_interval(metric, y, prediction, groups=groups, folds=groups % 5, random_state=0)
    assert perf_counter() - start < 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"metric": "auc"}, "Unknown metric 'auc'"),
        ({"metric": "accuracy"}, "numbers that are no label"),
        ({"y_score": np.zeros((4, 2))}, r"needs scores of shape \(4,\)"),
        ({"y_score": [0.1, np.nan, 0.2, 0.3]}, "has NaN"),
        ({"groups": [1, 1, 1, 1]}, "at least two groups"),
        ({"groups": [1, 1, 1]}, "inconsistent numbers"),
        ({"n_resamples": 0}, "n_resamples must be"),
        ({"confidence_level": 95}, "between 0 and 1"),
    ],
)
def test_errors(params, message):
    defaults = {"metric": "roc_auc", "y_true": [0, 1, 0, 1], "y_score": [0.1, 0.2, 0.3, 0.4]}
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        bootstrap_interval(**{**defaults, **params})


def test_text():
    assert str(BootstrapInterval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
