"""Seeds of estimators inside estimators."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import IsolationForest, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_random_state

from milkit.utils._random import seeded_clone, seeds_from

# The global generator that NumPy functions and scikit-learn share.
GLOBAL = check_random_state(None)


@pytest.fixture
def global_state():
    before = GLOBAL.get_state()
    yield
    GLOBAL.set_state(before)


def same_state(a, b):
    return a[0] == b[0] and np.array_equal(a[1], b[1]) and a[2:] == b[2:]


def test_seeds_are_decided_by_the_state():
    seeds = seeds_from(0, 200)
    assert seeds.shape == (200,)
    assert len(np.unique(seeds)) == 200
    assert seeds.min() >= 0 and seeds.max() < 2**31
    np.testing.assert_array_equal(seeds, seeds_from(0, 200))
    assert not np.array_equal(seeds, seeds_from(1, 200))
    # The first ones do not depend on how many are wanted, and an instance goes on.
    np.testing.assert_array_equal(seeds_from(0, 3), seeds[:3])
    state = np.random.RandomState(0)
    both = np.append(seeds_from(state, 3), seeds_from(state, 197))
    np.testing.assert_array_equal(both, seeds)
    assert seeds_from(0, 0).shape == (0,)


@pytest.mark.usefixtures("global_state")
def test_none_is_the_global_state_as_in_scikit_learn():
    GLOBAL.seed(3)
    first = seeds_from(None, 4)
    GLOBAL.seed(3)
    np.testing.assert_array_equal(seeds_from(None, 4), first)
    GLOBAL.seed(3)
    one = seeded_clone(IsolationForest(), None)
    GLOBAL.seed(3)
    assert one.random_state == seeded_clone(IsolationForest(), None).random_state


def test_an_integer_leaves_the_global_state_alone():
    before = GLOBAL.get_state()
    seeds_from(0, 10)
    seeded_clone(IsolationForest(), 0)
    assert same_state(GLOBAL.get_state(), before)


def test_only_what_is_none_is_set_and_only_in_the_clone():
    given = make_pipeline(
        StandardScaler(), GaussianMixture(random_state=7), RandomForestClassifier(n_estimators=5)
    )
    copy = seeded_clone(given, 0)
    assert copy is not given
    assert copy[1].random_state == 7
    assert isinstance(copy[2].random_state, int)
    assert given[2].random_state is None
    assert copy[2].n_estimators == 5
    # Nothing but the seed differs.
    copy[2].random_state = None
    assert repr(copy.get_params()) == repr(given.get_params())


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (RandomForestClassifier(), lambda e: [e]),
        (CalibratedClassifierCV(RandomForestClassifier()), lambda e: [e.estimator]),
        (
            VotingClassifier([("a", RandomForestClassifier()), ("b", LogisticRegression())]),
            lambda e: [e.estimators[0][1], e.estimators[1][1]],
        ),
        (
            make_pipeline(
                make_pipeline(GaussianMixture()), CalibratedClassifierCV(RandomForestClassifier())
            ),
            lambda e: [e[0][0], e[1].estimator],
        ),
        # A splitter is no estimator and random all the same.
        (
            CalibratedClassifierCV(RandomForestClassifier(), cv=ShuffleSplit(2)),
            lambda e: [e.estimator, e.cv],
        ),
        # It draws a number and has no such parameter.
        (OneClassSVM(), lambda e: [e]),
        (make_pipeline(StandardScaler(), OneClassSVM()), lambda e: [e[1]]),
    ],
)
def test_every_part_gets_a_seed_of_its_own(given, parts):
    seeds = [part.random_state for part in parts(seeded_clone(given, 0))]
    assert len(set(seeds)) == len(seeds)
    assert all(isinstance(seed, int) for seed in seeds)
    assert [part.random_state for part in parts(seeded_clone(given, 0))] == seeds
    others = [part.random_state for part in parts(seeded_clone(given, 1))]
    assert not set(others) & set(seeds)
    assert all(part.random_state is None for part in parts(given))


def test_a_state_inside_is_copied_and_kept():
    state = np.random.RandomState(5)
    copy = seeded_clone(RandomForestClassifier(random_state=state), 0)
    assert copy.random_state is not state
    assert same_state(copy.random_state.get_state(), state.get_state())


def test_what_has_no_randomness_is_cloned():
    class Plain(BaseEstimator):
        def __init__(self, level=1):
            self.level = level

    copy = seeded_clone(Plain(3), 0)
    assert copy.level == 3
    assert not hasattr(copy, "random_state")


def test_the_seed_decides_the_result():
    X = np.random.default_rng(0).normal(size=(60, 3))

    def scores(seed):
        return seeded_clone(IsolationForest(n_estimators=5), seed).fit(X).score_samples(X)

    np.testing.assert_array_equal(scores(0), scores(0))
    assert not np.array_equal(scores(0), scores(1))


def test_one_class_svm_leaves_the_global_state_alone():
    # Without its seed libsvm takes a number from NumPy's global generator.
    X = np.random.default_rng(0).normal(size=(20, 2))
    before = GLOBAL.get_state()
    seeded_clone(OneClassSVM(), 0).fit(X)
    assert same_state(GLOBAL.get_state(), before)
    OneClassSVM().fit(X)
    taken = not same_state(GLOBAL.get_state(), before)
    GLOBAL.set_state(before)
    assert taken, "scikit-learn leaves it alone by itself: the attribute need not be set any more"
