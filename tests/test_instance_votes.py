"""From instances to bags: each vote against a loop over bags."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.special import expit

from milkit.instance._votes import bag_log_odds

LOOP = {
    "majority": lambda p, threshold: p.mean(),
    "mean": lambda p, threshold: p.mean(),
    "max": lambda p, threshold: p.max(),
    "noisy_or": lambda p, threshold: 1 - np.prod(1 - p),
    "threshold": lambda p, threshold: share_that_is_reached(p, threshold),
}


def share_that_is_reached(p, threshold):
    """The largest q such that so many instances have a probability of at least q."""
    if isinstance(threshold, int):
        needed = threshold
    else:
        needed = max(1, -(-Fraction(str(threshold)) * len(p) // 1))
    reached = [q for q in p if np.sum(p >= q) >= needed]
    return max(reached, default=0.0)


def probabilities(seed, n_columns, *, hard=False):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 15)
    offsets = np.append(0, np.cumsum(sizes))
    p = rng.dirichlet(np.ones(max(n_columns, 2)), offsets[-1])[:, :n_columns]
    return (np.round(p) if hard else p), offsets


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize(
    ("voting", "threshold"),
    [
        ("majority", 1),
        ("mean", 1),
        ("max", 1),
        ("noisy_or", 1),
        *[("threshold", threshold) for threshold in (1, 2, 5, 0.1, 0.25, 0.5, 0.7, 0.99)],
    ],
)
def test_every_vote_in_a_loop(voting, threshold, n_columns, seed):
    p, offsets = probabilities(seed, n_columns, hard=voting == "majority")
    before = p.copy()
    odds = bag_log_odds(p, offsets, voting, threshold)
    assert odds.shape == (15, n_columns)
    assert np.isfinite(odds).all()
    for i in range(15):
        for k in range(n_columns):
            expected = LOOP[voting](p[offsets[i] : offsets[i + 1], k], threshold)
            assert expit(odds[i, k]) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(p, before)


def test_a_count_that_no_bag_of_the_size_reaches():
    p = np.array([[0.9], [0.8], [0.7], [0.6]])
    odds = bag_log_odds(p, np.array([0, 3, 4]), "threshold", 2)
    assert expit(odds[0, 0]) == pytest.approx(0.8)
    assert expit(odds[1, 0]) == pytest.approx(0.0, abs=1e-12)
    # A share is reached by bags of any size.
    odds = bag_log_odds(p, np.array([0, 3, 4]), "threshold", 0.5)
    np.testing.assert_allclose(expit(odds[:, 0]), [0.8, 0.6])


def test_a_share_is_rounded_up_but_not_by_an_error_of_rounding():
    assert 0.07 * 100 > 7
    p = np.linspace(0.99, 0.01, 100)[:, None]
    odds = bag_log_odds(p, np.array([0, 100]), "threshold", 0.07)
    assert expit(odds[0, 0]) == pytest.approx(p[6, 0])
    odds = bag_log_odds(p, np.array([0, 100]), "threshold", 0.071)
    assert expit(odds[0, 0]) == pytest.approx(p[7, 0])


@pytest.mark.parametrize("threshold", [1, 3, 0.4])
def test_threshold_is_positive_where_so_many_are(threshold):
    p, offsets = probabilities(0, 1)
    odds = bag_log_odds(p, offsets, "threshold", threshold)[:, 0]
    for i in range(15):
        part = p[offsets[i] : offsets[i + 1], 0]
        needed = threshold if isinstance(threshold, int) else np.ceil(threshold * len(part))
        assert (odds[i] > 0) == (np.sum(part > 0.5) >= needed)


@pytest.mark.parametrize("voting", ["majority", "mean", "max", "noisy_or", "threshold"])
def test_certain_probabilities_give_finite_log_odds(voting):
    p = np.array([[0.0], [0.0], [1.0], [1.0], [0.0], [1.0]])
    odds = bag_log_odds(p, np.array([0, 2, 4, 6]), voting, 1)[:, 0]
    assert np.isfinite(odds).all()
    assert odds[0] < -30
    assert odds[1] > 30
    with np.errstate(all="raise"):
        bag_log_odds(p, np.array([0, 2, 4, 6]), voting, 1)


def test_noisy_or_of_large_bags_is_exact():
    # Probabilities of 1 in doubles long before that: the log-odds must still tell them apart.
    sizes = np.array([10_000, 10_001, 10_000, 20_000])
    values = [0.3, 0.3, 0.3001, 0.9]
    p = np.repeat(values, sizes)[:, None]
    odds = bag_log_odds(p, np.append(0, np.cumsum(sizes)), "noisy_or", 1)[:, 0]
    # −log(1 − P) is −Σ log(1 − p), and log P is nothing beside it.
    np.testing.assert_allclose(odds, -sizes * np.log1p(-np.array(values)), rtol=1e-12)
    assert len(np.unique(odds)) == 4
    assert np.argsort(odds).tolist() == [0, 1, 2, 3]


def test_noisy_or_of_small_probabilities_is_exact():
    p = np.full((1000, 1), 1e-12)
    odds = bag_log_odds(p, np.array([0, 1000]), "noisy_or", 1)[0, 0]
    assert odds == pytest.approx(np.log(1e-9), rel=1e-9)


@pytest.mark.parametrize("voting", ["majority", "mean", "max", "noisy_or", "threshold"])
def test_bags_of_one_instance_say_what_it_says(voting):
    p = np.linspace(0.01, 0.99, 9)[:, None]
    odds = bag_log_odds(p, np.arange(10), voting, 1)
    np.testing.assert_allclose(expit(odds), p, rtol=1e-12)
