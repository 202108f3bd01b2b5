"""Scores of instances against scikit-learn in a loop over bags, and against all orders of ties."""

import warnings
from fractions import Fraction
from itertools import permutations
from math import comb

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score

from milkit import BagArray
from milkit.exceptions import BagShapeError
from milkit.metrics import (
    instance_average_precision_score,
    instance_roc_auc_score,
    key_instance_hit_rate,
)

SCORES = [
    (instance_roc_auc_score, roc_auc_score),
    (instance_average_precision_score, average_precision_score),
]
ALL = [instance_roc_auc_score, instance_average_precision_score, key_instance_hit_rate]


def make_lists(seed, n_bags=60, n_levels=4, with_nan=False):
    """Labels among -1, 0, 1, 2 and scores with many ties, some infinite, and maybe NaN."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, n_bags)
    y_true = [rng.choice([-1, 0, 0, 1, 2], size) for size in sizes]
    levels = np.r_[-np.inf, np.arange(n_levels), np.inf]
    y_score = [rng.choice(levels, size) for size in sizes]
    if with_nan:
        for scores in y_score:
            scores[1:][rng.random(len(scores) - 1) < 0.3] = np.nan  # never all of a bag
    return y_true, y_score


def finite(scores):
    """Other numbers in the same order, which scikit-learn takes: NaN is the lowest."""
    scores = np.where(np.isposinf(scores), 1e6, np.where(np.isneginf(scores), -1e6, scores))
    return np.where(np.isnan(scores), -1e7, scores)


def one_bag(reference, labels, scores, pos_label):
    positive = np.isin(labels, pos_label)[labels != -1]
    if len(set(positive)) < 2:
        return np.nan
    return reference(positive, finite(scores)[labels != -1])


@pytest.mark.parametrize(("score", "reference"), SCORES)
@pytest.mark.parametrize("pos_label", [1, 2, [1, 2], (0,)])
@pytest.mark.parametrize("with_nan", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_scikit_learns_in_a_loop(score, reference, pos_label, with_nan, seed):
    y_true, y_score = make_lists(seed, with_nan=with_nan)
    expected = [
        one_bag(reference, *bag, np.atleast_1d(pos_label))
        for bag in zip(y_true, y_score, strict=True)
    ]
    assert 0 < np.isnan(expected).sum() < 60
    values = score(y_true, y_score, pos_label=pos_label, average=None)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    macro = score(y_true, y_score, pos_label=pos_label)
    assert isinstance(macro, float)
    assert macro == pytest.approx(np.nanmean(expected), rel=1e-12)
    pooled = score(y_true, y_score, pos_label=pos_label, average="pooled")
    flat = np.concatenate(y_true), np.concatenate(y_score)
    assert pooled == pytest.approx(one_bag(reference, *flat, np.atleast_1d(pos_label)), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int64, bool])
def test_types_of_scores(dtype):
    y_true, y_score = make_lists(0)
    y_score = [finite(scores).clip(0, 3).astype(dtype) for scores in y_score]
    as_float = [scores.astype(float) for scores in y_score]
    for score in ALL:
        assert score(y_true, y_score) == score(y_true, as_float)


def hits(labels, scores, k, pos_label):
    """Share of the orders of the instances in which one of the first k is positive."""
    positive, scores = labels[labels != -1] == pos_label, finite(scores)[labels != -1]
    found = []
    for order in map(list, permutations(range(len(scores)))):
        first = np.argsort(-scores[order], kind="stable")[:k]
        found.append(positive[order][first].any())
    return np.mean(found)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
@pytest.mark.parametrize("with_nan", [False, True])
def test_hit_rate_is_the_mean_over_all_orders_of_ties(k, with_nan):
    rng = np.random.default_rng(k)
    sizes = rng.integers(1, 7, 60)
    y_true = [rng.choice([-1, 0, 0, 0, 1], size) for size in sizes]
    y_score = [rng.choice([0.0, 1.0, np.nan] if with_nan else [0.0, 1.0], n) for n in sizes]
    for scores in y_score:
        scores[0] = 1.0  # never NaN for all of a bag
    pairs = list(zip(y_true, y_score, strict=True))
    expected = [hits(*bag, k, 1) for bag in pairs if 1 in bag[0]]
    assert k == 9 or len({*expected} - {0.0, 1.0}) > 1
    rate = key_instance_hit_rate(y_true, y_score, k=k)
    assert isinstance(rate, float)
    assert rate == pytest.approx(np.mean(expected), rel=1e-12)


def test_hit_rate_of_many_ties():
    """One positive among n equal scores is among the first k with probability k / n."""
    n = 100_000
    y_true, y_score = [np.arange(n) == 7], [np.zeros(n)]
    for k in [1, 10, 70_000, n - 1, n, n + 1]:
        expected = min(k, n) / n
        assert key_instance_hit_rate(y_true, y_score, k=k) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "n_positive", "k"), [(500, 30, 20), (500, 20, 30), (40, 30, 12)])
def test_hit_rate_of_ties_is_hypergeometric(n, n_positive, k):
    y_true, y_score = [np.arange(n) < n_positive], [np.ones(n)]
    missed = Fraction(comb(n - n_positive, k), comb(n, k))
    rate = key_instance_hit_rate(y_true, y_score, k=k)
    assert rate == pytest.approx(float(1 - missed), rel=1e-13)


def test_hit_rate_without_ties_counts_bags():
    y_true = [[0, 1, 0], [1, 0, 0], [0, 0], [1, -1]]
    y_score = [[1, 3, 2], [2, 3, 4], [1, 2], [0, 9]]
    assert key_instance_hit_rate(y_true, y_score) == pytest.approx(2 / 3)
    assert key_instance_hit_rate(y_true, y_score, k=2) == pytest.approx(2 / 3)
    assert key_instance_hit_rate(y_true, y_score, k=3) == 1


def values_of(y_true, y_score):
    """Everything that the three functions say of the lists."""
    found = [key_instance_hit_rate(y_true, y_score, k=k) for k in (1, 2, 4)]
    for score, _ in SCORES:
        found += [score(y_true, y_score, average=average) for average in ("macro", "pooled")]
        found += score(y_true, y_score, average=None).tolist()
    return np.array(found)


def test_order_of_instances_does_not_matter():
    y_true, y_score = make_lists(1, with_nan=True)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(scores)) for scores in y_score]
    moved = [
        [values[order] for values, order in zip(lists, orders, strict=True)]
        for lists in (y_true, y_score)
    ]
    np.testing.assert_array_equal(values_of(*moved), values_of(y_true, y_score))


def test_only_the_order_of_scores_counts():
    y_true, y_score = make_lists(2, with_nan=True)
    squeezed = [np.arctan(scores) for scores in y_score]  # infinities become finite
    np.testing.assert_array_equal(values_of(y_true, squeezed), values_of(y_true, y_score))
    reversed_ = [-scores for scores in make_lists(2)[1]]
    score = instance_roc_auc_score(y_true, reversed_)
    assert score == pytest.approx(1 - instance_roc_auc_score(y_true, make_lists(2)[1]))


def test_only_pooling_compares_bags():
    y_true, y_score = make_lists(3)
    shifted = [finite(scores) + 10.0**7 * i for i, scores in enumerate(y_score)]
    before, after = values_of(y_true, y_score), values_of(y_true, shifted)
    pooled = [4, 6 + len(y_true)]
    assert np.all(before[pooled] != after[pooled])
    np.testing.assert_array_equal(np.delete(before, pooled), np.delete(after, pooled))


def test_instances_without_annotation_do_not_matter():
    y_true, y_score = make_lists(1)
    annotated = [labels != -1 for labels in y_true]
    assert any(not mask.any() for mask in annotated)  # these bags become empty
    cut = [
        [values[mask] for values, mask in zip(lists, annotated, strict=True)]
        for lists in (y_true, y_score)
    ]
    np.testing.assert_array_equal(values_of(*cut), values_of(y_true, y_score))


def test_dropped_instances_rank_below_minus_infinity():
    y_true, y_score = [[1, 0, 0, 1]], [[np.nan, -np.inf, 0.0, np.nan]]
    assert instance_roc_auc_score(y_true, y_score) == 0
    assert key_instance_hit_rate(y_true, y_score, k=2) == 0
    assert key_instance_hit_rate(y_true, y_score, k=3) == 1
    tied = [[np.nan, np.nan, 0.0, np.nan]]
    assert instance_roc_auc_score(y_true, tied) == pytest.approx(1 / 4)


def test_names_and_truth_values_are_labels():
    y_true, y_score = make_lists(5)
    y_true = [np.where(labels == -1, 0, labels) for labels in y_true]
    names = [np.array(["round", "blast", "smudge"])[labels] for labels in y_true]
    as_objects = [labels.astype(object) for labels in names]
    truth = [labels == 1 for labels in y_true]
    for score in ALL:
        expected = score(y_true, y_score)
        assert score(names, y_score, pos_label="blast") == expected
        assert score(as_objects, y_score, pos_label=["blast"]) == expected
        assert score(truth, y_score) == score(truth, y_score, pos_label=True) == expected
        assert score([labels.astype(float) for labels in y_true], y_score) == expected
        assert score(names, y_score, pos_label=["blast", "smudge"]) != expected


def test_object_arrays_and_tuples_are_lists():
    y_true, y_score = make_lists(6)
    as_objects = np.empty(len(y_true), dtype=object)
    as_objects[:] = y_true
    for score in ALL:
        assert score(as_objects, tuple(y_score)) == score(y_true, y_score)


@pytest.mark.parametrize(("score", "reference"), SCORES)
def test_undefined(score, reference):
    y_true, y_score = [[1, 1], [0, 0, -1], [-1]], [[1, 2], [1, 2, 3], [1]]
    with pytest.warns(UndefinedMetricWarning, match="no bag has annotated instances of both") as w:
        assert np.isnan(score(y_true, y_score))
    assert w[0].filename == __file__
    with pytest.warns(UndefinedMetricWarning, match="no bag has"):
        assert np.isnan(score(y_true, y_score, average=None)).all()
    assert score(y_true, y_score, average="pooled") == reference([1, 1, 0, 0], [1, 2, 1, 2])
    for labels in [[[0, 0], [0, -1]], [[-1, -1], [-1, -1]], [[], []]]:
        with pytest.warns(UndefinedMetricWarning, match="together do not have"):
            assert np.isnan(score(labels, labels, average="pooled"))


def test_undefined_hit_rate():
    """A fold may lack a label that others have."""
    y_true, y_score = [[3, 0], [0, -1]], [[1, 2], [1, 2]]
    with pytest.warns(UndefinedMetricWarning, match=r"no bag has a positive.*pos_label=9") as w:
        assert np.isnan(key_instance_hit_rate(y_true, y_score, pos_label=9))
    assert w[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert key_instance_hit_rate([[3, 3]], [[1, 2]], pos_label=3) == 1


FLAT = np.array([0, 1, 1])
GOOD = [[0, 1], [1, 0, 1]]
MASKED = np.ma.array([1, 0, 1], mask=[1, 0, 0])


@pytest.mark.parametrize("score", ALL)
@pytest.mark.parametrize(
    ("y_true", "y_score", "error", "match"),
    [
        (FLAT, FLAT, TypeError, r"Got ndarray of shape \(3,\) instead; cut them with .*split_by"),
        ([0, 1], [0.2, 0.3], TypeError, "y_true must be a list .* Got one flat list"),
        (["a", "b"], [0.2, 0.3], TypeError, "y_true must be a list .* Got one flat list"),
        (GOOD, FLAT, TypeError, "y_score must be a list with one 1-D array of scores"),
        (np.eye(2), np.eye(2), TypeError, r"Got ndarray of shape \(2, 2\)"),
        (BagArray(np.eye(2), [0, 1, 2]), GOOD, TypeError, "labels travel in X.instance_data"),
        ([], [], ValueError, "y_true has no bags"),
        (GOOD, GOOD[:1], ValueError, "y_true has 2 bags and y_score has 1"),
        (GOOD, [[0, 1], [1, 0]], BagShapeError, "Bag 1 has 3 labels in y_true and 2 scores"),
        (GOOD, [[0, 1], np.ones((3, 4))], BagShapeError, r"Bag 1 has scores of shape \(3, 4\)"),
        (GOOD, [[0, 1], 3], BagShapeError, r"Bag 1 has scores of shape \(\)"),
        (GOOD, [[0, 1], list("abc")], ValueError, "Bag 1 must hold numbers"),
        (GOOD, [[0, 1], [np.nan] * 3], ValueError, "Bag 1 has NaN for all scores"),
        ([[0, 1], np.ones((3, 1))], GOOD, BagShapeError, r"Bag 1 has labels of shape \(3, 1\)"),
        (
            [[0, 1], [1, 0, np.nan]],
            GOOD,
            ValueError,
            r"Bag 1 has a missing label, nan, at inst.* 2",
        ),
        ([[0, 1], [1, None, 0]], GOOD, ValueError, "Bag 1 has a missing label, None, at inst.* 1"),
        ([[0, 1], ["a", np.nan, "b"]], GOOD, ValueError, "Bag 1 has a missing label, nan"),
        ([[0, 1], ["a", 1, "b"]], GOOD, ValueError, "Bag 1 has labels of dtype object"),
        ([[0, 1], ["a", "b", "c"]], GOOD, ValueError, "Bag 1 has labels such as 'a', but bag 0"),
        ([[0, 1], [0.5, 1, 0]], GOOD, ValueError, "Bag 1 has the label 0.5, .* labels first"),
        ([[0, 1], [np.inf, 1, 0]], GOOD, ValueError, "Bag 1 has the label inf"),
        ([[0, 1], MASKED], GOOD, ValueError, "y_true of Bag 1 is a masked array"),
        (GOOD, [[0, 1], MASKED], ValueError, "y_score of Bag 1 is a masked array"),
    ],
)
def test_lists_that_are_refused(score, y_true, y_score, error, match):
    with pytest.raises(error, match=match):
        score(y_true, y_score)


@pytest.mark.parametrize("score", ALL)
@pytest.mark.parametrize(
    ("pos_label", "match"),
    [
        (-1, "-1 marks instances that are not annotated"),
        ([1, -1], "-1 marks instances that are not annotated"),
        ([], "one label or a list of labels"),
        (None, "one label or a list of labels"),
        ([1, "a"], "one label or a list of labels"),
        ([[1], [2]], "one label or a list of labels"),
        (np.nan, "holds a missing value"),
        ("blast", "pos_label is 'blast', but the labels in y_true are of another type, such as 0"),
    ],
)
def test_pos_labels_that_are_refused(score, pos_label, match):
    with pytest.raises(ValueError, match=match):
        score(GOOD, GOOD, pos_label=pos_label)


def test_other_arguments_that_are_refused():
    for k in [0, -1, 1.0, True, None]:
        with pytest.raises(ValueError, match="k must be an integer of at least 1"):
            key_instance_hit_rate(GOOD, GOOD, k=k)
    for score, _ in SCORES:
        with pytest.raises(ValueError, match=r"average must be one of \['macro', 'pooled', None\]"):
            score(GOOD, GOOD, average="micro")
