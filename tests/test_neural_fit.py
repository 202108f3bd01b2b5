"""How the estimators train: early stopping, going on, interruption, some instances only."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer
from milkit.exceptions import GroupLeakageError
from milkit.neural import AttentionMILRegressor
from milkit.neural._trainer import train

N_BAGS = 48
SMALL = {
    "hidden_layer_sizes": (6,),
    "attention_dim": 4,
    "learning_rate_init": 1e-2,
    "max_iter": 3,
    "dropout": 0.0,
    "random_state": 0,
}
CLASSES = [AttentionMILClassifier, AttentionMILRegressor]
both_classes = pytest.mark.parametrize("cls", CLASSES)
GROUPS = np.repeat(np.arange(N_BAGS // 3), 3)


def make(n_bags=N_BAGS, seed=0, n_classes=2, cls=AttentionMILClassifier):
    """Bags whose last feature is their number over 1000, and labels or numbers."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % n_classes
    bags = [rng.normal(size=(rng.integers(1, 6), 3)) for _ in y]
    for i, (bag, label) in enumerate(zip(bags, y, strict=True)):
        bag[:, 0] += label
        bag[:, 2] = i / 1000
    return bags, y if cls is AttentionMILClassifier else np.array([b[:, :2].sum() for b in bags])


class Dropping(nn.Module):
    """A user's encoder, which draws from PyTorch's own generator."""

    def __init__(self, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], 4), nn.Dropout(0.5))

    def forward(self, x):
        return self.layers(x)


def small(cls=AttentionMILClassifier, **changed):
    return cls(**{**SMALL, **changed})


def outputs(model, X):
    return (model.decision_function if hasattr(model, "classes_") else model.predict)(X)


@pytest.fixture
def calls(monkeypatch):
    """The arguments of each call of the training loop."""
    seen = []

    def spy(network, loss, data, settings, **options):
        seen.append({"data": data, "settings": settings, **options})
        record = train(network, loss, data, settings, **options)
        seen[-1]["record"] = record
        return record

    monkeypatch.setattr("milkit.neural._base.train", spy)
    return seen


def numbers_of(data):
    """The numbers of the bags in a part of the data."""
    first = data.packed.offsets[:-1]
    return np.round(data.packed.instances[first, 2].numpy() * 1000).astype(int)


# -- early stopping ---------------------------------------------------------------------------


@both_classes
@pytest.mark.parametrize("where", ["argument", "inside X", "both"])
def test_the_validation_split_never_divides_a_group(cls, where, calls):
    bags, y = make(cls=cls)
    X = BagArray.from_list(bags, groups=GROUPS if where != "argument" else None)
    names = np.array([f"patient {g}" for g in GROUPS])  # the same bags belong together
    groups = {"argument": GROUPS, "inside X": None, "both": names}[where]
    for seed in range(4):
        model = small(cls, early_stopping=True, validation_fraction=0.3, random_state=seed)
        model.fit(X, y, groups=groups)
    splits = set()
    for call in calls:
        on, off = numbers_of(call["data"]), numbers_of(call["validation"])
        assert not set(GROUPS[on]) & set(GROUPS[off])
        np.testing.assert_array_equal(np.sort([*on, *off]), np.arange(N_BAGS))
        assert abs(len(off) - 0.3 * N_BAGS) <= 3
        splits.add(tuple(off))
    assert len(splits) == 4  # by random_state


def test_without_groups_every_bag_is_one(calls):
    X, y = make()
    small(early_stopping=True, validation_fraction=0.25).fit(X, y)
    off = numbers_of(calls[0]["validation"])
    assert len(off) == 12
    assert np.bincount(y[off]).tolist() == [6, 6]  # in proportion


def test_the_validation_split_is_in_proportion(calls):
    X, _ = make()
    y = np.arange(N_BAGS) // 36  # 36 and 12
    for seed in range(4):
        small(early_stopping=True, validation_fraction=0.25, random_state=seed).fit(X, y)
    for call in calls:
        counts = np.bincount(y[numbers_of(call["validation"])])
        assert abs(counts - [9, 3]).max() <= 1


def test_targets_and_weights_go_with_their_bags(calls):
    X, y = make()
    weight = np.random.default_rng(0).integers(0, 4, N_BAGS).astype(float)
    small(early_stopping=True, validation_fraction=0.3).fit(X, y, sample_weight=weight)
    for part in ("data", "validation"):
        data = calls[0][part]
        numbers = numbers_of(data)
        np.testing.assert_array_equal(data.target, y[numbers])
        np.testing.assert_array_equal(data.weight, weight[numbers])
        assert (data.weight > 0).all()
        for i, number in enumerate(numbers):
            rows = slice(data.packed.offsets[i], data.packed.offsets[i + 1])
            assert np.allclose(data.packed.instances[rows], X[number].astype(np.float32))
    used = np.concatenate([numbers_of(calls[0][part]) for part in ("data", "validation")])
    np.testing.assert_array_equal(np.sort(used), np.flatnonzero(weight))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_best_weights_are_kept(n_classes, calls):
    """The loss of the validation bags by the fitted model is minus the best score."""
    X, _ = make()
    y = np.random.default_rng(1).integers(0, n_classes, N_BAGS)  # nothing to learn but noise
    weight = np.random.default_rng(0).uniform(0.5, 2, N_BAGS)
    model = small(
        early_stopping=True, validation_fraction=0.3, max_iter=200, learning_rate_init=0.05,
        n_estimators=2, n_iter_no_change=6,
    ).fit(X, y, sample_weight=weight)  # fmt: skip
    off = numbers_of(calls[0]["validation"])
    logits = model.decision_function([X[i] for i in off])
    logits = np.column_stack([-logits / 2, logits / 2]) if n_classes == 2 else logits
    losses = -log_softmax(logits, axis=1)[np.arange(len(off)), y[off]]
    loss = np.average(losses, weights=weight[off])
    np.testing.assert_allclose(loss, -max(model.validation_scores_), rtol=1e-5)
    assert model.best_iter_ == np.argmax(model.validation_scores_) + 1
    n_iter = model.best_iter_ + 6
    assert n_iter == model.n_iter_ == len(model.validation_scores_) == len(model.loss_curve_) < 200


@both_classes
def test_without_early_stopping_there_are_no_scores(cls, calls):
    model = small(cls).fit(*make(cls=cls))
    assert model.validation_scores_ is None
    assert model.best_iter_ is None
    assert calls[0]["validation"] is None
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_a_class_that_no_split_keeps_on_both_sides():
    X, y = make()
    y = np.where(np.arange(N_BAGS) == 5, 2, y)  # one bag
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 of the 48.*early_stopping=F"):
        small(early_stopping=True).fit(X, y)
    y = np.where(GROUPS == 4, 2, np.arange(N_BAGS) % 2)  # one patient
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1"):
        small(early_stopping=True).fit(X, y, groups=GROUPS)
    small().fit(X, y, groups=GROUPS)


@pytest.mark.parametrize("dtype", [int, float])
def test_numbers_are_no_classes_to_the_validation_split(dtype, calls):
    """A count that only one bag has need not be on both sides, but small and large are."""
    X, _ = make()
    y = np.where(np.arange(N_BAGS) % 2, np.arange(N_BAGS) % 5, 90 + np.arange(N_BAGS) % 7)
    y[0] = 1000
    model = small(AttentionMILRegressor, early_stopping=True, validation_fraction=0.25)
    model.fit(X, y.astype(dtype))
    off = y[numbers_of(calls[0]["validation"])]
    assert abs((off > 50).sum() - 6) <= 1


@both_classes
def test_one_group_cannot_be_split(cls):
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1.*one group"):
        small(cls, early_stopping=True).fit(*make(cls=cls), groups=np.zeros(N_BAGS))


@both_classes
@pytest.mark.parametrize("early_stopping", [True, False])
def test_groups_that_contradict_those_of_X(cls, early_stopping):
    bags, y = make(cls=cls)
    X = BagArray.from_list(bags, groups=GROUPS)
    with pytest.raises(GroupLeakageError, match="disagree"):
        small(cls, early_stopping=early_stopping).fit(X, y, groups=np.arange(N_BAGS))


def test_groups_of_another_length():
    with pytest.raises(ValueError, match="groups has 3 entries, but X has 48 bags"):
        small(early_stopping=True).fit(*make(), groups=[0, 1, 2])


# -- under scikit-learn's tools ---------------------------------------------------------------


@pytest.mark.parametrize("routing", [True, False])
@pytest.mark.parametrize("in_pipeline", [True, False])
def test_a_search_passes_the_groups_on(in_pipeline, routing, calls):
    """To the folds, and to the validation split in each of them."""
    bags, y = make()
    # Without routing the groups reach the inner split inside X.
    X = bags if routing else BagArray.from_list(bags, groups=GROUPS)
    model = small(early_stopping=True, validation_fraction=0.3)
    grid = {"hidden_layer_sizes": [(), (4,)]}
    with sklearn.config_context(enable_metadata_routing=routing):
        if in_pipeline:
            model = make_pipeline(InstanceTransformer(FunctionTransformer()), model)
            grid = {f"attentionmilclassifier__{key}": values for key, values in grid.items()}
        search = GridSearchCV(model, grid, cv=GroupKFold(3), error_score="raise")
        search.fit(X, y, groups=GROUPS)
    assert len(calls) == 7  # two times three folds, and all bags
    for call in calls:
        on, off = (GROUPS[numbers_of(call[part])] for part in ("data", "validation"))
        assert not set(on) & set(off)
        assert len(off) > 0
    assert len(calls[-1]["data"].packed) + len(calls[-1]["validation"].packed) == N_BAGS


def test_groups_are_requested_by_default():
    with sklearn.config_context(enable_metadata_routing=True):
        for cls in CLASSES:
            assert cls().get_metadata_routing().fit.requests["groups"] is True


# -- going on ---------------------------------------------------------------------------------


@both_classes
def test_warm_start_goes_on(cls, calls):
    X, y = make(cls=cls)
    model = small(cls, warm_start=True, max_iter=20, batch_size=N_BAGS).fit(X, y)
    first, curve = outputs(model, X), list(model.loss_curve_)
    assert calls[0]["first_epoch"] == 0
    model.fit(X, y)
    assert calls[1]["first_epoch"] == 20
    assert model.loss_curve_[:20] == curve
    assert len(model.loss_curve_) == model.n_iter_ == 40
    # The whole cohort in one step: the first new loss is that behind the last step.
    assert curve[0] > model.loss_curve_[20] < curve[19] + 1e-6
    assert model.loss_curve_[-1] < curve[-1]
    model.set_params(learning_rate_init=1e-30, weight_decay=0.0)
    before = outputs(model, X)
    np.testing.assert_allclose(outputs(model.fit(X, y), X), before, rtol=1e-6)
    assert not np.allclose(before, first, rtol=1e-3)


@both_classes
def test_without_warm_start_a_fit_starts_anew(cls):
    X, y = make(cls=cls)
    model = small(cls).fit(X, y)
    first = outputs(model, X)
    np.testing.assert_array_equal(outputs(model.fit(X, y), X), first)
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_warm_start_with_labels_of_before():
    X, y = make()
    model = small(warm_start=True).fit(X, np.array(["a", "b"])[y])
    with pytest.raises(ValueError, match=r"y holds the labels \['c'\].*made for \['a', 'b'\]"):
        model.fit(X, np.array(["a", "c"])[y])
    ones = [bag for bag, label in zip(X, y, strict=True) if label]
    model.fit(ones, ["b"] * len(ones))
    assert model.classes_.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auxiliary_decay", 0.5),
        ("n_estimators", 2),
        ("pooling", "max"),
        ("hidden_layer_sizes", (7,)),
        ("encoder", nn.Linear),
    ],
)
def test_another_network_is_refused_when_one_goes_on_learning(name, value):
    X, y = make()
    model = small(warm_start=True).fit(X, y).set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"\['{name}'\] changed since the network was made"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="fit anew with warm_start=False"):
        model.partial_fit(X, y)
    if name != "encoder":
        model.set_params(warm_start=False).fit(X, y)


def test_what_shapes_no_network_may_change_between_warm_starts():
    X, y = make()
    model = small(warm_start=True, hidden_layer_sizes=[6]).fit(X, y)
    model.set_params(hidden_layer_sizes=(6,), solver="sgd", dropout=0.5, max_iter=2).fit(X, y)
    assert model.n_iter_ == 3 + 2


@pytest.mark.parametrize("solvers", [("adamw", "sgd"), ("sgd", "amsgrad")])
def test_another_solver_begins_with_a_memory_of_its_own(solvers):
    X, y = make()
    model = small(solver=solvers[0]).partial_fit(X, y)
    model.set_params(solver=solvers[1]).partial_fit(X, y)
    assert np.isfinite(outputs(model, X)).all()


def test_a_regressor_learns_on_after_constant_targets():
    X, y = make(cls=AttentionMILRegressor)
    model = small(AttentionMILRegressor, learning_rate_init=0.05)
    model.partial_fit(X[:5], np.full(5, 3.0))
    for _ in range(20):
        model.partial_fit(X, y)
    assert np.ptp(model.predict(X)) > 0


def test_warm_start_of_a_regressor_keeps_the_units():
    X, y = make(cls=AttentionMILRegressor)
    model = small(AttentionMILRegressor, warm_start=True, learning_rate_init=1e-30).fit(X, y)
    before = model.predict(X)
    model.fit(X, 1000 * y)
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-5)


@both_classes
@pytest.mark.parametrize("solver", ["adamw", "amsgrad", "sgd"])
def test_partial_fits_are_the_epochs_of_a_fit(cls, solver):
    """With all bags in one step; the optimiser's memory is carried on."""
    X, y = make(cls=cls)
    options = {"batch_size": N_BAGS, "solver": solver, "auxiliary_decay": 0.5, "n_estimators": 2}
    whole = small(cls, max_iter=4, **options).fit(X, y)
    model = small(cls, max_iter=99, **options)
    for n in range(1, 5):
        model.partial_fit(X, y)
        assert model.n_iter_ == n
        model = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(outputs(model, X), outputs(whole, X), rtol=1e-3, atol=1e-4)


def test_partial_fit_carries_the_optimiser_on_and_fit_does_not(calls):
    X, y = make()
    model = small().partial_fit(X, y).partial_fit(X, y)
    assert calls[0]["optimizer_state"] is None
    assert calls[1]["optimizer_state"] is not None
    model.fit(X, y).partial_fit(X, y)
    assert calls[2]["optimizer_state"] is calls[3]["optimizer_state"] is None
    assert [call["first_epoch"] for call in calls] == [0, 1, 0, 3]


@both_classes
def test_partial_fit_follows_a_learning_rate_that_changes(cls):
    """It is how a schedule of one's own is made."""
    X, y = make(cls=cls)
    model = small(cls, weight_decay=0.0).partial_fit(X, y).partial_fit(X, y)
    before = outputs(model, X)
    model.set_params(learning_rate_init=1e-30).partial_fit(X, y)
    np.testing.assert_allclose(outputs(model, X), before, rtol=1e-6)
    model.set_params(learning_rate_init=0.1).partial_fit(X, y)
    assert not np.allclose(outputs(model, X), before, rtol=1e-2)


def test_partial_fit_neither_stops_early_nor_lowers_the_rate(calls):
    X, y = make()
    model = small(
        early_stopping=True, learning_rate="cosine", tol=1e9, loss_target=1e9, n_iter_no_change=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X, y).partial_fit(X, y)
    assert model.n_iter_ == 2
    assert model.validation_scores_ is None
    assert all(call["validation"] is None for call in calls)
    rates = [call["record"].optimizer_state["param_groups"][0]["lr"] for call in calls]
    assert rates == [1e-2, 1e-2]


@both_classes
@pytest.mark.parametrize(
    "changed", [{"dropout": 0.5}, {"max_instances_per_bag": 1}, {"encoder": Dropping}],
    ids=["dropout", "instances", "encoder"],
)  # fmt: skip
def test_partial_fit_draws_anew(cls, changed):
    """With the weights at rest, two calls have different losses, and another model the same."""
    X, y = make(cls=cls)
    models = [small(cls, learning_rate_init=1e-30, weight_decay=0.0, **changed) for _ in range(2)]
    for model in models:
        model.partial_fit(X, y).partial_fit(X, y)
    assert models[0].loss_curve_[0] != models[0].loss_curve_[1]
    assert models[0].loss_curve_ == models[1].loss_curve_


def test_partial_fit_with_classes_that_come_later():
    X, y = make(n_classes=3)
    labels = np.array(["a", "b", "c"])[y]
    zeros = [bag for bag, label in zip(X, y, strict=True) if label == 0]
    for class_weight in (None, {"a": 2.0}):
        model = small(class_weight=class_weight)
        model.partial_fit(zeros, ["a"] * len(zeros), classes=["a", "b", "c"])
        assert model.decision_function(X).shape == (N_BAGS, 3)
        model.partial_fit(X, labels).partial_fit(X, labels, classes=["c", "b", "a"])
        assert model.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"the labels \['d'\].*first call of partial_fit"):
        model.partial_fit(X, np.where(y == 1, "d", labels))
    with pytest.raises(ValueError, match="are not those of the first call"):
        model.partial_fit(X, labels, classes=["a", "b"])
    with pytest.raises(ValueError, match="only one class"):
        small().partial_fit(zeros, ["a"] * len(zeros))
    with pytest.raises(ValueError, match=r"y holds the labels \['c'\]"):
        small().partial_fit(X, labels, classes=["a", "b"])


@both_classes
def test_partial_fit_checks_the_features(cls):
    X, y = make(cls=cls)
    model = small(cls).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"2 features.*expecting 3 features"):
        model.partial_fit([bag[:, :2] for bag in X], y)


@both_classes
def test_partial_fit_takes_weights(cls):
    X, y = make(cls=cls)
    weight = (np.arange(N_BAGS) < 20).astype(float)
    first = small(cls).partial_fit(X, y, sample_weight=weight)
    second = small(cls).partial_fit(X[:20], y[:20])
    np.testing.assert_array_equal(outputs(first, X), outputs(second, X))


# -- progress and its end ---------------------------------------------------------------------


@both_classes
def test_tol_warns_where_it_is_not_reached(cls):
    with pytest.warns(ConvergenceWarning, match="after max_iter=3 epochs"):
        small(cls, tol=1e-9).fit(*make(cls=cls))


@both_classes
def test_tol_stops(cls):
    model = small(cls, tol=0.5, n_iter_no_change=2, max_iter=50).fit(*make(cls=cls))
    assert model.n_iter_ == len(model.loss_curve_) < 50


@both_classes
def test_loss_target_stops(cls):
    X, y = make(cls=cls)
    start = small(cls).fit(X, y).loss_curve_[0]
    model = small(cls, loss_target=2 * start, n_iter_no_change=4, max_iter=50).fit(X, y)
    assert model.n_iter_ == 4


class _Interrupted(nn.Module):
    """Ctrl-C at the 30th call in training."""

    calls = 0

    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(shape[0], 4)

    def forward(self, x):
        if self.training:
            type(self).calls += 1
            if self.calls == 30:
                raise KeyboardInterrupt
        return self.layer(x)


@both_classes
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_can_be_used(cls, method, early_stopping, monkeypatch):
    X, y = make(cls=cls)
    monkeypatch.setattr(_Interrupted, "calls", {"fit": 0, "partial_fit": 28}[method])
    model = small(
        cls, encoder=_Interrupted, max_iter=10, batch_size=4, early_stopping=early_stopping,
        validation_fraction=0.25,
    )  # fmt: skip
    n_done = {("fit", False): 2, ("fit", True): 3}.get((method, early_stopping), 0)
    with pytest.warns(ConvergenceWarning, match=f"interrupted in epoch {n_done + 1}"):
        getattr(model, method)(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == n_done
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(outputs(again, X), outputs(model, X))
    assert np.isfinite(outputs(model, X)).all()
    assert np.isfinite(np.concatenate(model.score_instances(X))).all()
    assert not model.network_.training


@both_classes
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_warning_of_an_interruption_points_at_the_call(cls, method, monkeypatch):
    monkeypatch.setattr(_Interrupted, "calls", 29)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 1") as caught:
        getattr(small(cls, encoder=_Interrupted), method)(*make(cls=cls))
    assert {warning.filename for warning in caught} == {__file__}


@both_classes
def test_verbose_shows_progress(cls, capsys):
    small(cls, verbose=1).fit(*make(cls=cls))
    assert f"{cls.__name__}, epochs" in capsys.readouterr().err
    small(cls).fit(*make(cls=cls))
    assert capsys.readouterr().err == ""


@both_classes
def test_nan_names_the_epoch(cls):
    X, y = make(cls=cls)
    with pytest.raises(FloatingPointError, match=r"is (nan|inf) in epoch \d+.*one scale"):
        small(cls, learning_rate_init=1e30, max_iter=20).fit([1e6 * bag for bag in X], y)


# -- settings that reach the loop -------------------------------------------------------------


@both_classes
def test_parameters_reach_the_loop(cls, calls):
    given = {
        "solver": "sgd", "learning_rate": "cosine", "learning_rate_init": 0.02, "momentum": 0.5,
        "weight_decay": 0.3, "max_iter": 4, "batch_size": 7, "max_instances_per_bag": 3,
        "auxiliary_decay": 0.25, "tol": 0.125, "n_iter_no_change": 5, "loss_target": 1e-9,
    }  # fmt: skip
    with pytest.warns(ConvergenceWarning):
        small(cls, max_batch_instances=11, precision="bfloat16", **given).fit(*make(cls=cls))
    settings = calls[0]["settings"]
    assert {name: getattr(settings, name) for name in given} == given
    assert settings.autocast
    assert settings.budget.split == 11


@pytest.mark.parametrize(("n_bags", "expected"), [(5, 5), (32, 32), (48, 32)])
def test_automatic_batch_size(n_bags, expected, calls):
    small().fit(*make(n_bags))
    assert calls[0]["settings"].batch_size == expected


@both_classes
def test_predictions_use_all_instances(cls):
    X, y = make(cls=cls)
    model = small(cls, max_instances_per_bag=1).fit(X, y)
    sampled = outputs(model, X)
    np.testing.assert_array_equal(outputs(model.set_params(max_instances_per_bag=None), X), sampled)
    assert model.loss_curve_ != small(cls).fit(X, y).loss_curve_


@both_classes
@pytest.mark.parametrize("pooling", ["attention", "logsumexp"])
def test_bags_in_pieces_train_the_same_model(cls, pooling):
    rng = np.random.default_rng(0)
    X, y = make(12, cls=cls)
    X[3], X[8] = rng.normal(size=(300, 3)), rng.normal(size=(100, 3))
    options = {"pooling": pooling, "n_estimators": 2, "auxiliary_decay": 0.7, "max_iter": 4}
    whole = small(cls, **options).fit(X, y)
    pieces = small(cls, max_batch_instances=17, **options).fit(X, y)
    np.testing.assert_allclose(pieces.loss_curve_, whole.loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(outputs(pieces, X), outputs(whole, X), rtol=1e-3, atol=1e-4)


@both_classes
@pytest.mark.parametrize("level", ["embedding", "instance"])
@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_half_precision_is_near_single(cls, pooling, level):
    X, y = make(cls=cls)
    X[3] = np.random.default_rng(0).normal(size=(5000, 3))
    single, half = (
        small(cls, pooling=pooling, level=level, precision=precision, max_iter=15).fit(X, y)
        for precision in ("float32", "bfloat16")
    )
    assert {p.dtype for p in half.network_.parameters()} == {torch.float32}
    np.testing.assert_allclose(half.loss_curve_, single.loss_curve_, rtol=0.05)
    assert np.corrcoef(outputs(half, X), outputs(single, X))[0, 1] > 0.98


# -- what must not happen ---------------------------------------------------------------------


def test_balanced_parts_are_refused():
    X, y = make()
    with pytest.raises(ValueError, match="would balance each part by itself in partial_fit"):
        small(class_weight="balanced").partial_fit(X, y)


def test_weights_compare_between_parts():
    """Divided by each part's own mean, a constant weight of a part would have no effect."""
    X, y = make()
    zeros, ones = [[bag for bag, c in zip(X, y, strict=True) if c == k] for k in (0, 1)]

    def stream(solver="sgd", **options):
        model = small(solver=solver, **options)
        model.partial_fit(zeros, np.zeros(len(zeros)), classes=[0, 1])
        return model.partial_fit(ones, np.ones(len(ones)))

    plain, heavy = stream(), stream(class_weight={0: 1.0, 1: 20.0})
    assert (heavy.decision_function(X) > plain.decision_function(X)).all()


def test_a_failed_fit_leaves_no_mixture():
    X, y = make()
    model = small().fit(X, y).set_params(pooling="max")
    with pytest.raises(ValueError, match="NaN"):
        model.fit([bag * np.nan for bag in X], y)
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.set_params(warm_start=True).fit(X, y)
    assert type(model.network_.pooling).__name__ == "MaxPooling"


def test_weights_that_explode_in_the_last_step_are_an_error():
    X, y = make()
    with pytest.raises(FloatingPointError, match="size of the weights is"):
        small(solver="sgd", learning_rate_init=1e40, max_iter=1, batch_size=N_BAGS).fit(X, y)


def test_outputs_that_are_not_finite_name_the_bag():
    X, y = make()
    model = small(pooling="mean_std").fit(X, y)
    far = [np.asarray(bag, dtype=np.float32) for bag in X[:4]]
    far[2] = np.float32(1e25) * np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with pytest.raises(ValueError, match="Bag 2 is too far from the training bags"):
        model.predict(far)


class _InPlace(nn.Module):
    """An encoder that writes into what it is given."""

    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(shape[0], 4)

    def forward(self, x):
        x -= 1.0
        return self.layer(x)


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_a_module_that_works_in_place_does_not_touch_the_bags(n_estimators):
    X = BagArray(
        np.random.default_rng(0).normal(size=(1200, 4)).astype(np.float32), np.arange(5) * 300
    )
    before = X.instances.copy()
    model = small(encoder=_InPlace, n_estimators=n_estimators, max_batch_instances=100)
    model.fit(X, [0, 1, 0, 1])
    first = model.decision_function(X)
    np.testing.assert_array_equal(model.decision_function(X), first)
    np.testing.assert_array_equal(X.instances, before)


def test_lazy_modules_of_several_members():
    X, y = make()
    model = small(encoder=lambda shape: nn.LazyLinear(5), n_estimators=2).fit(X, y)
    assert model.transform(X).shape == (N_BAGS, 10)


def test_modules_in_double_precision_are_taken():
    X, y = make()
    assert small(encoder=nn.Linear(3, 4).double()).fit(X, y).transform(X).shape == (N_BAGS, 4)


def test_going_on_keeps_the_same_bags_apart(calls):
    X, y = make()
    model = small(warm_start=True, early_stopping=True, validation_fraction=0.2, random_state=None)
    model.fit(X, y).fit(X, y)
    first, second = (call["validation"].packed.instances for call in calls[-2:])
    assert torch.equal(first, second)


def test_a_regressor_goes_on_after_a_constant():
    X, y = make(cls=AttentionMILRegressor)
    model = small(AttentionMILRegressor, warm_start=True).fit(X, np.ones(len(X)))
    assert np.ptp(model.fit(X, y).predict(X)) > 0


@pytest.mark.parametrize("dtype", [np.int64, np.int32, bool])
def test_images_of_other_integers_are_refused(dtype):
    images = [np.ones((2, 1, 16, 16), dtype=dtype) for _ in range(4)]
    with pytest.raises(ValueError, match="Pass all as bytes"):
        small().fit(images, [0, 1, 0, 1])


def test_bytes_and_floats_are_not_mixed():
    images = [np.ones((2, 1, 16, 16), dtype=(np.uint8, np.float32)[i % 2]) for i in range(4)]
    with pytest.raises(ValueError, match="type float32 and uint8"):
        small().fit(images, [0, 1, 0, 1])
