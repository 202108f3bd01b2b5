"""The vectorised metrics equal scikit-learn's with sample_weight."""

import numpy as np
import pytest
from sklearn import metrics

from milkit.metrics import _weighted

N = 50


def draw(n_classes, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % n_classes)
    weights = rng.multinomial(N, np.full(N, 1 / N), size=8).astype(float)
    return y, weights, rng


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
def test_label_metrics(name, n_classes):
    y, weights, rng = draw(n_classes)
    predicted = rng.integers(0, n_classes, N)
    reference = getattr(metrics, f"{name}_score")
    expected = [reference(y, predicted, sample_weight=w) for w in weights]
    np.testing.assert_allclose(_weighted.LABEL_METRICS[name](y, predicted, weights), expected)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_metrics(name, n_classes, ties):
    y, weights, rng = draw(n_classes)
    scores = rng.normal(size=N if n_classes == 2 else (N, 3))
    scores = np.round(scores) if ties else scores
    reference = getattr(metrics, f"{name}_score")
    target = y if n_classes == 2 else np.eye(3)[y]
    expected = [reference(target, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(_weighted.RANKING_METRICS[name](y, scores, weights), expected)


def test_undefined_is_nan():
    y, scores = np.array([0, 0, 1]), np.array([1.0, 2.0, 3.0])
    weights = np.array([[1.0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]])
    expected = [True, True, True, False]
    np.testing.assert_array_equal(np.isnan(_weighted.roc_auc(y, scores, weights)), expected)
    np.testing.assert_array_equal(np.isnan(_weighted.balanced_accuracy(y, y, weights)), expected)
    undefined = np.isnan(_weighted.average_precision(y, scores, weights))
    np.testing.assert_array_equal(undefined, [True, False, True, False])
    undefined = np.isnan(_weighted.accuracy(y, y, weights))
    np.testing.assert_array_equal(undefined, [False, False, True, False])


def test_names():
    assert _weighted.metric_name(metrics.roc_auc_score) == "roc_auc"
    assert _weighted.metric_name(metrics.log_loss) is None
    with pytest.raises(ValueError, match=r"Unknown metric 'auc'; known by name"):
        _weighted.metric_name("auc")
    with pytest.raises(TypeError, match="a name or a callable"):
        _weighted.metric_name(3)
