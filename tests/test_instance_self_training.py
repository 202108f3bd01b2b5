"""SelfTrainingMILClassifier: every round played again with scikit-learn alone."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.special import expit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from milkit import (
    AttentionMILClassifier,
    BagArray,
    InstanceTransformer,
    SelfTrainingMILClassifier,
)
from milkit.exceptions import BagShapeError

N_WITNESSES = 2


def make_bags(n_bags=20, seed=0, n_features=2, max_size=9, shift=4.0):
    """Every other bag positive; its first two instances carry the label."""
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(n, n_features)) for n in rng.integers(3, max_size + 1, n_bags)]
    for bag in bags[1::2]:
        bag[:N_WITNESSES] += shift
    return bags, np.arange(n_bags) % 2


def make_seeds(n=10, seed=5, n_features=2, shift=4.0):
    rng = np.random.default_rng(seed)
    seed_y = np.arange(n) % 2
    return rng.normal(size=(n, n_features)) + shift * seed_y[:, None], seed_y


def scaled_regression():
    return make_pipeline(StandardScaler(), LogisticRegression())


def confidence_of(model, instances):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(instances)[:, 1]
    return expit(model.decision_function(instances))


def replay(fitted, bags, y, seed_X, seed_y, *, classifier, weight=None):
    """Each round again: only which negative instances were drawn is taken from the history.

    Returns why it ended.
    """
    classes, history = fitted.classes_, fitted.history_
    positive = np.asarray(y) == classes[1]
    sizes = [len(bag) for bag in bags]
    weight = np.ones(len(bags)) if weight is None else np.asarray(weight, dtype=float)
    flat, starts = np.concatenate(bags), np.cumsum([0, *sizes])
    bag_of = np.repeat(np.arange(len(bags)), sizes)
    rows = starts[history["bag"]] + history["instance"]
    assert (history["instance"] < np.array(sizes)[history["bag"]]).all()
    assert len(set(rows)) == len(rows)  # nothing is moved twice
    left = [row for row in range(len(flat)) if positive[bag_of[row]] and weight[bag_of[row]] > 0]
    others = [
        row for row in range(len(flat)) if not positive[bag_of[row]] and weight[bag_of[row]] > 0
    ]
    train_X, train_y, train_w = [seed_X], [np.asarray(seed_y)], [np.ones(len(seed_X))]

    def train(start):
        parts = [np.concatenate(part[start:]) for part in (train_X, train_y, train_w)]
        fit_params = {}
        if len(np.unique(weight)) > 1:
            steps = classifier.steps if hasattr(classifier, "steps") else [("", classifier)]
            fit_params = {f"{n}__sample_weight".lstrip("_"): parts[2] for n, _ in steps}
        return clone(classifier).fit(parts[0], parts[1], **fit_params)

    plan = [n for rounds, n in fitted.schedule_ for _ in range(rounds)]
    reason = "schedule done"
    for number, planned in enumerate(plan, start=1):
        if min(len(left), len(others)) == 0:
            reason = "too few"
            break
        sure = confidence_of(train(0), flat[left])
        wanted = min(planned, np.sum(sure > fitted.min_confidence), len(others))
        now = history["round"] == number
        if wanted == 0:
            assert not now.any()
            reason = "none confident"
            break
        is_positive = history["label"][now] == classes[1]
        moved, drawn = rows[now][is_positive], rows[now][~is_positive]
        assert len(moved) == len(drawn) == wanted
        # The most confident of those that were left, at the confidence that they had.
        best = np.argsort(-sure)[:wanted]
        assert sorted(moved) == sorted(np.array(left)[best])
        of_row = dict(zip(left, sure, strict=True))
        np.testing.assert_array_equal(
            history["confidence"][now][is_positive], [of_row[r] for r in moved]
        )
        assert np.isnan(history["confidence"][now][~is_positive]).all()
        assert set(drawn) <= set(others)
        short = min(len(left), len(others)) < planned
        left = [row for row in left if row not in moved]
        others = [row for row in others if row not in drawn]
        if left:
            assert history["confidence"][now][is_positive].min() >= max(of_row[r] for r in left)
        both = np.append(moved, drawn)
        train_X.append(flat[both])
        train_y.append(np.repeat(classes[::-1], wanted))
        train_w.append(weight[bag_of[both]])
        if short:
            reason = "too few"
            break
    assert fitted.n_iter_ == history["round"].max() == len(train_X) - 1
    assert len(rows) == sum(map(len, train_X[1:]))
    # The last one learns from what was moved, without the seeds.
    last = train(1)
    for bag, evidence in zip(bags, fitted.score_instances(bags), strict=True):
        expected = (
            last.predict_proba(bag)[:, 1]
            if hasattr(last, "predict_proba")
            else (last.decision_function(bag))
        )
        np.testing.assert_array_equal(evidence, expected)
    return reason


# -- the rounds ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("schedule", "min_confidence", "reason"),
    [
        ([(2, 3), (1, 1), (3, 2)], 0.5, "schedule done"),
        ([(30, 2)], 0.9, "none confident"),
        ([(10, 200)], 0.0, "too few"),
        ("auto", 0.5, None),
        ("auto", 0.8, None),
    ],
)
@pytest.mark.parametrize("make", [scaled_regression, lambda: LinearSVC(tol=1e-9, random_state=0)])
def test_every_round_again(make, schedule, min_confidence, reason, seed):
    (bags, y), (seed_X, seed_y) = make_bags(seed=seed), make_seeds(seed=seed + 50)
    model = SelfTrainingMILClassifier(
        make(),
        schedule=schedule,
        min_confidence=min_confidence if hasattr(make(), "predict_proba") else min_confidence * 0.7,
        voting="majority",
        random_state=seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    ended = replay(model, bags, y, seed_X, seed_y, classifier=make())
    if reason is not None:
        assert ended == reason
    assert [w.category for w in caught] == [UserWarning] * (
        ended != "schedule done" and schedule != "auto"
    )
    text = {"none confident": f"no others reached min_confidence={model.min_confidence}"}
    assert all(text.get(ended, "too few instances left") in str(w.message) for w in caught)


def replay_without_seeds(fitted, bags, y, *, classifier, detector, start_negatives):
    """Each round again, from the start on; of the draws what was moved is in the history.

    Returns the numbers of rounds in which an instance of the start was moved.
    """
    history, y = fitted.history_, np.asarray(y)
    sizes = [len(bag) for bag in bags]
    flat, starts = np.concatenate(bags), np.cumsum([0, *sizes])
    of_row = np.repeat(y, sizes)
    detector = clone(detector).fit(flat[of_row == 0])
    start_positives = [
        start + detector.score_samples(bag).argmin()
        for start, bag, label in zip(starts, bags, y, strict=False)
        if label == 1
    ]
    begin = np.append(start_positives, start_negatives)
    rows = starts[history["bag"]] + history["instance"]
    left, moved, of_start = np.flatnonzero(of_row == 1), np.arange(0), []
    for number in range(1, fitted.n_iter_ + 1):
        now = history["round"] == number
        train = np.append(begin[~np.isin(begin, moved)], moved)
        model = clone(classifier).fit(flat[train], of_row[train])
        sure = confidence_of(model, flat[left])
        chosen = rows[now & (history["label"] == 1)]
        np.testing.assert_allclose(
            history["confidence"][now & (history["label"] == 1)],
            sure[np.searchsorted(left, chosen)],
            rtol=1e-6,
        )
        rest = ~np.isin(left, chosen)
        assert sure[rest].max() <= sure[~rest].min() + 1e-9
        assert (sure[~rest] > fitted.min_confidence).all()
        if np.isin(chosen, begin).any():
            of_start.append(number)
        left, moved = left[rest], np.append(moved, rows[now])
    last = clone(classifier).fit(flat[moved], of_row[moved])
    np.testing.assert_allclose(
        np.concatenate(fitted.score_instances(bags)), confidence_of(last, flat), rtol=1e-6
    )
    return of_start


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "make",
    [
        lambda: LogisticRegression(tol=1e-10, max_iter=1000),
        lambda: RandomForestClassifier(5, random_state=0),
        lambda: GaussianNB(),
    ],
)
def test_every_round_again_without_seeds(make, seed):
    bags, y = make_bags(shift=2.0, seed=seed)
    Recorder.log.clear()
    params = {
        "detector": KernelDensity(),
        "schedule": [(3, 2), (2, 3)],
        "min_confidence": 0.2,
        "voting": "majority",
        "random_state": seed,
    }
    # The same draws give the same start: what it is for one classifier it is for all.
    SelfTrainingMILClassifier(Recorder(), **params).fit(bags, y)
    first_X, first_y, _ = Recorder.log[0]
    flat = np.concatenate(bags)
    start_negatives = [np.flatnonzero((flat == row).all(1))[0] for row in first_X[first_y == 0]]
    model = SelfTrainingMILClassifier(make(), **params).fit(bags, y)
    of_start = replay_without_seeds(
        model,
        bags,
        y,
        classifier=make(),
        detector=KernelDensity(),
        start_negatives=start_negatives,
    )
    assert of_start


def test_labels_of_any_kind():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    names = np.array(["sick", "at ease"])[1 - y], np.array(["sick", "at ease"])[1 - seed_y]
    model = SelfTrainingMILClassifier(scaled_regression(), schedule=[(3, 3)], random_state=0)
    model.fit(bags, names[0], seed_X=seed_X, seed_y=names[1].tolist())
    assert set(model.history_["label"]) == {"sick", "at ease"}
    replay(model, bags, names[0], seed_X, names[1], classifier=scaled_regression())
    assert set(model.predict(bags)) <= {"sick", "at ease"}
    plain = SelfTrainingMILClassifier(scaled_regression(), schedule=[(3, 3)], random_state=0)
    plain.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    np.testing.assert_array_equal(plain.history_["bag"], model.history_["bag"])
    np.testing.assert_array_equal(plain.predict(bags) == 1, model.predict(bags) == "sick")


def test_history():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    model = SelfTrainingMILClassifier(
        scaled_regression(), schedule=[(2, 1), (3, 4)], random_state=0
    ).fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    history = model.history_
    assert list(history) == ["round", "bag", "instance", "label", "confidence"]
    assert {len(column) for column in history.values()} == {2 * (2 * 1 + 3 * 4)}
    assert np.bincount(history["round"]).tolist() == [0, 2, 2, 8, 8, 8]
    np.testing.assert_array_equal(y[history["bag"]], history["label"])
    positive = history["label"] == 1
    assert (history["confidence"][positive] > 0.5).all()
    assert np.isnan(history["confidence"][~positive]).all()
    pd.DataFrame(history)  # is a table
    assert model.schedule_ == [(2, 1), (3, 4)]
    assert model.n_iter_ == 5


@pytest.mark.parametrize("seed", range(3))
def test_seeds_that_know_find_the_witnesses(seed):
    (bags, y), (seed_X, seed_y) = make_bags(40, seed=seed, shift=6.0), make_seeds(40, shift=6.0)
    model = SelfTrainingMILClassifier(schedule=[(8, 5)], random_state=0)
    model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    positive = model.history_["label"] == 1
    assert positive.sum() == 20 * N_WITNESSES
    assert (model.history_["instance"][positive] < N_WITNESSES).all()
    found = [(labels == 1).tolist() for labels in model.predict_instances(bags)]
    expected = [
        [bool(k) and i < N_WITNESSES for i in range(len(b))] for b, k in zip(bags, y, strict=True)
    ]
    assert found == expected
    new, labels = make_bags(40, seed=seed + 9, shift=6.0)
    assert model.set_params(voting="max").score(new, labels) > 0.9


def test_seeds_that_know_the_opposite_are_believed():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    model = SelfTrainingMILClassifier(schedule=[(4, 2)], random_state=0)
    model.fit(bags, y, seed_X=seed_X, seed_y=1 - seed_y)
    positive = model.history_["label"] == 1
    assert (model.history_["instance"][positive] >= N_WITNESSES).all()


class Recorder(GaussianNB):
    """Notes every training set; the log is the class's, because each round has a clone."""

    log = []

    def fit(self, X, y, sample_weight=None):
        Recorder.log.append((np.array(X), np.array(y), sample_weight))
        return super().fit(X, y, sample_weight)


@pytest.fixture
def recorder():
    Recorder.log.clear()
    return Recorder()


def most_outlying(detector, rows, bags, y, bag):
    """The instance of a bag that a detector fitted on those negative bags finds most outlying."""
    fitted = clone(detector).fit(np.concatenate([bags[i] for i in rows if y[i] == 0]))
    if hasattr(fitted, "kneighbors"):
        return bag[fitted.kneighbors(bag)[0][:, -1].argmax()]
    return bag[fitted.score_samples(bag).argmin()]


@pytest.mark.parametrize("detector", [KernelDensity(), NearestNeighbors(n_neighbors=3)])
def test_without_seeds_it_starts_from_the_most_outlying(recorder, detector):
    bags, y = make_bags()
    SelfTrainingMILClassifier(recorder, detector=detector, schedule=[(3, 2)], random_state=0).fit(
        bags, y
    )
    normal = np.concatenate(bags[::2])
    top = np.array([most_outlying(detector, range(20), bags, y, bag) for bag in bags[1::2]])
    first_X, first_y, _ = Recorder.log[0]
    np.testing.assert_array_equal(first_X[first_y == 1], top)
    start = first_X[first_y == 0]
    assert len(start) == len(top)
    known = {tuple(row) for row in normal}
    assert len({tuple(row) for row in start}) == len(start)
    assert all(tuple(row) in known for row in start)
    # One fit in each of three rounds, then one on what was moved.
    assert len(Recorder.log) == 4
    last_X, last_y, _ = Recorder.log[-1]
    assert np.bincount(last_y).tolist() == [6, 6]
    moved = [tuple(row) for row in last_X]
    for number in range(3):
        X, labels, _ = Recorder.log[number]
        # The start is in every round, but for what was moved since: nothing is in it twice.
        assert {tuple(row) for row in X} == {tuple(row) for row in first_X} | set(
            moved[: 4 * number]
        )
        assert len(X) == len({tuple(row) for row in X})
        assert {int(label) for label in labels} == {0, 1}


def test_fewer_negatives_than_positive_bags(recorder):
    bags, _ = make_bags(12)
    few = [bag[:1] for bag in bags[:4:2]] + bags[1::2]
    model = SelfTrainingMILClassifier(recorder, schedule=[(1, 2)], random_state=0)
    model.fit(few, [0, 0] + [1] * 6)
    assert np.bincount(Recorder.log[0][1]).tolist() == [2, 6]
    assert sorted(model.history_["bag"][model.history_["label"] == 0]) == [0, 1]


def test_witnesses_are_found_without_seeds():
    bags, y = make_bags(60, shift=5.0)
    model = SelfTrainingMILClassifier(random_state=0).fit(bags, y)
    positive = model.history_["label"] == 1
    assert (model.history_["instance"][positive] < N_WITNESSES).mean() > 0.95


# -- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_positive", "expected"),
    [
        (2, [(5, 1), (18, 1)]),
        (20, [(5, 1), (18, 1)]),
        (21, [(5, 1), (18, 2)]),
        (50, [(5, 1), (18, 3)]),
        (51, [(5, 2), (18, 3)]),
        (100, [(5, 2), (18, 5)]),  # the original
        (113, [(5, 3), (18, 6)]),
    ],
)
def test_auto_schedule(n_positive, expected):
    rng = np.random.default_rng(0)
    y = np.append(np.ones(n_positive, int), np.zeros(30, int))
    bags = [rng.normal(size=(3, 2)) + 2 * label for label in y]
    model = SelfTrainingMILClassifier(GaussianNB(), random_state=0).fit(bags, y)
    assert model.schedule_ == expected
    # Bags of weight 0 do not count.
    weight = np.ones(len(y))
    weight[1:n_positive] = 0
    model.fit(bags, y, sample_weight=weight)
    assert model.schedule_ == [(5, 1), (18, 1)]


def counted_bags(n_positive, n_negative):
    """Four bags with so many instances in all."""
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(n // 2, 2)) + 4 * k for n in (n_positive,) for k in (1, 1)]
    bags += [rng.normal(size=(n_negative // 2, 2)) for _ in range(2)]
    return bags, [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("schedule", "moved", "warning"),
    [
        (
            [(4, 5)],
            [5, 5, 2],
            "20 positive .*; 12 of each were moved in 3 rounds: then there were too few instances "
            "left, 8 in positive bags and 0 in negative ones",
        ),
        ([(4, 3)], [3, 3, 3, 3], None),
        (
            [(5, 3)],
            [3, 3, 3, 3],
            "15 positive .*; 12 of each were moved in 4 rounds.* 8 in pos.* 0 in n",
        ),
        ([(1, 100)], [12], "100 positive .*; 12 of each were moved in 1 rounds"),
        ([(3, 4)], [4, 4, 4], None),
        (np.array([[3, 5]]), [5, 5, 2], "15 positive .*; 12 of each were moved in 3 rounds"),
        ("auto", [1] * 12, None),
    ],
)
def test_more_asked_for_than_there_is(schedule, moved, warning):
    bags, y = counted_bags(20, 12)
    model = SelfTrainingMILClassifier(
        GaussianNB(), schedule=schedule, min_confidence=0.0, random_state=0
    )
    seeds = {"seed_X": [[0.0, 0.0], [4.0, 4.0], [1.0, -1.0], [5.0, 3.0]], "seed_y": [0, 1, 0, 1]}
    if warning:
        with pytest.warns(UserWarning, match=warning) as caught:
            model.fit(bags, y, **seeds)
        assert [w.filename for w in caught] == [__file__]
    else:
        model.fit(bags, y, **seeds)
    assert (np.bincount(model.history_["round"])[1:] // 2).tolist() == moved


def test_positives_run_out_first():
    bags, y = counted_bags(6, 20)
    model = SelfTrainingMILClassifier(
        GaussianNB(), schedule=[(5, 2)], min_confidence=0.0, random_state=0
    )
    with pytest.warns(UserWarning, match=r"asks for 10 .* 6 of each .* 0 in p.* 14 in neg"):
        model.fit(bags, y)


def test_it_stops_where_nothing_is_confident():
    (bags, y), (seed_X, seed_y) = make_bags(shift=8.0), make_seeds(shift=8.0)
    model = SelfTrainingMILClassifier(
        LogisticRegression(C=10), schedule=[(100, 1)], min_confidence=0.95, random_state=0
    )
    message = r"asks for 100 .* rounds: no others reached min_confidence=0\.95\.$"
    with pytest.warns(UserWarning, match=message):
        model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    assert model.n_iter_ < 100
    assert 10 <= (model.history_["label"] == 1).sum() <= 10 * N_WITNESSES
    assert (model.history_["confidence"][model.history_["label"] == 1] > 0.95).all()


def test_nothing_is_ever_confident():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    model = SelfTrainingMILClassifier(LogisticRegression(C=1e-6), min_confidence=0.9)
    with pytest.raises(
        ValueError, match=r"No instance of a positive bag reached min_confidence=0\.9"
    ):
        model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)


# -- weights, groups, randomness -------------------------------------------------------------


def test_sample_weight():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    weight = np.random.default_rng(0).uniform(0.1, 5.0, 20)
    weight[[0, 1, 6, 9]] = 0.0
    model = SelfTrainingMILClassifier(
        scaled_regression(), schedule=[(4, 3)], voting="mean", random_state=0
    ).fit(bags, y, sample_weight=weight, seed_X=seed_X, seed_y=seed_y)
    assert not set(model.history_["bag"]) & {0, 1, 6, 9}
    replay(model, bags, y, seed_X, seed_y, classifier=scaled_regression(), weight=weight)


@pytest.mark.parametrize("detector", [KernelDensity(), NearestNeighbors(n_neighbors=2)])
def test_bags_of_weight_zero_give_no_instance(recorder, detector):
    bags, y = make_bags()
    weight = np.ones(20)
    weight[[2, 3, 7, 8]] = 0.0
    for i in (3, 7):
        bags[i] = bags[i] + 1000.0
    for i in (2, 8):  # a detector that saw these would find every witness normal
        bags[i] = np.concatenate([np.asarray(bag[:N_WITNESSES]) for bag in bags[1::2]])
    model = SelfTrainingMILClassifier(recorder, detector=detector, random_state=0)
    model.fit(bags, y, sample_weight=weight)
    assert len(Recorder.log) > 2
    assert max(np.abs(X).max() for X, _, _ in Recorder.log) < 100
    assert not set(model.history_["bag"]) & {2, 3, 7, 8}
    # The detector did not see them either: the start is that of the rest alone.
    first_X, first_y, _ = Recorder.log[0]
    rest = np.flatnonzero(weight)
    kept = [bags[i] for i in rest if y[i] == 1]
    np.testing.assert_array_equal(
        first_X[first_y == 1], [most_outlying(detector, rest, bags, y, b) for b in kept]
    )
    alone = SelfTrainingMILClassifier(GaussianNB(), detector=detector, random_state=0)
    alone.fit([bags[i] for i in rest], y[rest])
    np.testing.assert_array_equal(rest[alone.history_["bag"]], model.history_["bag"])
    np.testing.assert_array_equal(alone.history_["instance"], model.history_["instance"])


def test_weights_that_leave_one_class():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="One class is left: all positive bags have weight 0"):
        SelfTrainingMILClassifier().fit(bags, y, sample_weight=1 - y)
    with pytest.raises(ValueError, match="One class is left: all negative bags have weight 0"):
        SelfTrainingMILClassifier().fit(bags, y, sample_weight=y)


def test_weights_that_the_classifier_cannot_take():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    model = SelfTrainingMILClassifier(KNeighborsClassifier(3), random_state=0)
    model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
        model.fit(bags, y, sample_weight=np.ones(20), seed_X=seed_X, seed_y=seed_y)


@pytest.mark.parametrize("source", ["bags", "argument", "inside X"])
def test_folds_inside_divide_no_group(source):
    bags, y = make_bags(40, shift=6.0)
    groups = np.arange(40) // 4
    X = BagArray.from_list(bags, groups=groups) if source == "inside X" else bags
    fit_params = {"groups": groups} if source == "argument" else {}
    model = SelfTrainingMILClassifier(
        CalibratedClassifierCV(GaussianNB(), cv=4), schedule=[(4, 5)], random_state=0
    ).fit(X, y, **fit_params)
    own = np.arange(40) if source == "bags" else groups
    moved = own[model.history_["bag"]]
    assert len(model.estimator_.cv) == 4
    for train, test in model.estimator_.cv:
        assert len(train) + len(test) == len(moved)
        assert not set(moved[train]) & set(moved[test])


class GroupRecorder(GaussianNB):
    """Notes the groups of every training set."""

    log = []

    def fit(self, X, y, groups=None):
        GroupRecorder.log.append(groups)
        return super().fit(X, y)


def test_each_seed_is_a_group_of_its_own():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    groups = np.array([f"patient {i // 4}" for i in range(20)])
    GroupRecorder.log.clear()
    model = SelfTrainingMILClassifier(GroupRecorder(), schedule=[(2, 3)], random_state=0)
    model.fit(bags, y, groups=groups, seed_X=seed_X, seed_y=seed_y)
    *rounds, last = GroupRecorder.log
    assert [len(own) for own in rounds] == [10, 16]
    for own in rounds:
        assert len(set(own[:10])) == 10
        assert not set(own[:10]) & set(own[10:])
        assert not set(own[:10]) & set(last)
    moved = groups[model.history_["bag"]]
    assert len(set(zip(last, moved, strict=True))) == len(set(last)) == len(set(moved))


@pytest.mark.parametrize("with_seeds", [False, True])
@pytest.mark.parametrize(
    "estimator", [RandomForestClassifier(5), DecisionTreeClassifier(max_depth=1)]
)
def test_random_state_decides_everything(estimator, with_seeds):
    (bags, y), (seed_X, seed_y) = make_bags(shift=1.5), make_seeds(shift=1.5)
    seeds = {"seed_X": seed_X, "seed_y": seed_y} if with_seeds else {}

    def fitted(seed):
        model = SelfTrainingMILClassifier(
            estimator,
            schedule=[(3, 2)],
            detector=IsolationForest(n_estimators=1, max_samples=5),
            random_state=seed,
        )
        return model.fit(bags, y, **seeds)

    one, two, other = fitted(0), fitted(0), fitted(1)
    for key in ("round", "bag", "instance", "confidence"):
        np.testing.assert_array_equal(one.history_[key], two.history_[key])
    np.testing.assert_array_equal(one.predict_proba(bags), two.predict_proba(bags))
    assert not np.array_equal(one.history_["instance"], other.history_["instance"])
    assert one.estimator_.random_state == two.estimator_.random_state
    assert one.estimator_.random_state != other.estimator_.random_state
    state = np.random.RandomState(0)
    np.testing.assert_array_equal(fitted(state).history_["bag"], one.history_["bag"])
    # What a state has given is given.
    assert not np.array_equal(fitted(state).history_["instance"], one.history_["instance"])


def test_ties_are_broken_at_random():
    # A stump gives two confidences in all.
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    chosen = set()
    for seed in range(6):
        model = SelfTrainingMILClassifier(
            DecisionTreeClassifier(max_depth=1), schedule=[(1, 2)], random_state=seed
        ).fit(bags, y, seed_X=seed_X, seed_y=seed_y)
        chosen |= set(model.history_["bag"][model.history_["label"] == 1])
    assert len(chosen) > 5


# -- seeds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed_X", "seed_y", "error", "message"),
    [
        (np.zeros((4, 3)), [0, 1, 0, 1], BagShapeError, r"shape \(3,\), and .* \(2,\)"),
        (np.zeros((4, 2, 2)), [0, 1, 0, 1], BagShapeError, r"seed_X have shape \(2, 2\)"),
        (np.zeros(4), [0, 1, 0, 1], ValueError, "seed_X must be one array of inst.* Got a ndarray"),
        ([np.zeros((2, 2))] * 4, [0, 1] * 2, ValueError, "must be one array of .* Got a list"),
        (
            BagArray.from_list([np.zeros((2, 2))] * 4),
            [0, 1] * 2,
            ValueError,
            "must be one array of instances, .* and no bags. Got a BagArray",
        ),
        (
            np.zeros((4, 2)),
            [0, 1, 0, 2],
            ValueError,
            r"both classes, \[0, 1\], and no oth.* Got \[0, 1, 2\]",
        ),
        (np.zeros((4, 2)), ["a", "b", "a", "b"], ValueError, r"Got \['a', 'b'\]"),
        (np.zeros((2, 2)), np.array([0, "b"], object), ValueError, r"Got \[0, 'b'\]"),
        (np.zeros((4, 2)), [1, 1, 1, 1], ValueError, r"labels of both classes.* Got \[1\]"),
        (np.zeros((4, 2)), [0, 1, 0], ValueError, "seed_y has 3 labels, but seed_X has 4 inst"),
        (np.zeros((4, 2)), None, ValueError, "belong together; seed_y is missing"),
        (None, [0, 1], ValueError, "belong together; seed_X is missing"),
        (np.full((2, 2), np.nan), [0, 1], ValueError, "Input seed_X contains NaN"),
        (np.full((2, 2), np.inf), [0, 1], ValueError, "Input seed_X contains infinity"),
    ],
)
def test_wrong_seeds(seed_X, seed_y, error, message):
    bags, y = make_bags()
    with pytest.raises(error, match=message):
        SelfTrainingMILClassifier().fit(bags, y, seed_X=seed_X, seed_y=seed_y)


def test_seeds_in_a_frame():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    X = BagArray.from_list(bags, feature_names=["u", "v"])
    frame = pd.DataFrame(seed_X, columns=["u", "v"])
    model = SelfTrainingMILClassifier(scaled_regression(), random_state=0)
    expected = clone(model).fit(bags, y, seed_X=seed_X, seed_y=seed_y).predict_proba(bags)
    for given in (frame, seed_X, seed_X.tolist()):
        got = clone(model).fit(X, y, seed_X=given, seed_y=pd.Series(seed_y, index=range(5, 15)))
        np.testing.assert_array_equal(got.predict_proba(X), expected)
    for wrong in (frame[["v", "u"]], frame.rename(columns={"u": "w"}), frame.assign(w=1.0)):
        with pytest.raises(ValueError, match="feature names"):
            model.fit(X, y, seed_X=wrong, seed_y=seed_y)


def test_missing_values_pass_where_the_classifier_takes_them():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    bags[3][2, 0] = seed_X[1, 1] = np.nan
    model = SelfTrainingMILClassifier(DecisionTreeClassifier(random_state=0), random_state=0)
    model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    assert np.isfinite(model.decision_function(bags)).all()
    # The detector of the start does not take them.
    with pytest.raises(ValueError, match="Bag 3 has NaN in instance 2"):
        model.fit(bags, y)
    model.set_params(estimator=GaussianNB())
    with pytest.raises(ValueError, match="Bag 3 has NaN in instance 2"):
        model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    bags[3][2, 0] = 0.0
    with pytest.raises(ValueError, match="Input seed_X contains NaN"):
        model.fit(bags, y, seed_X=seed_X, seed_y=seed_y)


def test_the_caller_s_bags_are_not_changed():
    (bags, y), (seed_X, seed_y) = make_bags(), make_seeds()
    X, before = BagArray.from_list(bags), seed_X.copy()
    piped = make_pipeline(StandardScaler(copy=False), GaussianNB())
    model = SelfTrainingMILClassifier(piped, random_state=0)
    model.fit(X, y)
    model.fit(X, y, seed_X=seed_X, seed_y=seed_y)
    model.predict(X)
    model.transform(X)
    np.testing.assert_array_equal(X.instances, np.concatenate(bags))
    np.testing.assert_array_equal(seed_X, before)


# -- images ----------------------------------------------------------------------------------


def image_bags():
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    bags = [rng.integers(0, 100, size=(5, 1, 4, 4)).astype(np.uint8) for _ in y]
    for bag in bags[1::2]:
        bag[:2] += 150
    seeds = rng.integers(0, 100, size=(20, 1, 4, 4)).astype(np.uint8)
    seeds[::2] += 150
    return bags, y, seeds, 1 - np.arange(20) % 2


def small_network():
    from torch import nn

    def encoder(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4), nn.Tanh())

    return AttentionMILClassifier(
        encoder=encoder,
        hidden_layer_sizes=(6,),
        max_iter=30,
        batch_size=40,
        learning_rate_init=0.02,
    )


@pytest.mark.parametrize("scale", [1, 255])
def test_images_with_seeds(scale):
    bags, y, seed_X, seed_y = image_bags()
    if scale != 1:
        bags, seed_X = [(bag / scale).astype(np.float32) for bag in bags], seed_X / scale
    model = SelfTrainingMILClassifier(
        small_network(), schedule=[(2, 5)], voting="max", random_state=0
    ).fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    assert model.instance_shape_ == (1, 4, 4)
    assert model.estimator_.instance_shape_ == (1, 4, 4)
    positive = model.history_["label"] == 1
    assert (model.history_["instance"][positive] < 2).all()
    assert model.score(bags, y) == 1.0
    assert [len(e) for e in model.score_instances(bags)] == [5] * 20


def test_images_without_seeds():
    bags, y, seed_X, seed_y = image_bags()
    with pytest.raises(BagShapeError, match=r"shape \(1, 4, 4\).* Pass seeds \(seed_X, seed_y\)"):
        SelfTrainingMILClassifier(small_network()).fit(bags, y)
    with pytest.raises(BagShapeError, match=r"shape \(1, 4, 4\), and .* takes vectors"):
        SelfTrainingMILClassifier().fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    with pytest.raises(BagShapeError, match=r"seed_X have shape \(4, 4\)"):
        SelfTrainingMILClassifier().fit(bags, y, seed_X=seed_X[:, 0], seed_y=seed_y)
    # Bytes and floats are not the same images.
    floats = [bag / 255 for bag in bags]
    for X, seeds in [(bags, seed_X / 255), (floats, seed_X), (bags, seed_X.astype(int))]:
        with pytest.raises(ValueError, match="Convert seed_X to the same type"):
            SelfTrainingMILClassifier(small_network()).fit(X, y, seed_X=seeds, seed_y=seed_y)


# -- bags ------------------------------------------------------------------------------------


def test_bags_are_voted_on():
    bags, y = make_bags()
    model = SelfTrainingMILClassifier(scaled_regression(), random_state=0).fit(bags, y)
    p = [model.estimator_.predict_proba(bag)[:, 1] for bag in bags]
    expected = {
        "mean": [q.mean() for q in p],
        "max": [q.max() for q in p],
        "majority": [(q > 0.5).mean() for q in p],
        "noisy_or": [1 - np.prod(1 - q) for q in p],
        "threshold": [np.sort(q)[-2] for q in p],
    }
    for voting, shares in expected.items():
        model.set_params(voting=voting, threshold=2)
        np.testing.assert_allclose(model.predict_proba(bags)[:, 1], shares, atol=1e-12)
        np.testing.assert_array_equal(model.predict(bags), np.array(shares) > 0.5)
    counts = model.transform(bags)[:, 1]
    assert counts.tolist() == [np.sum(q > 0.5) for q in p]
    assert model.get_feature_names_out().tolist() == ["count_0", "count_1", "rate_0", "rate_1"]


def test_three_classes():
    bags, _ = make_bags(30)
    y = np.arange(30) % 3
    with pytest.raises(
        ValueError, match=r"Only binary .*\[0, 1, 2\]. Put OneVsRestClassifier around"
    ):
        SelfTrainingMILClassifier().fit(bags, y)
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(6, 3)) for _ in y]
    for bag, label in zip(bags, y, strict=True):
        bag[:3, label] += 6.0
    X = BagArray.from_list(bags)
    one = SelfTrainingMILClassifier(
        scaled_regression(), schedule=[(4, 3)], voting="max", random_state=0
    )
    model = OneVsRestClassifier(one).fit(X, y)
    assert model.score(X, y) > 0.9
    for k in range(3):
        member = clone(one).fit(X, (y == k).astype(int))
        np.testing.assert_array_equal(
            member.decision_function(X), model.estimators_[k].decision_function(X)
        )


def test_with_scikit_learn_s_tools():
    (bags, y), (seed_X, seed_y) = make_bags(40, shift=5.0), make_seeds(shift=5.0)
    model = SelfTrainingMILClassifier(
        scaled_regression(), schedule=[(4, 2)], voting="max", random_state=0
    )
    assert cross_val_score(model, bags, y, cv=4, scoring="roc_auc").mean() > 0.8
    search = GridSearchCV(
        model, {"estimator__logisticregression__C": [0.1, 1.0], "min_confidence": [0.3, 0.6]}, cv=2
    ).fit(BagArray.from_list(bags), y)
    assert search.best_estimator_.history_["round"][0] == 1
    # Seeds go through a pipeline to the step, by prefix and by routing.
    piped = make_pipeline(InstanceTransformer(StandardScaler()), model)
    name = "selftrainingmilclassifier"
    one = clone(piped).fit(bags, y, **{f"{name}__seed_X": seed_X, f"{name}__seed_y": seed_y})
    with sklearn.config_context(enable_metadata_routing=True):
        asks = clone(model).set_fit_request(seed_X=True, seed_y=True)
        two = make_pipeline(InstanceTransformer(StandardScaler()), asks)
        two.fit(bags, y, seed_X=seed_X, seed_y=seed_y)
    np.testing.assert_array_equal(one.decision_function(bags), two.decision_function(bags))


def test_clone_and_pickle():
    bags, y = make_bags()
    model = SelfTrainingMILClassifier(GaussianNB(), detector=KernelDensity(), random_state=0)
    fitted = clone(model).fit(bags, y)
    assert not hasattr(model, "estimator_")
    assert not hasattr(model.estimator, "classes_")
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.decision_function(bags), fitted.decision_function(bags))
    np.testing.assert_array_equal(loaded.history_["bag"], fitted.history_["bag"])


def test_verbose(capsys):
    bags, y = make_bags()
    SelfTrainingMILClassifier(GaussianNB(), random_state=0).fit(bags, y)
    assert capsys.readouterr().err == ""
    SelfTrainingMILClassifier(GaussianNB(), random_state=0, verbose=1).fit(bags, y)
    assert "SelfTrainingMILClassifier, rounds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "schedule",
    [
        [],
        [5, 2],
        [(5, 2, 1)],
        [(5, 2), (18,)],
        [(5, 0)],
        [(0, 5)],
        [(-1, 5)],
        [(5.0, 2.5)],
        [("a", "b")],
        [(True, True)],
    ],
)
def test_wrong_schedules(schedule):
    with pytest.raises(ValueError, match="schedule must be 'auto' or a list of pairs of positive"):
        SelfTrainingMILClassifier(schedule=schedule).fit(*make_bags())


def test_schedules_of_any_sequence():
    bags, y = make_bags()
    model = SelfTrainingMILClassifier(
        GaussianNB(), schedule=np.array([[2, 1], [1, 3]]), random_state=0
    )
    assert model.fit(bags, y).schedule_ == [(2, 1), (1, 3)]
    assert (np.bincount(model.history_["round"])[1:] // 2).tolist() == [1, 1, 3]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"schedule": "slow"}, ValueError, "The 'schedule' parameter"),
        ({"min_confidence": 1.0}, ValueError, "The 'min_confidence' parameter"),
        ({"min_confidence": -0.1}, ValueError, "The 'min_confidence' parameter"),
        ({"voting": "median"}, ValueError, "The 'voting' parameter"),
        ({"detector": GaussianNB()}, TypeError, "Got GaussianNB, which is a classifier"),
        ({"estimator": LinearRegression()}, TypeError, "must be a classifier. Got LinearRegr"),
        ({"estimator": LinearSVC(), "voting": "mean"}, ValueError, "needs probabilities"),
    ],
)
def test_wrong_parameters(params, error, message):
    with pytest.raises(error, match=message):
        SelfTrainingMILClassifier(**params).fit(*make_bags())


def test_one_class():
    bags, _ = make_bags()
    with pytest.raises(ValueError, match="y has only one class, 1"):
        SelfTrainingMILClassifier().fit(bags, np.ones(20, int))
