"""OneClassInstanceFilter against detectors that are fitted by hand."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_random_state

from milkit import MISVM, BagArray, BagStatistics, InstanceTransformer, OneClassInstanceFilter
from milkit.exceptions import BagShapeError
from milkit.inspection import predict_instances, score_instances
from milkit.model_selection import GroupedSplit

N_PATIENTS = 12


def make_bags(n_bags=24, n_features=2, seed=0, max_size=6, shift=6.0):
    """Every other bag positive, with its first instance moved."""
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(n, n_features)) for n in rng.integers(2, max_size + 1, n_bags)]
    y = np.arange(n_bags) % 2
    for bag in bags[1::2]:
        bag[0] += shift
    return bags, y


def negatives(bags, y, label=0):
    return np.concatenate([bag for bag, own in zip(bags, y, strict=True) if own == label])


def assert_lists_equal(got, expected, **tolerance):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


class Spy(BaseEstimator):
    """Notes the first feature, a number of the instance, of what it fits and what it scores.

    Outlying is what is far from the mean of the rest.
    """

    calls = []

    def __init__(self, sign=1.0):
        self.sign = sign

    def fit(self, X, y=None):
        assert y is None
        self.seen_ = X[:, 0].astype(int)
        self.center_ = X[:, 1:].mean(axis=0)
        return self

    def score_samples(self, X):
        Spy.calls.append((set(self.seen_), X[:, 0].astype(int)))
        return -self.sign * np.linalg.norm(X[:, 1:] - self.center_, axis=1)


@pytest.fixture
def spied():
    """Bags whose instances are numbered, some patients with bags of both labels, some of one."""
    Spy.calls.clear()
    bags, y = make_bags(30, seed=1)
    starts = np.cumsum([0, *map(len, bags)])
    bags = [
        np.column_stack([start + np.arange(len(bag)), bag])
        for start, bag in zip(starts, bags, strict=False)
    ]
    # Patients 0 to 4 have bags of both labels, 5 to 7 negative ones only, 8 and 9 positive ones.
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, *[5, 8] * 4, *[6, 9] * 3, *[7, 8] * 3])
    X = BagArray.from_list(bags, groups=groups)
    instance_group = np.repeat(groups, X.sizes)
    instance_normal = np.repeat(y == 0, X.sizes)
    return X, y, instance_group, instance_normal


# -- the detector ----------------------------------------------------------------------------


def by_score_samples(detector, bags):
    return [-detector.score_samples(bag) for bag in bags]


def by_last_neighbour(detector, bags):
    if hasattr(detector, "steps"):  # a Pipeline has no kneighbors
        return by_last_neighbour(detector[-1], [detector[:-1].transform(bag) for bag in bags])
    return [detector.kneighbors(bag)[0][:, -1] for bag in bags]


@pytest.mark.parametrize(
    ("detector", "scores_of"),
    [
        (None, by_score_samples),
        (OneClassSVM(nu=0.3, gamma=0.5), by_score_samples),
        (IsolationForest(n_estimators=5, random_state=0), by_score_samples),
        (LocalOutlierFactor(n_neighbors=4, novelty=True), by_score_samples),
        (KernelDensity(), by_score_samples),
        (GaussianMixture(2, random_state=0), by_score_samples),
        (make_pipeline(StandardScaler(), KernelDensity()), by_score_samples),
        (NearestNeighbors(n_neighbors=3), by_last_neighbour),
        (make_pipeline(StandardScaler(), NearestNeighbors(n_neighbors=3)), by_last_neighbour),
    ],
)
def test_fitted_on_the_instances_of_negative_bags(detector, scores_of):
    (bags, y), (new, _) = make_bags(), make_bags(seed=1)
    model = OneClassInstanceFilter(detector).fit(bags, y)
    assert model.estimator_ is not detector
    if detector is None:
        detector = make_pipeline(StandardScaler(), OneClassSVM(nu=0.1))
    reference = clone(detector).fit(negatives(bags, y))
    for X in (bags, new):
        assert_lists_equal(model.score_instances(X), scores_of(reference, X), atol=1e-9)


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
def test_the_scale_of_a_feature_does_not_matter(keep):
    bags, y = make_bags(max_size=12, shift=2.0)
    scaled = [bag * [1000.0, 1.0] for bag in bags]
    one = OneClassInstanceFilter(keep=keep, fraction=0.3).fit(bags, y).support_mask(bags)
    two = OneClassInstanceFilter(keep=keep, fraction=0.3).fit(scaled, y).support_mask(scaled)
    assert_lists_equal(one, two)
    bare = OneClassInstanceFilter(OneClassSVM(nu=0.1), keep=keep, fraction=0.3)
    three = bare.fit(scaled, y).support_mask(scaled)
    assert not np.array_equal(np.concatenate(one), np.concatenate(three))


def test_only_negative_bags_are_seen(spied):
    X, y, _, normal = spied
    model = OneClassInstanceFilter(Spy()).fit(X, y)
    assert model.estimator_.seen_.tolist() == np.flatnonzero(normal).tolist()
    assert Spy.calls == []  # fit scores nothing where nothing hangs on it


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
def test_instances_of_positive_bags_teach_nothing(keep):
    bags, y = make_bags()
    other = [bag * 50 - 7 if label else bag for bag, label in zip(bags, y, strict=True)]
    one = OneClassInstanceFilter(keep=keep).fit(bags, y)
    two = OneClassInstanceFilter(keep=keep).fit(other, y)
    new = make_bags(seed=5)[0]
    for a, b in zip(one.score_instances(new), two.score_instances(new), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(one.support_mask(new), two.support_mask(new), strict=True):
        np.testing.assert_array_equal(a, b)
    assert getattr(one, "threshold_", None) == getattr(two, "threshold_", None)


@pytest.mark.parametrize(
    ("labels", "negative_class", "expected"),
    [
        ([0, 1], None, 0),
        ([0, 1], 1, 1),
        (["sick", "healthy"], None, "healthy"),
        (["sick", "healthy"], "sick", "sick"),
        ([True, False], None, False),
        ([2, 7, 4], None, 2),
        ([2, 7, 4], 7, 7),
        (["b", "a", "c"], "c", "c"),
    ],
)
def test_negative_class(labels, negative_class, expected):
    bags, _ = make_bags()
    y = np.array(labels)[np.arange(24) % len(labels)]
    model = OneClassInstanceFilter(KernelDensity(), negative_class=negative_class).fit(bags, y)
    assert model.negative_class_ == expected
    assert model.classes_.tolist() == sorted(labels)
    reference = KernelDensity().fit(negatives(bags, y, expected))
    assert_lists_equal(model.score_instances(bags), by_score_samples(reference, bags))


def test_one_class_is_enough_where_it_is_named():
    bags, y = make_bags()
    normal = bags[::2]
    model = OneClassInstanceFilter(KernelDensity(), negative_class="ok").fit(normal, ["ok"] * 12)
    reference = OneClassInstanceFilter(KernelDensity()).fit(bags, y)
    assert_lists_equal(model.score_instances(bags), reference.score_instances(bags))


# -- what is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "min_instances", "size", "expected"),
    [
        (0.1, 1, 30, 3),
        (0.07, 1, 100, 7),  # a little more than 7 in floats
        (0.14, 1, 50, 7),
        (0.1, 1, 31, 4),
        (0.5, 1, 3, 2),
        (0.5, 1, 1, 1),
        (1 / 3, 1, 9, 3),
        (0.7, 1, 10, 7),
        (1.0, 1, 13, 13),
        (1e-12, 1, 20, 1),
        (0.1, 4, 30, 4),
        (0.9, 4, 30, 27),
        (0.1, 8, 5, 5),
    ],
)
def test_how_many_are_kept(fraction, min_instances, size, expected):
    rng = np.random.default_rng(0)
    model = OneClassInstanceFilter(
        KernelDensity(), fraction=fraction, min_instances=min_instances
    ).fit(*make_bags())
    Xt = model.transform([rng.normal(size=(size, 2)), rng.normal(size=(1, 2))])
    assert Xt.sizes.tolist() == [expected, 1]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_the_most_outlying_are_kept_in_their_order(fraction):
    bags, y = make_bags(max_size=12)
    model = OneClassInstanceFilter(fraction=fraction).fit(bags, y)
    Xt, masks = model.transform(bags), model.support_mask(bags)
    for bag, kept, mask, scores in zip(bags, Xt, masks, model.score_instances(bags), strict=True):
        n = int(np.ceil(fraction * len(bag)))
        expected = sorted(np.argsort(-scores)[:n])
        assert mask.dtype == bool
        assert np.flatnonzero(mask).tolist() == expected
        np.testing.assert_array_equal(kept, bag[expected])


def test_the_witnesses_are_kept():
    bags, y = make_bags()
    masks = OneClassInstanceFilter(fraction=0.01).fit(bags, y).support_mask(bags)
    assert all(mask.argmax() == 0 for mask in masks[1::2])


class Constant(BaseEstimator):
    """Finds all instances equally outlying."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return np.zeros(len(X))


class Linear(Constant):
    """Outlying is what has a large first feature."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def score_samples(self, X):
        return -self.factor * X[:, 0]


def test_order_of_instances_means_nothing():
    rng = np.random.default_rng(0)
    bag = rng.integers(0, 3, (8, 2)) + rng.permutation(8)[:, None] / 100
    order = rng.permutation(8)
    model = OneClassInstanceFilter(Constant()).fit(*make_bags())
    one, two = model.support_mask([bag, bag[order]])
    np.testing.assert_array_equal(two, one[order])
    assert one.sum() == 4


@pytest.mark.parametrize("detector", [None, KernelDensity(), NearestNeighbors()])
def test_a_bag_is_filtered_alone_as_among_others(detector):
    # Many rows twice: their scores differ by rounding, otherwise in each batch.
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5))
    bags = [rows[rng.integers(0, 30, n)] for n in rng.integers(2, 12, 200)]
    bags += [np.repeat(rng.normal(size=(1, 5)), n, axis=0) for n in (7, 20)]
    model = OneClassInstanceFilter(detector, fraction=0.5).fit(bags, np.arange(202) % 2)
    for bag, mask in zip(bags, model.support_mask(bags), strict=True):
        np.testing.assert_array_equal(model.support_mask([bag])[0], mask)


@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_scores_of_any_size_are_told_apart(factor):
    bag = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    model = OneClassInstanceFilter(Linear(factor)).fit(*make_bags())
    assert model.support_mask([bag])[0].tolist() == [False, True, False, True]


@pytest.mark.parametrize("method", ["transform", "fit_transform"])
def test_far_outliers_are_told_apart(method):
    # The kernel of what is far away is tiny, and nothing may round it away.
    bags, y = make_bags()
    bags[1] = np.array([[25.0, 0], [0, 28], [0, 27], [-26, 0], [-1, 29], [3, 30]])
    model = OneClassInstanceFilter(OneClassSVM(gamma=0.2), fraction=0.5)
    Xt = (
        model.fit_transform(bags, y)
        if method == "fit_transform"
        else model.fit(bags, y).transform(bags)
    )
    np.testing.assert_array_equal(Xt[1], bags[1][[1, 4, 5]])


def test_columns_are_kept():
    bags, y = make_bags()
    rows = np.arange(sum(map(len, bags)))
    X = BagArray.from_list(
        bags,
        names=[f"slide {i}" for i in range(24)],
        groups=np.repeat(np.arange(N_PATIENTS), 2),
        covariates={"age": np.arange(24) + 40},
        instance_data={"row": rows, "box": np.column_stack([rows, rows + 5])},
        feature_names=["u", "v"],
    )
    for keep in ("outliers", "threshold"):
        model = OneClassInstanceFilter(keep=keep).fit(X, y)
        for view in (X, X[[7, 2, 11]]):
            mask = np.concatenate(model.support_mask(view))
            assert len(view) < 24 or 0 < mask.sum() < len(mask)
            Xt = model.transform(view)
            assert Xt.names.tolist() == view.names.tolist()
            assert Xt.groups.tolist() == view.groups.tolist()
            assert Xt.covariates["age"].tolist() == view.covariates["age"].tolist()
            assert Xt.feature_names.tolist() == ["u", "v"]
            np.testing.assert_array_equal(Xt.instance_data["row"], view.instance_data["row"][mask])
            np.testing.assert_array_equal(Xt.instance_data["box"], view.instance_data["box"][mask])
            np.testing.assert_array_equal(Xt.flat()[0], view.flat()[0][mask])
    fitted = OneClassInstanceFilter().fit_transform(X, y)
    np.testing.assert_array_equal(
        np.concatenate(bags)[fitted.instance_data["row"]], fitted.flat()[0]
    )
    assert model.get_feature_names_out().tolist() == ["u", "v"]
    assert model.feature_names_in_.tolist() == ["u", "v"]


def test_tables_stay_tables():
    rng = np.random.default_rng(0)
    table, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    model = OneClassInstanceFilter()
    np.testing.assert_array_equal(model.fit_transform(table, y), table)
    np.testing.assert_array_equal(model.transform(table), table)
    assert isinstance(model.set_output(transform="pandas").transform(table), np.ndarray)


# -- cross-fitted ----------------------------------------------------------------------------


def test_fit_transform_scores_each_group_by_a_detector_that_did_not_see_it(spied):
    X, y, group, normal = spied
    OneClassInstanceFilter(Spy(), n_splits=3).fit_transform(X, y)
    assert len(Spy.calls) == 4
    with_negatives = set(group[normal])
    all_normal = set(np.flatnonzero(normal))
    scored = np.concatenate([rows for _, rows in Spy.calls])
    assert sorted(scored) == list(range(X.n_instances))  # each of them once
    n_full = 0
    for seen, rows in Spy.calls:
        assert seen <= all_normal
        if seen == all_normal:  # the groups that have no negative bag
            n_full += 1
            assert set(group[rows]) == {8, 9}
        else:
            assert not {group[row] for row in seen} & set(group[rows])
            assert set(group[rows]) <= with_negatives
            # It saw every other group.
            assert {group[row] for row in seen} == with_negatives - set(group[rows])
    assert n_full == 1


def test_without_groups_each_bag_is_one(spied):
    X, y, _, normal = spied
    bag = np.repeat(np.arange(30), X.sizes)
    OneClassInstanceFilter(Spy()).fit_transform(list(X), y)
    for seen, rows in Spy.calls:
        assert not {bag[row] for row in seen} & set(bag[rows])
        if seen == set(np.flatnonzero(normal)):
            assert not normal[rows].any()


def test_groups_are_handed_over(spied):
    X, y, _, _ = spied
    ours = OneClassInstanceFilter(Spy()).fit_transform(X, y)
    first = [call[0] for call in Spy.calls]
    Spy.calls.clear()
    theirs = OneClassInstanceFilter(Spy()).fit_transform(list(X), y, groups=X.groups)
    assert [call[0] for call in Spy.calls] == first
    assert_lists_equal(list(ours), list(theirs))
    # Through a pipeline too, under metadata routing without being asked for.
    Spy.calls.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(OneClassInstanceFilter(Spy()), BagStatistics(), LogisticRegression())
        model.fit(list(X), y, groups=X.groups)
    assert [call[0] for call in Spy.calls] == first


def leave_one_group_out(X, y, group, detector):
    """Scores of all instances, written out: n_splits as large as the number of groups.

    In the units of the detector that is fitted on all negative bags.
    """
    flat, bag_of = X.flat()[0], np.repeat(np.arange(len(X)), X.sizes)
    normal = (y == 0)[bag_of]
    scores = np.empty(len(flat))
    full = clone(detector).fit(flat[normal])
    for g in np.unique(group):
        rows = group == g
        fitted = clone(detector).fit(flat[normal & ~rows])  # all of them if g has none
        scores[rows] = -fitted.score_samples(flat[rows])
        if isinstance(detector, OneClassSVM):  # its scores are sums over what it was fitted on
            assert full.dual_coef_.sum() == pytest.approx(full.nu * normal.sum())
            scores[rows] *= full.offset_ / fitted.offset_
    return scores


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
@pytest.mark.parametrize("detector", [KernelDensity(), OneClassSVM(nu=0.3)])
def test_fit_transform_by_hand(spied, detector, keep):
    X, y, group, normal = spied
    X = BagArray.from_list([bag[:, 1:] for bag in X], groups=X.groups)
    scores = leave_one_group_out(X, y, group, detector)
    model = OneClassInstanceFilter(detector, keep=keep, fraction=0.4, n_splits=100)
    Xt = model.fit_transform(X, y)
    if keep == "threshold":
        ordered = np.sort(scores[normal])
        threshold = ordered[int(np.ceil(0.6 * len(ordered))) - 1]
        assert model.threshold_ == pytest.approx(threshold, rel=1e-9)
    stops = np.cumsum(X.sizes)
    for bag, kept, stop in zip(X, Xt, stops, strict=True):
        part = scores[stop - len(bag) : stop]
        n = np.sum(part > threshold) if keep == "threshold" else np.ceil(0.4 * len(bag))
        n = max(int(n), 1)
        np.testing.assert_array_equal(kept, bag[sorted(np.argsort(-part)[:n])])
    # The detector that stays saw them all, so that transform gives something else.
    reference = clone(detector).fit(X.flat()[0][normal])
    assert_lists_equal(model.score_instances(X), by_score_samples(reference, X), atol=1e-9)
    assert not np.allclose(np.concatenate(model.score_instances(X))[normal], scores[normal])


def test_fit_learns_the_threshold_of_fit_transform():
    bags, y = make_bags()
    one = OneClassInstanceFilter(keep="threshold", fraction=0.2).fit(bags, y)
    two = OneClassInstanceFilter(keep="threshold", fraction=0.2)
    two.fit_transform(bags, y)
    assert one.threshold_ == two.threshold_
    # An earlier threshold does not outlive it.
    assert not hasattr(two.set_params(keep="outliers").fit(bags, y), "threshold_")


@pytest.mark.parametrize("fraction", [0.05, 0.3])
@pytest.mark.parametrize(
    "detector",
    [
        None,
        OneClassSVM(nu=0.5, gamma=0.1),
        make_pipeline(StandardScaler(), make_pipeline(OneClassSVM(nu=0.1))),
        KernelDensity(),
        IsolationForest(n_estimators=20, random_state=0),
        LocalOutlierFactor(novelty=True),
        GaussianMixture(random_state=0),
        NearestNeighbors(n_neighbors=5),
    ],
)
def test_the_share_of_new_negatives_above_the_threshold(detector, fraction):
    # The threshold is learned on scores of detectors that were fitted on fewer instances, and
    # must be one for those of the last detector.
    (bags, _), (new, _) = make_bags(600, shift=0.0), make_bags(600, shift=0.0, seed=1)
    y = np.arange(600) % 2
    model = OneClassInstanceFilter(detector, keep="threshold", fraction=fraction).fit(bags, y)
    scores = np.concatenate(model.score_instances(new))
    assert np.mean(scores > model.threshold_) == pytest.approx(fraction, abs=0.2 * fraction + 0.01)


def test_above_the_threshold_and_min_instances():
    (bags, y), (new, _) = make_bags(60), make_bags(60, seed=1)
    model = OneClassInstanceFilter(keep="threshold", fraction=0.2).fit(bags, y)
    some = []
    for mask, own in zip(model.support_mask(new), model.score_instances(new), strict=True):
        above = own > model.threshold_
        some.append(above.any())
        np.testing.assert_array_equal(mask, above if above.any() else own == own.max())
    assert 0 < np.sum(some) < 60
    model = OneClassInstanceFilter(keep="threshold", fraction=0.05, min_instances=2)
    assert model.fit(bags, y).transform(new).sizes.min() == 2


def ten_scores(values=range(10), n=10):
    """A negative bag of each score, and a positive bag; for the detector Linear."""
    bags = [np.array([[float(value), 0.0]]) for value in values]
    return [*bags, np.zeros((1, 2))], [0] * n + [1]


@pytest.mark.parametrize(
    "fraction", [*(k / 10 for k in range(1, 10)), 1 - 0.7, 0.1 + 0.2, 0.15, 1.0]
)
def test_so_many_of_ten_scores_are_above_the_threshold(fraction):
    bags, y = ten_scores()
    model = OneClassInstanceFilter(Linear(), keep="threshold", fraction=fraction).fit(bags, y)
    above = np.concatenate(model.score_instances(bags[:10])) > model.threshold_
    assert above.sum() == int(fraction * 10 + 1e-9)
    np.testing.assert_array_equal(above, np.sort(above))  # what equals it is not above it
    assert (model.threshold_ == -np.inf) == (fraction == 1.0)


@pytest.mark.parametrize("weight", [None, np.ones(11)])
def test_no_threshold_where_the_top_is_tied(weight):
    bags, y = ten_scores([0, 1, 2, 3, 4, 5, 6, 9, 9, 9])
    model = OneClassInstanceFilter(WeightedLinear(), keep="threshold", fraction=0.2)
    with pytest.raises(ValueError, match=r"most outlying 30% of .* have the same score, 9, .* 20%"):
        model.fit(bags, y, sample_weight=weight)
    model.set_params(fraction=0.3).fit(bags, y, sample_weight=weight)
    assert model.threshold_ == 6
    # Few scores are no tied ones: nothing that was seen is above the threshold.
    bags, y = ten_scores([1, 3, 2], 3)
    assert model.set_params(fraction=0.1).fit(bags, y, sample_weight=[1] * 4).threshold_ == 3


class WeightedLinear(Linear):
    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X)


def test_no_threshold_where_the_top_is_infinite():
    bags, y = make_bags()
    tophat = KernelDensity(kernel="tophat", bandwidth=0.2)
    with pytest.raises(ValueError, match="have the same score, inf"):
        OneClassInstanceFilter(tophat, keep="threshold").fit(bags, y)
    # The ways out that the message names, and no filter at all.
    OneClassInstanceFilter(tophat, keep="outliers").fit_transform(bags, y)
    model = OneClassInstanceFilter(tophat, keep="threshold", fraction=1.0)
    assert model.fit_transform(bags, y).sizes.tolist() == [len(bag) for bag in bags]
    wide = KernelDensity(kernel="tophat", bandwidth=1.5)
    assert OneClassInstanceFilter(wide, keep="threshold").fit(bags, y).threshold_ < np.inf


def test_the_trap_that_cross_fitting_is_for():
    # In ten dimensions a detector knows what it was fitted on: a threshold on its own scores
    # lets far more of new negative bags through than was asked for.
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(5, 10)) for _ in range(60)]
    new = [rng.normal(size=(5, 10)) for _ in range(60)]
    y = np.arange(60) % 2
    detector = KernelDensity(bandwidth=0.5)
    model = OneClassInstanceFilter(detector, keep="threshold", fraction=0.1).fit(bags, y)
    own = np.concatenate(model.score_instances(bags[::2]))
    later = np.concatenate(model.score_instances(new))
    assert own.max() < later.min()
    assert np.mean(later > np.quantile(own, 0.9)) == 1.0
    assert np.mean(later > model.threshold_) < 0.25
    # In fit_transform negative bags do not give themselves away, after fit and transform they do.
    model = OneClassInstanceFilter(detector, keep="threshold", fraction=0.1)
    fair = model.fit_transform(bags, y).sizes
    naive = model.transform(bags).sizes
    assert naive[::2].sum() == 30 < fair[::2].sum()  # one of each bag, as min_instances says
    assert naive[1::2].sum() == fair[1::2].sum() > 30


@pytest.mark.parametrize("negative_groups", ["one bag", "one patient"])
def test_one_negative_group_warns(negative_groups):
    bags, y = make_bags(8)
    groups = None
    if negative_groups == "one bag":
        bags, y = bags[1:6:2] + bags[:1], np.array([1, 1, 1, 0])
    else:
        groups = np.where(y == 0, 0, np.arange(8))
    flat = negatives(bags, y)
    loo = np.sort(
        [
            -KernelDensity().fit(np.delete(flat, i, axis=0)).score_samples(flat[[i]])[0]
            for i in range(len(flat))
        ]
    )
    model = OneClassInstanceFilter(KernelDensity(), keep="threshold", fraction=0.5, n_splits=100)
    with pytest.warns(UserWarning, match="All negative bags belong to one group") as caught:
        model.fit(bags, y, groups=groups)
    assert [warning.filename for warning in caught] == [__file__]
    assert model.threshold_ == pytest.approx(loo[int(np.ceil(0.5 * len(loo))) - 1])
    plain = OneClassInstanceFilter(KernelDensity())
    with pytest.warns(UserWarning, match="look more normal than those of a new patient"):
        plain.fit_transform(bags, y, groups=groups)
    plain.fit(bags, y, groups=groups)  # nothing is cross-fitted, and nothing warned of


def test_one_negative_instance():
    bags = [np.zeros((1, 2)), np.array([[0.0, 1.0], [5.0, 5.0]])]
    with pytest.warns(UserWarning, match="one group"):
        Xt = OneClassInstanceFilter(KernelDensity()).fit_transform(bags, [0, 1])
    np.testing.assert_array_equal(Xt[1], [[5.0, 5.0]])
    np.testing.assert_array_equal(Xt[0], [[0.0, 0.0]])


# -- randomness, jobs, weights ---------------------------------------------------------------


def test_max_samples(spied):
    X, y, _, normal = spied

    def seen(**params):
        Spy.calls.clear()
        model = OneClassInstanceFilter(Spy(), **params)
        model.fit_transform(X, y)
        return [model.estimator_.seen_.tolist(), *(sorted(call[0]) for call in Spy.calls)]

    drawn = seen(max_samples=10, random_state=0)
    assert all(len(rows) == len(set(rows)) == 10 for rows in drawn)
    assert all(normal[rows].all() for rows in drawn)
    assert drawn == seen(max_samples=10, random_state=0)
    assert drawn != seen(max_samples=10, random_state=1)
    assert len({tuple(rows) for rows in drawn[1:]}) == len(drawn) - 1  # each fold its own
    state = np.random.RandomState(0)
    assert drawn == seen(max_samples=10, random_state=state)
    assert drawn != seen(max_samples=10, random_state=state)
    everything = np.flatnonzero(normal).tolist()
    for enough in (len(everything), None, 10_000):
        assert seen(max_samples=enough)[0] == everything
    # The folds keep groups apart where they are drawn from as well.
    group = np.repeat(X.groups, X.sizes)
    for fitted, rows in Spy.calls[1:]:
        assert not set(group[list(fitted)]) & set(group[rows])


def test_random_state_decides_what_the_detector_leaves_open():
    bags, y = make_bags()

    def scores(detector, seed):
        model = OneClassInstanceFilter(detector, random_state=seed).fit(bags, y)
        return np.concatenate(model.score_instances(bags))

    forest = IsolationForest(n_estimators=3)
    np.testing.assert_array_equal(scores(forest, 0), scores(forest, 0))
    assert not np.array_equal(scores(forest, 0), scores(forest, 1))
    forest = IsolationForest(n_estimators=3, random_state=5)
    np.testing.assert_array_equal(scores(forest, 0), scores(forest, 1))
    piped = make_pipeline(StandardScaler(), IsolationForest(n_estimators=3))
    np.testing.assert_array_equal(scores(piped, 0), scores(piped, 0))
    assert not np.array_equal(scores(piped, 0), scores(piped, 1))


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
def test_the_global_state_is_left_alone(keep):
    bags, y = make_bags()
    state = check_random_state(None)
    before = state.get_state()
    OneClassInstanceFilter(keep=keep, max_samples=20, random_state=0).fit_transform(bags, y)
    after = state.get_state()
    assert np.array_equal(before[1], after[1]) and before[2:] == after[2:]


def test_n_jobs_changes_nothing():
    bags, y = make_bags()

    def fitted(n_jobs):
        model = OneClassInstanceFilter(
            IsolationForest(n_estimators=3),
            keep="threshold",
            fraction=0.3,
            max_samples=30,
            n_splits=3,
            n_jobs=n_jobs,
            random_state=0,
        )
        Xt = model.fit_transform(bags, y)
        return Xt.flat(), model.threshold_, np.concatenate(model.score_instances(bags))

    one, two = fitted(1), fitted(2)
    np.testing.assert_array_equal(one[0][0], two[0][0])
    np.testing.assert_array_equal(one[0][1], two[0][1])
    assert one[1] == two[1]
    np.testing.assert_array_equal(one[2], two[2])


def test_sample_weight():
    bags, y = make_bags()
    weight = np.random.default_rng(0).uniform(0.5, 3.0, 24)
    model = OneClassInstanceFilter(KernelDensity()).fit(bags, y, sample_weight=weight)
    of_instances = np.concatenate([np.full(len(b), w) for b, w in zip(bags, weight, strict=True)])
    normal = np.repeat(y == 0, [len(bag) for bag in bags])
    reference = KernelDensity().fit(
        np.concatenate(bags)[normal], sample_weight=of_instances[normal]
    )
    assert_lists_equal(model.score_instances(bags), by_score_samples(reference, bags))
    # Those of positive bags count nowhere.
    weight[1::2] = 0.0
    again = OneClassInstanceFilter(KernelDensity()).fit(bags, y, sample_weight=weight)
    assert_lists_equal(again.score_instances(bags), by_score_samples(reference, bags))


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
def test_weight_two_is_a_bag_twice_and_weight_zero_none(keep):
    bags, y = make_bags()
    times = np.tile([0, 1, 2, 1, 1, 1, 3, 1], 3)
    groups = np.arange(24)
    rows = np.repeat(np.arange(24), times)

    def fitted(X, y, **fit_params):
        # As many folds as groups, so that a repeated bag falls into the same folds.
        model = OneClassInstanceFilter(KernelDensity(), keep=keep, fraction=0.3, n_splits=100)
        Xt = model.fit_transform(X, y, **fit_params)
        return model, Xt

    one, kept = fitted(bags, y, sample_weight=times, groups=groups)
    two, again = fitted([bags[i] for i in rows], y[rows], groups=groups[rows])
    assert_lists_equal(one.score_instances(bags), two.score_instances(bags))
    if keep == "threshold":
        assert one.threshold_ == pytest.approx(two.threshold_)
    assert_lists_equal([kept[i] for i in rows], list(again))
    # A bag that teaches nothing is filtered all the same.
    assert len(kept) == 24


def test_a_left_out_bag_is_scored_by_what_saw_none_of_its_group(spied):
    X, y, group, _ = spied

    class Weighted(Spy):
        def fit(self, X, y=None, sample_weight=None):
            assert np.all(sample_weight > 0)
            return super().fit(X)

    weight = np.ones(30)
    weight[[0, 10, 12]] = 0.0
    OneClassInstanceFilter(Weighted()).fit_transform(X, y, sample_weight=weight)
    left_out = np.repeat(weight == 0, X.sizes)
    scored = np.concatenate([rows for _, rows in Spy.calls])
    assert sorted(scored) == list(range(X.n_instances))
    for seen, rows in Spy.calls:
        assert not left_out[list(seen)].any()
        assert not set(group[list(seen)]) & set(group[rows][np.isin(group[rows], [0, 5])])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "detector",
    [
        make_pipeline(StandardScaler(), OneClassSVM(gamma=0.3, tol=1e-9)),
        make_pipeline(FunctionTransformer(), make_pipeline(StandardScaler(), KernelDensity())),
    ],
)
def test_weights_reach_every_step_that_takes_them(detector, routing):
    bags, y = make_bags()
    times = np.tile([1, 1, 2, 1, 3, 1], 4)
    rows = np.repeat(np.arange(24), times)
    with sklearn.config_context(enable_metadata_routing=routing):
        one = OneClassInstanceFilter(detector).fit(bags, y, sample_weight=times)
    two = OneClassInstanceFilter(detector).fit([bags[i] for i in rows], y[rows])
    assert_lists_equal(one.score_instances(bags), two.score_instances(bags), rtol=1e-3)


@pytest.mark.parametrize(
    "detector",
    [
        LocalOutlierFactor(novelty=True),
        make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)),
    ],
)
def test_weights_that_the_detector_cannot_take(detector):
    bags, y = make_bags()
    message = "LocalOutlierFactor.fit takes no sample_weight, so that bags cannot be weighted"
    with pytest.raises(ValueError, match=message):
        OneClassInstanceFilter(detector).fit(bags, y, sample_weight=np.ones(24))


def test_weights_that_leave_no_negative_bag():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="No bag of class 0 has a positive weight"):
        OneClassInstanceFilter().fit(bags, y, sample_weight=y)
    labels = np.where(y == 0, "no", "yes")
    with pytest.raises(ValueError, match="No bag of class 'no' has a positive weight"):
        OneClassInstanceFilter().fit(bags, labels, sample_weight=y)
    with pytest.raises(ValueError, match="sample_weight has 3 entries, but X has 24 bags"):
        OneClassInstanceFilter().fit(bags, y, sample_weight=[1, 2, 3])


# -- with scikit-learn's tools ---------------------------------------------------------------


def test_in_cross_validation_only_the_training_fold_is_seen(spied):
    X, y, group, normal = spied
    model = make_pipeline(OneClassInstanceFilter(Spy()), BagStatistics(), LogisticRegression())
    result = cross_validate(
        model, X, y, cv=GroupedSplit(GroupKFold(3)), return_estimator=True, return_indices=True
    )
    bag = np.repeat(np.arange(30), X.sizes)
    for fitted, train, test in zip(
        result["estimator"], result["indices"]["train"], result["indices"]["test"], strict=True
    ):
        assert not set(X.groups[train]) & set(X.groups[test])
        expected = np.flatnonzero(normal & np.isin(bag, train))
        assert sorted(fitted[0].estimator_.seen_) == expected.tolist()
    # While training, no bag was scored by a detector that saw its group and that group's
    # negative bags; while predicting, the whole fold's detector scores.
    for seen, rows in Spy.calls:
        shared = set(group[list(seen)]) & set(group[rows])
        assert not shared


def test_grid_search_over_the_fraction():
    # One instance of twenty is moved: the mean of a few outlying ones shows it better.
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    bags = [rng.normal(size=(20, 2)) for _ in y]
    for bag in bags[1::2]:
        bag[0, 0] += 5.0
    model = make_pipeline(
        OneClassInstanceFilter(), BagStatistics(["mean"]), LogisticRegression(C=100)
    )
    name = "oneclassinstancefilter__fraction"
    search = GridSearchCV(model, {name: [0.05, 0.5, 1.0]}, cv=4).fit(bags, y)
    assert search.best_params_ == {name: 0.05}
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] > scores[2] + 0.1
    # A share of 1 is no filter at all.
    plain = GridSearchCV(model[1:], {}, cv=4).fit(bags, y)
    assert scores[2] == plain.best_score_


@pytest.mark.parametrize("nested", [False, True])
def test_instance_outputs_through_a_pipeline(nested):
    bags, y = make_bags()
    model = make_pipeline(OneClassInstanceFilter(fraction=0.5), MISVM())
    if nested:
        model = make_pipeline(InstanceTransformer(StandardScaler()), model)
    model.fit(bags, y)
    step, svm, seen = (
        (model[-1][0], model[-1][1], model[0].transform(bags))
        if nested
        else (
            model[0],
            model[1],
            bags,
        )
    )
    masks = step.support_mask(seen)
    expected = svm.score_instances(step.transform(seen))
    labels = svm.predict_instances(step.transform(seen))
    for scores, mask, own in zip(score_instances(model, bags), masks, expected, strict=True):
        assert np.isnan(scores[~mask]).all()
        np.testing.assert_allclose(scores[mask], own)
    assert sum((~mask).sum() for mask in masks) > 20
    for found, mask, own in zip(predict_instances(model, bags), masks, labels, strict=True):
        assert found[mask].tolist() == own.tolist()


def test_clone_and_pickle():
    bags, y = make_bags()
    model = OneClassInstanceFilter(
        IsolationForest(n_estimators=3), keep="threshold", fraction=0.2, random_state=0
    )
    copy = clone(model)
    assert copy.get_params()["estimator__n_estimators"] == 3
    assert not hasattr(copy, "estimator_")
    Xt = model.fit_transform(bags, y)
    np.testing.assert_array_equal(copy.fit_transform(bags, y).flat()[0], Xt.flat()[0])
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.threshold_ == model.threshold_
    for a, b in zip(loaded.transform(bags), model.transform(bags), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not hasattr(model.estimator, "estimators_")


def test_the_caller_s_bags_are_not_changed():
    bags, y = make_bags()
    before = [bag.copy() for bag in bags]
    X = BagArray.from_list(bags)
    piped = make_pipeline(StandardScaler(copy=False), KernelDensity())
    for keep in ("outliers", "threshold"):
        model = OneClassInstanceFilter(piped, keep=keep)
        model.fit_transform(X, y)
        model.transform(X)
        model.score_instances(X)
        model.fit(bags, y).transform(bags)
    assert X.instances.flags.writeable
    for view in (X, bags):
        assert all(np.array_equal(a, b) for a, b in zip(view, before, strict=True))


def test_verbose(capsys):
    bags, y = make_bags()
    OneClassInstanceFilter(KernelDensity(), n_splits=3).fit_transform(bags, y)
    assert capsys.readouterr().err == ""
    quiet = OneClassInstanceFilter(KernelDensity(), n_splits=3, verbose=1)
    quiet.fit_transform(bags, y)
    assert "OneClassInstanceFilter, detectors" in capsys.readouterr().err


# -- what it refuses -------------------------------------------------------------------------


class TakesNaN(Constant):
    """Scores by the sum, in which NaN counts as 0."""

    def score_samples(self, X):
        return -np.nansum(X, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@pytest.mark.parametrize("keep", ["outliers", "threshold"])
def test_nan_is_taken_where_the_detector_takes_it(keep):
    bags, y = make_bags()
    bags[3][1, 0] = bags[2][0, 1] = np.nan
    model = OneClassInstanceFilter(TakesNaN(), keep=keep)
    model.fit_transform(bags, y)
    assert np.isfinite(np.concatenate(model.score_instances(bags))).all()
    # fraction=1 shows that it passes on what it was given.
    Xt = OneClassInstanceFilter(TakesNaN(), fraction=1.0).fit_transform(bags, y)
    np.testing.assert_array_equal(Xt.flat()[0], np.concatenate(bags))
    for detector in (None, KernelDensity(), make_pipeline(PCA(1), TakesNaN())):
        with pytest.raises(ValueError, match="Bag 2 has NaN in instance 0"):
            OneClassInstanceFilter(detector, keep=keep).fit(bags, y)
    # The way out that the message names.
    imputed = make_pipeline(InstanceTransformer(SimpleImputer()), OneClassInstanceFilter(keep=keep))
    assert np.isfinite(imputed.fit_transform(bags, y).flat()[0]).all()


class GivesNaN(Constant):
    """Has no number for what is far away."""

    def score_samples(self, X):
        return np.where(np.abs(X).max(axis=1) > 50, np.nan, -np.abs(X[:, 0]))


def test_a_detector_that_gives_nan():
    bags, y = make_bags()
    model = OneClassInstanceFilter(GivesNaN()).fit(bags, y)
    names = [f"p{i}" for i in range(24)]
    bags[4][1] = 99.0
    for method in (model.transform, model.support_mask, model.score_instances):
        with pytest.raises(ValueError, match=r"GivesNaN gave NaN for an instance of Bag 4;"):
            method(bags)
        with pytest.raises(ValueError, match=r"an instance of Bag 4 \('p4'\)"):
            method(BagArray.from_list(bags, names=names))
    for keep in ("outliers", "threshold"):
        with pytest.raises(ValueError, match="gave NaN for an instance of Bag 4;"):
            OneClassInstanceFilter(GivesNaN(), keep=keep).fit_transform(bags, y)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"negative_class": 5}, None, r"no negative bag: negative_class=5 is none .* \[0, 1\]"),
        ({"negative_class": "no"}, None, "negative_class='no' is none of the labels"),
        ({}, np.ones(24, int), r"y has only one class, 1; .* negative_class=1"),
        ({}, np.full(24, "a"), "only one class, 'a'"),
        ({"fraction": 0.0}, None, "The 'fraction' parameter"),
        ({"fraction": 1.1}, None, "The 'fraction' parameter"),
        ({"min_instances": 0}, None, "The 'min_instances' parameter"),
        ({"max_samples": 0}, None, "The 'max_samples' parameter"),
        ({"n_splits": 1}, None, "The 'n_splits' parameter"),
        ({"keep": "inliers"}, None, "The 'keep' parameter"),
        ({"estimator": "svm"}, None, "The 'estimator' parameter"),
        ({"estimator": LocalOutlierFactor()}, None, "Use novelty=True"),
    ],
)
def test_wrong_parameters(params, y, message):
    bags, labels = make_bags()
    with pytest.raises(ValueError, match=message):
        OneClassInstanceFilter(**params).fit(bags, labels if y is None else y)


@pytest.mark.parametrize("estimator", [StandardScaler(), GaussianNB()])
def test_what_is_no_detector(estimator):
    with pytest.raises(TypeError, match=f"Got {type(estimator).__name__}, which"):
        OneClassInstanceFilter(estimator).fit(*make_bags())


def test_bags_that_do_not_fit():
    bags, y = make_bags()
    with pytest.raises(BagShapeError, match=r"works on vectors, .* shape \(1, 2\)"):
        OneClassInstanceFilter().fit([bag[:, None] for bag in bags], y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        OneClassInstanceFilter().fit(bags, None)
    with pytest.raises(ValueError, match="groups has 3 entries, but X has 24 bags"):
        OneClassInstanceFilter().fit(bags, y, groups=[1, 2, 3])
    model = OneClassInstanceFilter().fit(bags, y)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.transform([np.ones((2, 3))])
    with pytest.raises(BagShapeError, match=r"Pass \[bag\]"):
        model.transform(bags[0])
