"""group_predictions."""

import numpy as np
import pytest

from milkit.metrics import group_predictions


@pytest.mark.parametrize("average", ["mean", "median", "max"])
@pytest.mark.parametrize("shape", [(60,), (60, 3)])
def test_each_group_has_the_average_of_its_bags(average, shape):
    rng = np.random.default_rng(0)
    scores, groups = rng.normal(size=shape), rng.integers(0, 9, 60)
    names, averaged = group_predictions(scores, groups, average=average)
    assert set(names) == set(groups)
    assert averaged.shape == (9, *shape[1:])
    for name, value in zip(names, averaged, strict=True):
        expected = getattr(np, average)(scores[groups == name], axis=0)
        np.testing.assert_allclose(value, expected)


def test_groups_of_one_bag_change_nothing():
    scores = np.random.default_rng(0).normal(size=5)
    names, averaged = group_predictions(scores, list("cabed"))
    assert names.tolist() == list("cabed")
    np.testing.assert_array_equal(averaged, scores)


def test_errors():
    with pytest.raises(ValueError, match=r"average must be one of.*'min'"):
        group_predictions([1.0], ["a"], average="min")
    with pytest.raises(ValueError, match="Bag 1 has no group"):
        group_predictions([1.0, 2.0], ["a", np.nan][:1] + [None])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        group_predictions([1.0, 2.0], ["a"])
