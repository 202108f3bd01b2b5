"""Synthetic bags under the three assumptions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from milkit.datasets import make_mil_classification


def count(X, wanted):
    return np.add.reduceat(wanted.astype(int), X.offsets[:-1])


@pytest.mark.parametrize("witness_rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_concepts", [1, 3])
def test_standard_label_follows_from_the_instances(witness_rate, n_concepts):
    X, y = make_mil_classification(
        80, witness_rate=witness_rate, n_concepts=n_concepts, random_state=0
    )
    label = X.instance_data["label"]
    assert np.array_equal(y, count(X, label == 1) >= 1)
    assert np.array_equal(label > 0, X.instance_data["concept"] > 0)
    assert abs(y.mean() - 0.5) < 0.02


@pytest.mark.parametrize("threshold", [1, 3, 5])
def test_threshold_label_follows_from_the_instances(threshold):
    X, y = make_mil_classification(
        200, assumption="threshold", threshold=threshold, witness_rate=0.3, random_state=1
    )
    witnesses = count(X, X.instance_data["label"])
    assert np.array_equal(y, witnesses >= threshold)
    if threshold > 1:
        assert witnesses[y == 0].max() > 0, "negative bags hold some positive instances"


@pytest.mark.parametrize("n_concepts", [1, 2, 4])
def test_presence_label_follows_from_the_instances(n_concepts):
    X, y = make_mil_classification(
        200, assumption="presence", n_concepts=n_concepts, witness_rate=0.4, random_state=2
    )
    concept = X.instance_data["concept"]
    present = [count(X, concept == c) > 0 for c in range(1, n_concepts + 1)]
    assert np.array_equal(y, np.all(present, axis=0))
    if n_concepts > 1:
        for has in present:
            assert has[y == 0].any(), "each concept also appears in negative bags"


def test_presence_is_not_told_by_the_number_of_positive_instances():
    X, y = make_mil_classification(
        300, bag_size=(20, 30), assumption="presence", witness_rate=0.4, random_state=2
    )
    assert abs(roc_auc_score(y, count(X, X.instance_data["label"])) - 0.5) < 0.1


def test_several_classes_have_instances_of_their_own_class_only():
    X, y = make_mil_classification(90, n_classes=4, n_concepts=2, random_state=0)
    label, bag_of = X.instance_data["label"], np.repeat(np.arange(90), X.sizes)
    assert np.array_equal(np.maximum.reduceat(label, X.offsets[:-1]), y)
    assert set(label[label > 0] - y[bag_of][label > 0]) == {0}
    assert np.array_equal(np.unique(X.instance_data["concept"]), np.arange(7))
    with pytest.raises(ValueError, match="needs assumption='standard'"):
        make_mil_classification(n_classes=3, assumption="threshold")


def test_weights_set_the_class_counts():
    for weights in ([0.8, 0.2], [0.8]):
        _, y = make_mil_classification(50, weights=weights, random_state=0)
        assert y.sum() == 10
    with pytest.raises(ValueError, match="add up to 1"):
        make_mil_classification(weights=[0.8, 0.8])


def test_witness_rate_is_the_share_of_positive_instances():
    X, y = make_mil_classification(200, bag_size=(50, 100), witness_rate=0.25, random_state=0)
    rate = count(X, X.instance_data["label"])[y == 1] / X.sizes[y == 1]
    assert abs(rate.mean() - 0.25) < 0.02


def test_bag_sizes_may_be_fixed_uniform_skewed_or_a_callable():
    assert set(make_mil_classification(20, bag_size=7, random_state=0)[0].sizes) == {7}
    X, y = make_mil_classification(
        600, 2, n_informative=2, bag_size=(5, 300), size_distribution="lognormal", random_state=0
    )
    assert X.sizes.min() >= 5 and X.sizes.max() <= 300
    assert X.sizes.mean() > 1.1 * np.median(X.sizes)
    assert abs(roc_auc_score(y, X.sizes) - 0.5) < 0.06, "size must not give the label away"
    sizes = np.array([3, 9, 4, 8])
    X, _ = make_mil_classification(4, bag_size=lambda rng, n: sizes, random_state=0)
    assert np.array_equal(X.sizes, sizes)
    with pytest.raises(ValueError, match="must return 4 integers"):
        make_mil_classification(4, bag_size=lambda rng, n: np.zeros(n))


def test_instances_are_separable_along_the_informative_features_only():
    X, _ = make_mil_classification(100, class_sep=3.0, n_informative=4, random_state=0)
    instances, label = X.flat()[0], X.instance_data["label"]
    model = LogisticRegression().fit(instances, label)
    assert roc_auc_score(label, model.decision_function(instances)) > 0.99
    weight = np.abs(model.coef_[0])
    assert weight[:4].min() > weight[4:].max()


def test_groups_are_balanced_and_shifted():
    X, y = make_mil_classification(120, n_groups=6, group_shift=5.0, random_state=0)
    assert np.array_equal(np.unique(X.groups), np.arange(6))
    means = np.array([X[X.groups == g].flat()[0].mean(axis=0) for g in range(6)])
    for g in range(6):
        assert abs(y[X.groups == g].mean() - 0.5) < 0.1
    assert means.std(axis=0).mean() > 2.0
    still, _ = make_mil_classification(120, n_groups=6, group_shift=0.0, random_state=0)
    means = np.array([still[still.groups == g].flat()[0].mean(axis=0) for g in range(6)])
    assert means.std(axis=0).mean() < 0.3


def test_covariates_carry_as_much_signal_as_asked_for():
    for signal, low, high in ((0.0, 0.4, 0.6), (2.0, 0.8, 1.0)):
        X, y = make_mil_classification(
            300, n_covariates=2, covariate_signal=signal, bag_size=3, random_state=0
        )
        assert list(X.covariates.columns) == ["covariate0", "covariate1"]
        assert low < roc_auc_score(y, X.covariates["covariate0"]) < high


def test_bunch_and_repeatability():
    data = make_mil_classification(30, return_X_y=False, random_state=3)
    X, y = make_mil_classification(30, random_state=3)
    assert np.array_equal(data.data.flat()[0], X.flat()[0]) and np.array_equal(data.target, y)
    assert data.concept_centers.shape == (1, 20) and "standard" in data.DESCR
    other, _ = make_mil_classification(30, random_state=4)
    assert not np.array_equal(other.flat()[0][:10], X.flat()[0][:10])


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="raise bag_size"):
        make_mil_classification(assumption="threshold", threshold=6, bag_size=(5, 15))
    with pytest.raises(ValueError, match="must not exceed n_features"):
        make_mil_classification(n_features=3, n_informative=5)
    with pytest.raises(ValueError, match="more informative features"):
        make_mil_classification(n_features=3, n_informative=1, n_concepts=3)
    with pytest.raises(ValueError, match="witness_rate"):
        make_mil_classification(witness_rate=1.5)
