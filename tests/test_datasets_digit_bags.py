"""Bags of scikit-learn's digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import InvalidParameterError

from milkit.datasets import load_digit_bags


def any_in_bag(X, key="label"):
    return np.maximum.reduceat(X.instance_data[key], X.offsets[:-1])


def test_a_bag_is_positive_exactly_if_it_holds_the_target():
    digits = load_digit_bags(random_state=0)
    X = digits.data
    assert np.array_equal(X.instance_data["label"], X.instance_data["digit"] == 9)
    assert np.array_equal(any_in_bag(X), digits.target)


def test_each_digit_is_used_at_most_once_and_unchanged_without_shift():
    digits = load_digit_bags(shift=0, random_state=1)
    X, raw = digits.data, load_digits()
    index = X.instance_data["index"]
    assert len(np.unique(index)) == X.n_instances
    assert np.array_equal(X.flat()[0], raw.data[index])
    assert np.array_equal(X.instance_data["digit"], raw.target[index])
    assert np.array_equal(digits.images, raw.images[index])


@pytest.mark.parametrize(("n_bags", "n_groups"), [(120, 12), (60, 12), (36, 12), (50, 7)])
def test_classes_are_balanced_over_all_and_inside_groups(n_bags, n_groups):
    X, y = load_digit_bags(n_bags=n_bags, n_groups=n_groups, return_X_y=True, random_state=0)
    assert abs(y.mean() - 0.5) <= 1.5 / n_groups
    assert len(np.unique(X.groups)) == n_groups
    for group in np.unique(X.groups):
        share = y[X.groups == group]
        assert abs(2 * share.sum() - len(share)) <= 1
        assert 0 < share.sum() < len(share)


def test_sizes_and_witnesses_keep_their_bounds_and_witnesses_lie_anywhere():
    X, y = load_digit_bags(
        bag_size=(8, 12), n_witnesses=2, return_X_y=True, random_state=3, n_groups=None
    )
    assert X.sizes.min() >= 8 and X.sizes.max() <= 12
    assert X.groups is None
    count = np.add.reduceat(X.instance_data["label"], X.offsets[:-1])
    assert np.array_equal(count, 2 * y)
    first = X.instance_data["label"][X.offsets[:-1]]
    assert 0 < first.sum() < y.sum()


def test_the_shift_is_one_gain_and_offset_per_group():
    plain = load_digit_bags(shift=0, random_state=5).data
    shifted = load_digit_bags(shift=2.0, random_state=5)
    scanner = np.repeat(shifted.data.groups, shifted.data.sizes)
    for g, name in enumerate(np.unique(scanner)):
        rows = scanner == name
        expected = shifted.gain[g] * plain.flat()[0][rows] + shifted.offset[g]
        np.testing.assert_allclose(shifted.data.flat()[0][rows], expected)
    assert len(np.unique(shifted.offset)) == 12


def test_random_state_decides_everything():
    first, again, other = (load_digit_bags(random_state=s).data for s in (0, 0, 1))
    assert np.array_equal(first.flat()[0], again.flat()[0])
    assert not np.array_equal(first.instance_data["index"], other.instance_data["index"])


def test_names_do_not_tell_the_label_and_the_target_can_be_chosen():
    digits = load_digit_bags(target=0, random_state=0)
    assert not any(name == "0" or "with" in name for name in digits.data.names)
    assert set(digits.data.instance_data["digit"][digits.data.instance_data["label"] == 1]) == {0}
    assert digits.target_names[1] == "with 0"
    assert digits.image_shape == (8, 8) and "used twice" in digits.DESCR


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"no digit is used twice\. Take fewer"):
        load_digit_bags(n_bags=400, random_state=0)
    with pytest.raises(ValueError, match="needs at least 20 bags"):
        load_digit_bags(n_bags=12, n_groups=10)
    with pytest.raises(ValueError, match="must not exceed the smallest bag"):
        load_digit_bags(bag_size=2, n_witnesses=3)
    with pytest.raises(ValueError, match="pair \\(low, high\\)"):
        load_digit_bags(bag_size=(5, 3))
    with pytest.raises(InvalidParameterError, match="target"):
        load_digit_bags(target=10)
