"""Class weights that count bags."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from milkit.utils._weights import class_weight_per_bag

CLASSES = np.array(["a", "b", "c"])
ENCODED = np.array([0, 0, 0, 1, 1, 2])


def test_none():
    np.testing.assert_array_equal(class_weight_per_bag(None, CLASSES, ENCODED), np.ones(6))


def test_balanced_is_scikit_learns():
    got = class_weight_per_bag("balanced", CLASSES, ENCODED)
    np.testing.assert_allclose(got, compute_sample_weight("balanced", ENCODED))


def test_balanced_between_two_sides():
    got = class_weight_per_bag("balanced", CLASSES, ENCODED, ENCODED == 2)
    np.testing.assert_allclose(got, [6 / 10] * 5 + [6 / 2])


def test_balanced_with_weights_is_balanced_with_repetitions():
    times = np.array([1, 2, 1, 3, 1, 2])
    index = np.repeat(np.arange(6), times)
    weighted = class_weight_per_bag("balanced", CLASSES, ENCODED, sample_weight=times)
    repeated = class_weight_per_bag("balanced", CLASSES, ENCODED[index])
    np.testing.assert_allclose(weighted[index], repeated)
    # Every class carries the same weight, whatever its unit.
    total = np.bincount(ENCODED, weights=weighted * times)
    np.testing.assert_allclose(total, total[0])
    scaled = class_weight_per_bag("balanced", CLASSES, ENCODED, sample_weight=10 * times)
    np.testing.assert_allclose(scaled, weighted)


def test_balanced_leaves_out_a_class_without_weight():
    weight = np.array([1, 1, 1, 1, 1, 0])
    got = class_weight_per_bag("balanced", CLASSES, ENCODED, sample_weight=weight)
    np.testing.assert_allclose(got, [5 / 6] * 3 + [5 / 4] * 2 + [0])


def test_dict():
    got = class_weight_per_bag({"a": 2, "c": 0.5}, CLASSES, ENCODED)
    np.testing.assert_allclose(got, [2, 2, 2, 1, 1, 0.5])
    got = class_weight_per_bag({0: 3.0, 1: 1.0}, np.array([False, True]), np.array([0, 1]))
    np.testing.assert_allclose(got, [3, 1])


def test_dict_with_a_class_that_a_fold_lacks():
    # As in scikit-learn: all labels are named, one more does no harm.
    weights = {"a": 2, "b": 1, "c": 3, "d": 4}
    np.testing.assert_allclose(class_weight_per_bag(weights, CLASSES, ENCODED), [2, 2, 2, 1, 1, 3])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"a": 1, "z": 2},
            r"class_weight names \['z'\], which are no labels, and not \['b', 'c'\]",
        ),
        ({"a": -1}, "class_weight must be finite and not negative"),
        ({"a": np.nan}, "class_weight must be finite"),
        ({"a": np.inf}, "class_weight must be finite"),
        ({"a": 0, "b": 0, "c": 0}, "nor all zero"),
    ],
)
def test_wrong_dicts(weights, message):
    with pytest.raises(ValueError, match=message):
        class_weight_per_bag(weights, CLASSES, ENCODED)
