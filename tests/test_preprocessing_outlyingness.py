"""Scores of outlier detectors against what each of them says itself."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import OneClassSVM

from milkit.preprocessing import _outlyingness
from milkit.preprocessing._outlyingness import check_detector, in_units_of, outlyingness


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(60, 3)) + [0.0, 5.0, -3.0]
    new = np.vstack([rng.normal(size=(25, 3)) + [0.0, 5.0, -3.0], [[40.0, 0.0, 0.0]]])
    return train, new


class OnlyDecision(BaseEstimator):
    """A detector of somebody else's, with decision_function alone."""

    def fit(self, X, y=None):
        self.center_ = X.mean(axis=0)
        return self

    def decision_function(self, X):
        return 3.0 - np.abs(X - self.center_).sum(axis=1)


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=10, random_state=0),
        LocalOutlierFactor(n_neighbors=5, novelty=True),
        KernelDensity(),
        GaussianMixture(2, random_state=0),
        EllipticEnvelope(random_state=0),
        SGDOneClassSVM(random_state=0),
        PCA(1),
        make_pipeline(StandardScaler(), KernelDensity()),
        make_pipeline(make_pipeline(KernelDensity())),
    ],
)
def test_minus_score_samples(detector, data):
    train, new = data
    detector.fit(train)
    check_detector(detector)
    got = outlyingness(detector, new)
    np.testing.assert_array_equal(got, -detector.score_samples(new))
    assert got.dtype == np.float64 and got.shape == (26,)
    # More is more outlying; SGDOneClassSVM knows only half spaces.
    if not isinstance(detector, SGDOneClassSVM):
        assert got.argmax() == 25


def test_minus_decision_function(data):
    train, new = data
    detector = OnlyDecision().fit(train)
    check_detector(detector)
    expected = np.abs(new - train.mean(axis=0)).sum(axis=1) - 3.0
    np.testing.assert_allclose(outlyingness(detector, new), expected)


@pytest.mark.parametrize("n_neighbors", [1, 4])
def test_distance_to_the_last_neighbour(n_neighbors, data):
    train, new = data
    detector = NearestNeighbors(n_neighbors=n_neighbors).fit(train)
    check_detector(detector)
    distances = np.linalg.norm(new[:, None] - train[None], axis=2)
    expected = np.sort(distances, axis=1)[:, n_neighbors - 1]
    np.testing.assert_allclose(outlyingness(detector, new), expected)
    # A Pipeline has no kneighbors of its own.
    half = FunctionTransformer(lambda X: X / 2)
    piped = make_pipeline(half, "passthrough", make_pipeline(clone(detector))).fit(train)
    check_detector(piped)
    np.testing.assert_allclose(outlyingness(piped, new), expected / 2)


ONE_CLASS_SVMS = [
    OneClassSVM(nu=0.1),
    OneClassSVM(nu=0.5, gamma=0.3),
    OneClassSVM(nu=0.2, gamma="auto"),
    OneClassSVM(nu=0.3, kernel="linear"),
    OneClassSVM(nu=0.2, kernel="poly", degree=2, coef0=1.5, gamma=0.2),
    OneClassSVM(nu=0.2, kernel="poly", gamma="auto"),
    OneClassSVM(nu=0.2, kernel="sigmoid", gamma=0.01, coef0=0.4),
]


@pytest.mark.parametrize("detector", ONE_CLASS_SVMS)
@pytest.mark.parametrize(
    ("block", "piped"), [(1 << 22, False), (100, False), (1, False), (99, True)]
)
def test_one_class_svm_is_libsvm_s(detector, block, piped, data, monkeypatch):
    train, new = data
    detector = clone(detector)
    pipeline = make_pipeline(
        make_pipeline(StandardScaler(), "passthrough"), make_pipeline(detector)
    )
    monkeypatch.setattr(_outlyingness, "_BLOCK_ENTRIES", block)
    monkeypatch.setattr(OneClassSVM, "score_samples", None)  # the fast path does not ask it
    given = pipeline if piped else detector
    got = outlyingness(given.fit(train), new)
    monkeypatch.undo()
    new = pipeline[:-1].transform(new) if piped else new
    expected = -detector.score_samples(new)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    # Less score_samples than the offset is what libsvm calls an outlier.
    clear = np.abs(got + detector.offset_[0]) > 1e-6
    np.testing.assert_array_equal(
        (got > -detector.offset_[0])[clear], (detector.predict(new) < 0)[clear]
    )


def test_one_class_svm_of_float32(data):
    train, new = data
    detector = OneClassSVM(nu=0.2).fit(train.astype(np.float32))
    got = outlyingness(detector, new.astype(np.float32))
    assert got.dtype == np.float64
    expected = -detector.score_samples(new.astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_one_class_svm_with_the_user_s_kernel(data):
    train, new = data
    detector = OneClassSVM(nu=0.2, kernel=laplacian_kernel).fit(train)
    np.testing.assert_array_equal(outlyingness(detector, new), -detector.score_samples(new))


def test_a_subclass_of_one_class_svm_has_its_own_word(data):
    class Shifted(OneClassSVM):
        def score_samples(self, X):
            return super().score_samples(X) + 100.0

    train, new = data
    detector = Shifted(nu=0.2).fit(train)
    np.testing.assert_array_equal(outlyingness(detector, new), -detector.score_samples(new))
    assert outlyingness(detector, new).max() < -90


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneClassSVM(nu=0.2, gamma=0.3, tol=1e-9),
        lambda: OneClassSVM(nu=0.5, kernel="linear", tol=1e-9),
        lambda: make_pipeline(
            StandardScaler(), make_pipeline(OneClassSVM(nu=0.2, gamma=0.3, tol=1e-9))
        ),
    ],
)
def test_scores_of_one_class_svms_grow_with_their_instances(make, data):
    train, new = data
    once, thrice = make().fit(train), make().fit(np.tile(train, (3, 1)))
    scores = outlyingness(once, new)
    # The same instances three times over are the same distribution.
    more = outlyingness(thrice, new)
    np.testing.assert_allclose(more, 3 * scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(in_units_of(once, thrice, more), scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(in_units_of(thrice, once, scores), more, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(in_units_of(once, once, scores), scores, rtol=1e-12, atol=1e-12)


def test_no_score_of_a_fold_lies_beyond_what_can_be_reached(data):
    """Else a threshold drops all instances: nothing is farther from an RBF kernel than 0."""
    train, new = data
    reference, fold = OneClassSVM(nu=0.2).fit(train), OneClassSVM(nu=0.2).fit(train[:30] * 0.9)
    far = outlyingness(fold, new[-1:] + 1e3)
    np.testing.assert_array_equal(in_units_of(reference, fold, far), 0.0)
    border = np.array([-fold.offset_[0]])
    np.testing.assert_allclose(in_units_of(reference, fold, border), -reference.offset_)


@pytest.mark.parametrize("detector", [KernelDensity(), NearestNeighbors(), OnlyDecision()])
def test_other_scores_are_comparable_as_they_are(detector, data):
    train, new = data
    detector.fit(train)
    scores = outlyingness(detector, new)
    other = clone(detector).fit(train[:30])
    np.testing.assert_array_equal(in_units_of(detector, other, scores), scores)


@pytest.mark.parametrize(
    ("detector", "error", "message"),
    [
        (LocalOutlierFactor(), ValueError, r"LocalOutlierFactor\(novelty=False\) cannot score new"),
        (KMeans(), TypeError, "Got KMeans, which has neither"),
        (StandardScaler(), TypeError, "Got StandardScaler, which has neither"),
        (GaussianNB(), TypeError, "Got GaussianNB, which is a classifier"),
        # It has decision_function, of which less is not more outlying.
        (LogisticRegression(), TypeError, "Got LogisticRegression, which is a classifier"),
        (make_pipeline(StandardScaler(), GaussianNB()), TypeError, "GaussianNB, which is a class"),
        (make_pipeline(PCA(), make_pipeline(KMeans())), TypeError, "Got KMeans, which has neither"),
        (make_pipeline(PCA(), LocalOutlierFactor()), ValueError, "Use novelty=True"),
    ],
)
def test_what_is_no_detector(detector, error, message):
    with pytest.raises(error, match=message):
        check_detector(detector)
