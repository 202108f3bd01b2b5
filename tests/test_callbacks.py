"""scikit-learn's callbacks around the epochs of a training."""

import pickle

import numpy as np
import pytest

from milkit import AttentionMILClassifier
from milkit.neural import AttentionMILRegressor
from milkit.utils._callbacks import FitProgress

callback = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn has callbacks since version 1.9"
)

SMALL = {"hidden_layer_sizes": (6,), "attention_dim": 4, "max_iter": 4, "random_state": 0}
both_classes = pytest.mark.parametrize("cls", [AttentionMILClassifier, AttentionMILRegressor])


class Recorder:
    """Writes down what it is told; asks to stop behind epoch ``stop_after``."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events = []
        self.models = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(("end", context.task_name, context.task_id, context.max_subtasks))
        self.models.append((fitted_estimator, fitted_estimator.predict(X)))
        self.data = X, y
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


class Deaf(Recorder):
    """Does not ask for a fitted estimator."""

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name, context.task_id, context.max_subtasks))


def make(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(1, 5), 3)) for _ in range(12)], np.arange(12) % 2


def expected_events(n_epochs, max_iter=4):
    epochs = [(kind, "epoch", i, 0) for i in range(n_epochs) for kind in ("begin", "end")]
    return [
        "setup",
        ("begin", "fit", 0, max_iter),
        *epochs,
        ("end", "fit", 0, max_iter),
        "teardown",
    ]


@both_classes
@pytest.mark.parametrize("kind", [Recorder, Deaf])
def test_a_callback_sees_every_epoch(cls, kind):
    recorder = kind()
    cls(**SMALL).set_callbacks(recorder).fit(*make())
    assert recorder.events == expected_events(4)


@both_classes
def test_a_true_answer_ends_the_training(cls):
    X, y = make()
    recorder = Recorder(stop_after=2)
    model = cls(**SMALL).set_callbacks(recorder).fit(X, y)
    assert recorder.events == expected_events(2)
    assert model.n_iter_ == 2
    short = cls(**SMALL | {"max_iter": 2}).fit(X, y)
    assert model.loss_curve_ == short.loss_curve_
    np.testing.assert_array_equal(model.predict(X), short.predict(X))


@both_classes
def test_early_stopping_ends_the_epochs_of_a_callback(cls):
    recorder = Recorder()
    model = cls(**SMALL, early_stopping=True, validation_fraction=0.3, n_iter_no_change=1, tol=1e9)
    model.set_callbacks(recorder).fit(*make())
    assert recorder.events == expected_events(model.n_iter_)
    assert model.n_iter_ == 2


@both_classes
def test_a_callback_gets_an_estimator_that_predicts(cls):
    """The one behind epoch i is that of a training of i epochs, and does not change later."""
    X, y = make()
    recorder = Recorder()
    model = cls(**SMALL, n_estimators=2, dropout=0.2).set_callbacks(recorder).fit(X, y)
    assert recorder.data[0] is X
    np.testing.assert_array_equal(recorder.data[1], y)
    assert len(recorder.models) == 5
    for n_epochs, (fitted, then) in enumerate(recorder.models[:4], start=1):
        short = cls(**SMALL | {"max_iter": n_epochs}, n_estimators=2, dropout=0.2).fit(X, y)
        np.testing.assert_array_equal(then, short.predict(X))
        np.testing.assert_array_equal(fitted.predict(X), then)
        np.testing.assert_array_equal(
            np.concatenate(fitted.score_instances(X)), np.concatenate(short.score_instances(X))
        )
        assert fitted is not model
    np.testing.assert_array_equal(recorder.models[-1][1], model.predict(X))


def test_a_callback_does_not_change_the_training():
    X, y = make()
    plain = AttentionMILClassifier(**SMALL, dropout=0.3).fit(X, y)
    watched = AttentionMILClassifier(**SMALL, dropout=0.3).set_callbacks(Recorder()).fit(X, y)
    assert watched.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(watched.decision_function(X), plain.decision_function(X))


@both_classes
def test_an_error_tears_the_callback_down(cls):
    recorder = Deaf()
    X, y = make()
    with pytest.raises(FloatingPointError):
        cls(**SMALL | {"learning_rate_init": 1e30}).set_callbacks(recorder).fit(
            [1e6 * bag for bag in X], y
        )
    assert recorder.events[-1] == "teardown"


@both_classes
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_nothing_of_a_callback_stays_behind(cls, method):
    """Each setup has its teardown, and the model keeps no context of the training."""
    X, y = make()
    recorder = Deaf()
    model = cls(**SMALL).set_callbacks(recorder)
    for _ in range(2):
        getattr(model, method)(X, y)
    assert recorder.events.count("setup") == recorder.events.count("teardown")
    model.set_callbacks()
    getattr(model, method)(X, y)
    assert not [name for name in vars(model) if "callback" in name]
    pickle.loads(pickle.dumps(model)).predict(X)


def test_scikit_learns_own_monitor_scores_every_epoch():
    X, y = make()
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = AttentionMILClassifier(**SMALL).set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data
    found = [row["accuracy"] for row in rows if row["task_name"] == "epoch"]
    shorter = [AttentionMILClassifier(**SMALL | {"max_iter": n}) for n in (1, 2, 3, 4)]
    scores = [model.fit(X, y).score(X, y) for model in shorter]
    assert found == scores
    assert scores[-1] == model.score(X, y)


def test_an_estimator_without_callbacks_has_no_progress():
    """As with an older scikit-learn."""
    progress = FitProgress(object(), 3, "epoch", dict)
    progress.begin_iteration()
    assert not progress.end_iteration()
    progress.end()
