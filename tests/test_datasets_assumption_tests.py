"""The unit tests of Raff and Holt: cheating pays in training only, the true rule always."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from milkit.datasets import (
    make_false_frequency_mil_test,
    make_multi_concept_mil_test,
    make_single_concept_mil_test,
)

MAKERS = [
    make_single_concept_mil_test,
    make_multi_concept_mil_test,
    make_false_frequency_mil_test,
]


def per_bag(X, value, ufunc=np.maximum):
    return ufunc.reduceat(np.asarray(value, dtype=float), X.offsets[:-1])


def no_poison_seen(X):
    """Uses the features only: the poison lies far below everything else."""
    return per_bag(X, X.flat()[0].mean(axis=1), np.minimum)


def number_of_concept_instances(X):
    """Uses the features only: concepts lie at 2 and 3 and hardly spread."""
    return per_bag(X, X.flat()[0].min(axis=1) > 1.5, np.add)


def any_positive(X):
    return per_bag(X, X.instance_data["label"])


def both_concepts(X):
    mean, spread = X.flat()[0].mean(axis=1), X.flat()[0].std(axis=1)
    first, second = (per_bag(X, (np.abs(mean - m) < 0.2) & (spread < 0.4)) for m in (2, 3))
    return np.minimum(first, second)


@pytest.mark.parametrize(
    ("maker", "cheat", "oracle"),
    [
        (make_single_concept_mil_test, no_poison_seen, any_positive),
        (make_multi_concept_mil_test, no_poison_seen, both_concepts),
        (make_false_frequency_mil_test, number_of_concept_instances, both_concepts),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_cheating_pays_in_training_only(maker, cheat, oracle, seed):
    X_train, y_train, X_test, y_test = maker(200, 100, random_state=seed)
    assert roc_auc_score(y_train, cheat(X_train)) > 0.99
    assert roc_auc_score(y_test, cheat(X_test)) < 0.1
    assert roc_auc_score(y_train, oracle(X_train)) == 1.0
    assert roc_auc_score(y_test, oracle(X_test)) == 1.0


def test_the_single_concept_can_be_seen_in_the_features():
    # The best rule compares the likelihoods of an instance under concept and background.
    def evidence(X):
        x = X.flat()[0]
        wide = (-np.log(3) - x**2 / 18 + x**2 / 2).sum(axis=1)
        moved = (-((x - 1) ** 2) / 2 + x**2 / 2).sum(axis=1)
        # The poison is far from the background as well, but below it in all features.
        return per_bag(X, np.where(x.max(axis=1) < -5, -np.inf, np.maximum(wide, moved)))

    X_train, y_train, X_test, y_test = make_single_concept_mil_test(random_state=0)
    assert roc_auc_score(y_train, evidence(X_train)) > 0.95
    assert roc_auc_score(y_test, evidence(X_test)) > 0.95


@pytest.mark.parametrize("maker", MAKERS)
def test_shapes_balance_and_repeatability(maker):
    X_train, y_train, X_test, y_test = maker(40, 21, n_features=3, random_state=0)
    assert len(X_train) == len(y_train) == 40 and len(X_test) == len(y_test) == 21
    assert X_train.n_features == X_test.n_features == 3
    assert y_train.sum() == 20 and y_test.sum() == 10
    assert 0 < y_train[:20].sum() < 20, "classes are mixed"
    kind, label = X_train.instance_data["kind"], X_train.instance_data["label"]
    assert np.array_equal(label == 1, kind > 0)
    again = maker(40, 21, n_features=3, random_state=0)
    assert np.array_equal(again[0].flat()[0], X_train.flat()[0])
    assert np.array_equal(again[3], y_test)


def test_poison_changes_sides():
    for maker in MAKERS[:2]:
        X_train, y_train, X_test, y_test = maker(60, 60, random_state=0)
        poisoned = [per_bag(X, X.instance_data["kind"] == -1, np.add) for X in (X_train, X_test)]
        assert np.array_equal(poisoned[0], 1 - y_train)
        assert np.array_equal(poisoned[1], y_test)


@pytest.mark.parametrize("maker", MAKERS[:2])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_size_of_a_bag_says_nothing_of_its_label(maker, seed):
    X_train, y_train, X_test, y_test = maker(2000, 2000, n_features=1, random_state=seed)
    for X, y in ((X_train, y_train), (X_test, y_test)):
        assert len(np.unique(X.sizes)) > 1
        assert roc_auc_score(y, X.sizes) == pytest.approx(0.5, abs=0.05)
        assert per_bag(X, X.instance_data["kind"] == 0, np.add).min() >= 1


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="n_background"):
        make_single_concept_mil_test(n_background=1)
    with pytest.raises(ValueError, match="n_features"):
        make_multi_concept_mil_test(n_features=0)
