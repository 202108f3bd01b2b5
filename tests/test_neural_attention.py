"""AttentionMILClassifier: what it learns, its outputs, labels, weights and parameters."""

import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer

from .neural_helpers import COMBINATIONS, WEIGHTED, network_by_hand, numbers, parameters_of

N_FEATURES = 4
SMALL = {
    "hidden_layer_sizes": (16,),
    "attention_dim": 8,
    "learning_rate_init": 1e-2,
    "max_iter": 25,
    "random_state": 0,
}


def witness_bags(n_bags=80, n_classes=2, seed=0, shift=4.0):
    """Bags of 1 to 9 instances; the first one of class c > 0 is moved along feature c."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % n_classes
    bags = [rng.normal(size=(rng.integers(1, 10), N_FEATURES)) for _ in y]
    for bag, label in zip(bags, y, strict=True):
        bag[0, label] += shift * (label > 0)
    return BagArray.from_list(bags), y


def small(pooling="attention", level="embedding", n_classes=2, **changed):
    n_outputs = 1 if n_classes == 2 else n_classes
    return AttentionMILClassifier(**SMALL | parameters_of(pooling, level, n_outputs) | changed)


# Pooling, level, number of classes and of members. Three classes have an ensemble.
MODELS = [
    (pooling, level, n_classes, {2: 1, 3: 2}[n_classes])
    for n_classes in (2, 3)
    for pooling, level in COMBINATIONS
    if (pooling, n_classes) != ("noisy_or", 3)
]
every_model = pytest.mark.parametrize("which", MODELS, ids=lambda which: "-".join(map(str, which)))


def some_models(condition):
    return pytest.mark.parametrize(
        "which", [m for m in MODELS if condition(*m)], ids=lambda which: "-".join(map(str, which))
    )


@pytest.fixture(scope="module")
def data():
    return witness_bags()


@pytest.fixture(scope="module")
def fitted():
    """Fitted models; not to be changed."""
    models, bags = {}, {n_classes: witness_bags(n_classes=n_classes) for n_classes in (2, 3)}

    def get(which):
        if which not in models:
            pooling, level, n_classes, n_members = which
            model = small(pooling, level, n_classes, n_estimators=n_members)
            models[which] = model.fit(*bags[n_classes])
        return models[which]

    return get


def as_columns(values):
    """Two classes have one output, several have a column each."""
    return values[:, None] if values.ndim == 1 else values


def biases(model):
    """Mean bias of the members, (n_outputs,)."""
    return model.network_.head.bias.detach().numpy().mean(axis=(0, 1))


def members_by_hand(which, model, X):
    """Logits of each member, (n_members, n_bags, n_outputs), written out in numpy."""
    return np.array(
        [[network_by_hand(which[0], model.network_, bag, e) for bag in X] for e in range(which[3])]
    )


# -- learning ---------------------------------------------------------------------------------


@every_model
def test_learns_witnesses(which, fitted):
    X, y = witness_bags(200, which[2], seed=1)
    probabilities = fitted(which).predict_proba(X)
    scores = probabilities[:, 1] if which[2] == 2 else probabilities
    least = 0.7 if which[0] == "module" else 0.85
    assert roc_auc_score(y, scores, multi_class="ovr") > least
    assert fitted(which).score(X, y) > (1 / which[2] + 0.1)


@some_models(lambda pooling, level, n_classes, _: n_classes == 2 and "attention" in pooling)
def test_attention_finds_the_witness(which, fitted):
    X, y = witness_bags(200, seed=2)
    weights = fitted(which).attention_weights(X)
    positive = [w for w, label in zip(weights, y, strict=True) if label and len(w) > 1]
    found = np.mean([w.argmax() == 0 for w in positive])
    chance = np.mean([1 / len(w) for w in positive])
    assert found > chance + 0.25


@some_models(lambda pooling, level, n_classes, _: n_classes == 2)
def test_the_witness_has_the_highest_evidence(which, fitted):
    X, y = witness_bags(200, seed=2)
    evidence = fitted(which).score_instances(X)
    positive = [e for e, label in zip(evidence, y, strict=True) if label]
    assert np.mean([e.argmax() == 0 for e in positive]) > 0.75


def test_mean_without_hidden_layers_is_logistic_regression_on_bag_means(data):
    X, y = data
    means = np.array([bag.mean(axis=0) for bag in X])
    plain = LogisticRegression(C=1e10).fit(means, y)
    for level in ("embedding", "instance"):
        model = small(
            "mean", level, hidden_layer_sizes=(), dropout=0.0, weight_decay=0.0, max_iter=400,
            batch_size=len(X), learning_rate_init=0.1, n_estimators=2,
        ).fit(X, y)  # fmt: skip
        np.testing.assert_allclose(
            model.decision_function(X), plain.decision_function(means), rtol=1e-2, atol=1e-2
        )


def test_an_ensemble_is_steadier_than_its_members(data):
    """The mean of the logits has a lower loss than the members have on average."""
    X, y = witness_bags(200, seed=1)
    members = small(n_estimators=5).fit(*data).predict_proba_members(X)
    model = small(n_estimators=5).fit(*data)
    logits = np.log(members[:, :, 1] / members[:, :, 0])
    losses = np.logaddexp(0, np.where(y, -logits, logits)).mean(axis=1)
    together = model.decision_function(X)
    assert np.logaddexp(0, np.where(y, -together, together)).mean() < losses.mean()


# -- outputs ----------------------------------------------------------------------------------


@every_model
def test_decision_is_the_mean_of_the_members_by_hand(which, fitted):
    model, (X, _) = fitted(which), witness_bags(30, which[2], seed=3)
    expected = members_by_hand(which, model, X).mean(axis=0)
    decision = model.decision_function(X)
    assert decision.shape == ((30,) if which[2] == 2 else (30, 3))
    np.testing.assert_allclose(as_columns(decision), expected, rtol=1e-4, atol=1e-5)


@every_model
def test_outputs_belong_together(which, fitted):
    model, (X, _) = fitted(which), witness_bags(30, which[2], seed=3)
    logits, probabilities = model.decision_function(X), model.predict_proba(X)
    assert probabilities.shape == (30, which[2])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    if which[2] == 2:
        np.testing.assert_allclose(probabilities[:, 1], expit(logits))
    else:
        np.testing.assert_allclose(probabilities, softmax(logits, axis=1))
    np.testing.assert_array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])


@every_model
def test_probabilities_of_the_members(which, fitted):
    model, (X, _) = fitted(which), witness_bags(20, which[2], seed=3)
    members, std = model.predict_proba_members(X, return_std=True)
    np.testing.assert_array_equal(model.predict_proba_members(X), members)
    logits = members_by_hand(which, model, X)
    if which[2] == 2:
        expected = np.concatenate([expit(-logits), expit(logits)], axis=2)
    else:
        expected = softmax(logits, axis=2)
    assert members.shape == (which[3], 20, which[2])
    np.testing.assert_allclose(members, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(std, expected.std(axis=0), rtol=1e-3, atol=1e-6)
    assert (which[3] == 1) == bool((std == 0).all())


@every_model
def test_transform(which, fitted):
    pooling, level, n_classes, n_members = which
    model, (X, _) = fitted(which), witness_bags(30, n_classes, seed=3)
    n_outputs = 1 if n_classes == 2 else 3
    width = {"heads": 48, "mean_std": 32, "module": 3}.get(pooling, 16)
    width = n_outputs if level == "instance" else width
    Z = model.transform(X)
    assert Z.shape == (30, n_members * width)
    names = [f"attentionmilclassifier{j}" for j in range(n_members * width)]
    assert model.get_feature_names_out().tolist() == names
    logits = np.split(Z, n_members, axis=1)  # the members behind each other
    if level == "embedding":
        heads = [numbers(model.network_.head, e) for e in range(n_members)]
        logits = [z @ head["weight"] + head["bias"] for z, head in zip(logits, heads, strict=True)]
    np.testing.assert_allclose(
        np.mean(logits, axis=0), as_columns(model.decision_function(X)), rtol=1e-4, atol=1e-5
    )


def test_set_output(data):
    X, y = data
    table = small(max_iter=1).set_output(transform="pandas").fit(X, y).transform(X)
    assert table.shape == (len(X), 16)
    assert table.columns[0] == "attentionmilclassifier0"


def test_bags_of_one_are_a_plain_network(data):
    """Attention over one instance is one: the decision is head(encoder(x))."""
    X, y = data
    table = X.instances[X.offsets[:-1]]
    model = small(hidden_layer_sizes=(7, 5)).fit(list(table[:, None]), y)
    hidden = table
    for layer in model.network_.encoder.layers:
        if hasattr(layer, "weight"):
            hidden = hidden @ layer.weight[0].detach().numpy() + layer.bias[0].detach().numpy()
            hidden = np.maximum(hidden, 0)
    head = model.network_.head
    expected = hidden @ head.weight[0, :, 0].detach().numpy() + head.bias.item()
    np.testing.assert_allclose(model.decision_function(list(table[:, None])), expected, rtol=1e-4)


@pytest.mark.parametrize("budget", [1, 7, 100_000])
@some_models(lambda pooling, level, n_classes, _: n_classes == 3 or pooling == "noisy_or")
def test_predictions_do_not_depend_on_the_budget(which, budget, fitted):
    model, (X, _) = fitted(which), witness_bags(40, which[2], seed=4)
    other = pickle.loads(pickle.dumps(model)).set_params(max_batch_instances=budget)
    for method in ("decision_function", "transform"):
        np.testing.assert_allclose(
            getattr(other, method)(X), getattr(model, method)(X), rtol=1e-4, atol=1e-5
        )
    for method in ("score_instances", "attention_weights"):
        if hasattr(model, method):
            got, expected = getattr(other, method)(X), getattr(model, method)(X)
            np.testing.assert_allclose(
                np.concatenate(got), np.concatenate(expected), rtol=1e-4, atol=1e-5
            )


@every_model
def test_predictions_do_not_depend_on_the_neighbours(which, fitted):
    model, (X, _) = fitted(which), witness_bags(8, which[2], seed=4)
    huge = np.random.default_rng(0).normal(size=(10_000, N_FEATURES))
    together = model.decision_function([*X, huge])
    alone = [model.decision_function([bag])[0] for bag in [*X, huge]]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


# -- evidence and attention -------------------------------------------------------------------


@some_models(lambda pooling, *_: pooling in WEIGHTED)
def test_evidence_is_additive(which, fitted):
    """Its mean over the bag plus the bias is the decision; also of ensembles and of heads."""
    model, (X, _) = fitted(which), witness_bags(30, which[2], seed=3)
    evidence, decision = model.score_instances(X), as_columns(model.decision_function(X))
    for bag, e, logits in zip(X, evidence, decision, strict=True):
        assert e.shape == ((len(bag),) if which[2] == 2 else (len(bag), 3))
        means = as_columns(e).mean(axis=0)
        np.testing.assert_allclose(means + biases(model), logits, rtol=1e-4, atol=1e-5)


@some_models(lambda *which: which[0] not in WEIGHTED and which[:2] != ("max", "instance"))
def test_evidence_is_occlusion(which, fitted):
    model, (X, _) = fitted(which), witness_bags(20, which[2], seed=3)
    decision = as_columns(model.decision_function(X))
    for bag, e, logits in zip(X, model.score_instances(X), decision, strict=True):
        if len(bag) == 1:
            expected = [logits - biases(model)]
        else:
            without = [np.delete(bag, k, axis=0) for k in range(len(bag))]
            expected = logits - as_columns(model.decision_function(without))
        np.testing.assert_allclose(as_columns(e), expected, rtol=1e-3, atol=1e-4)


@some_models(lambda pooling, level, *_: (pooling, level) == ("max", "instance"))
def test_evidence_of_a_maximum_over_instances_is_their_decision(which, fitted):
    model, (X, _) = fitted(which), witness_bags(20, which[2], seed=3)
    decision = as_columns(model.decision_function(X))
    for bag, e, logits in zip(X, model.score_instances(X), decision, strict=True):
        alone = model.decision_function(list(bag[:, None]))
        np.testing.assert_allclose(e, alone, rtol=1e-4, atol=1e-5)
        if which[3] == 1:  # the members of an ensemble may each have another largest
            np.testing.assert_allclose(as_columns(e).max(axis=0), logits, rtol=1e-5)


@some_models(lambda pooling, *_: pooling in WEIGHTED)
def test_attention_weights(which, fitted):
    model, (X, _) = fitted(which), witness_bags(30, which[2], seed=3)
    weights = model.attention_weights(X)
    for bag, w in zip(X, weights, strict=True):
        assert w.shape == ((len(bag), 3) if which[0] == "heads" else (len(bag),))
        assert (w >= 0).all()
        np.testing.assert_allclose(w.sum(axis=0), 1, rtol=1e-5)
        if which[0] == "mean":
            np.testing.assert_allclose(w, 1 / len(bag), rtol=1e-6)


@some_models(lambda pooling, *_: pooling not in WEIGHTED)
def test_no_weighted_mean_has_no_attention_weights(which, fitted):
    model = fitted(which)
    assert not hasattr(model, "attention_weights")
    with pytest.raises(AttributeError, match="has no attribute 'attention_weights'") as error:
        model.attention_weights(witness_bags()[0])
    assert "is no weighted mean" in str(error.value.__cause__)


# -- labels and weights -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [["healthy", "sick"], [1, 2], [-1, 1], [False, True], [0.0, 1.0]], ids=str
)
def test_labels_of_any_kind(labels, data):
    X, y = data
    labels = np.array(labels)
    model = small(max_iter=3).fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, labels)
    plain = small(max_iter=3).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), labels[plain.predict(X)])
    np.testing.assert_array_equal(model.decision_function(X), plain.decision_function(X))


def test_one_class_is_refused(data):
    with pytest.raises(ValueError, match="y has only one class, 1"):
        small().fit(data[0], np.ones(len(data[0]), dtype=int))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_bag_of_weight_zero_is_left_out(n_classes):
    X, y = witness_bags(30, n_classes)
    weight = np.random.default_rng(0).integers(0, 3, len(X)) * 0.5
    kept = np.flatnonzero(weight)
    weighted = small(class_weight="balanced", max_iter=5).fit(X, y, sample_weight=weight)
    without = small(class_weight="balanced", max_iter=5).fit(
        X[kept], y[kept], sample_weight=weight[kept]
    )
    np.testing.assert_array_equal(weighted.decision_function(X), without.decision_function(X))
    assert weighted.loss_curve_ == without.loss_curve_


def test_weights_move_the_decision(data):
    X, y = data
    plain = small(max_iter=10).fit(X, y).decision_function(X).mean()
    heavy = {0: 1, 1: 20}
    for model in (
        small(max_iter=10, class_weight=heavy).fit(X, y),
        small(max_iter=10).fit(X, y, sample_weight=np.where(y, 20.0, 1.0)),
    ):
        assert model.decision_function(X).mean() > plain + 0.5


def test_class_weight_is_a_sample_weight():
    X, y = witness_bags(40)
    X, y = X[:31], np.arange(31) % 3 // 2  # two bags of class 0 for each of class 1
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)
    models = [
        small(max_iter=4, class_weight="balanced").fit(X, y),
        small(max_iter=4, class_weight=dict(enumerate(balanced))).fit(X, y),
        small(max_iter=4).fit(X, y, sample_weight=balanced[y]),
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.decision_function(X), models[0].decision_function(X))


def test_weights_that_leave_no_bag_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="together leave no bag any weight"):
        small(class_weight={1: 0.0}).fit(X, y, sample_weight=y)


# -- repeats ----------------------------------------------------------------------------------


def test_random_state_decides(data):
    X, y = data
    first, second, other = (small(random_state=seed).fit(X, y) for seed in (3, 3, 4))
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert first.loss_curve_ != other.loss_curve_


def test_a_generator_as_random_state(data):
    X, y = data
    rng = np.random.RandomState(0)
    models = [small(max_iter=2, random_state=rng).fit(X, y) for _ in range(2)]
    assert models[0].loss_curve_ != models[1].loss_curve_
    again = small(max_iter=2, random_state=np.random.RandomState(0)).fit(X, y)
    assert models[0].loss_curve_ == again.loss_curve_


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_repeat_the_result_bitwise(backend, data):
    X, y = data
    model, cv = small(dropout=0.3, max_iter=5), StratifiedKFold(4)
    alone = cross_val_predict(model, X, y, cv=cv, method="decision_function", n_jobs=1)
    with joblib.parallel_config(backend=backend):
        shared = cross_val_predict(model, X, y, cv=cv, method="decision_function", n_jobs=2)
    np.testing.assert_array_equal(shared, alone)


@every_model
def test_pickle(which, fitted):
    model, (X, _) = fitted(which), witness_bags(10, which[2], seed=4)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(X), model.decision_function(X))
    np.testing.assert_array_equal(
        np.concatenate(again.score_instances(X)), np.concatenate(model.score_instances(X))
    )


@every_model
def test_a_model_can_be_cloned_and_fitted_again(which, fitted):
    model, (X, y) = fitted(which), witness_bags(n_classes=which[2])
    again = clone(model).set_params(max_iter=2).fit(X, y)
    np.testing.assert_allclose(again.loss_curve_, model.loss_curve_[:2], rtol=1e-5)


def test_a_pickle_is_as_large_as_its_network(data):
    """It does not drag the bags along."""
    model = small(max_iter=1).fit(*data)
    larger = small(max_iter=1).fit(*witness_bags(800))
    assert len(pickle.dumps(larger)) < 1.1 * len(pickle.dumps(model))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_input_is_not_written_to(dtype, data):
    X, y = data
    bags = X.with_instances(X.instances.astype(dtype))
    expected = small(max_iter=2).fit(bags, y).decision_function(bags)
    copy = bags.instances.copy()
    bags.instances.flags.writeable = False
    model = small(max_iter=2).fit(bags, y)
    np.testing.assert_array_equal(model.decision_function(bags), expected)
    model.score_instances(bags)
    np.testing.assert_array_equal(bags.instances, copy)


# -- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(), [], (3,), [5, 2], np.array([4, 3])], ids=str)
def test_hidden_layer_sizes(sizes, data):
    X, y = data
    model = small(hidden_layer_sizes=sizes, max_iter=1).fit(X, y)
    assert model.transform(X).shape[1] == ([N_FEATURES, *sizes])[-1]
    clone(model).fit(X, y)


@pytest.mark.parametrize("sizes", [(0,), (4, -1), (2.5,), ("8",), [[3, 4]]], ids=str)
def test_bad_hidden_layer_sizes(sizes, data):
    with pytest.raises(ValueError, match="hidden_layer_sizes must hold positive integers"):
        small(hidden_layer_sizes=sizes).fit(*data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", 16),
        ("pooling", "median"),
        ("dropout", 1.0),
        ("batch_size", 0),
        ("learning_rate_init", 0.0),
        ("class_weight", "even"),
        ("max_iter", 0),
        ("level", "bag"),
        ("n_heads", 0),
        ("n_estimators", 0),
        ("solver", "lbfgs"),
        ("learning_rate", "adaptive"),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("augmentation", "blur"),
        ("auxiliary_decay", 1.5),
        ("attention_features", "size"),
        ("max_batch_instances", 0),
        ("max_instances_per_bag", 0),
        ("loss_target", 0.0),
        ("n_iter_no_change", 0),
        ("validation_fraction", 1.0),
        ("precision", "float16"),
        ("device", 0),
    ],
)
def test_bad_parameters(name, value, data):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AttentionMILClassifier"):
        small(**{name: value}).fit(*data)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size(batch_size, data):
    assert len(small(max_iter=2, batch_size=batch_size).fit(*data).loss_curve_) == 2


def test_a_search_over_poolings(data):
    X, y = data
    grid = [
        {"pooling": ["attention", "mean_std"], "n_estimators": [1, 2]},
        {"pooling": ["noisy_or"], "level": ["instance"]},
    ]
    search = GridSearchCV(small(max_iter=3), grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert search.decision_function(X).shape == (len(X),)


def test_noisy_or_of_several_classes_by_one_against_the_rest():
    X, y = witness_bags(n_classes=3)
    model = OneVsRestClassifier(small("noisy_or", "instance", max_iter=40)).fit(X, y)
    assert model.score(*witness_bags(150, 3, seed=1)) > 0.6


# -- devices ----------------------------------------------------------------------------------


def test_auto_is_a_device(data):
    X, y = data
    auto = small(max_iter=2, device="auto").fit(X, y)
    assert next(auto.network_.parameters()).device.type == "cpu"
    assert auto.predict(X).shape == (len(X),)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(data):
    X, y = data
    with pytest.raises(ValueError, match=r"device='cuda' was asked for.*no CUDA device"):
        small(device="cuda").fit(X, y)
    fitted_elsewhere = small(max_iter=1).fit(X, y).set_params(device="cuda:0")
    with pytest.raises(ValueError, match="device='auto' or 'cpu'"):
        fitted_elsewhere.predict(X)


def test_unknown_device(data):
    with pytest.raises(ValueError, match=r"The 'device' parameter must be.*Got 'gpu'"):
        small(device="gpu").fit(*data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, and PyTorch finds none")
@every_model
def test_cuda_gives_what_the_cpu_gives(which):
    X, y = witness_bags(n_classes=which[2])
    model = small(*which[:3], n_estimators=which[3], device="cuda", dropout=0.0).fit(X, y)
    assert next(model.network_.parameters()).device.type == "cpu"
    on_gpu = as_columns(model.decision_function(X))
    on_cpu = as_columns(model.set_params(device="cpu").decision_function(X))
    np.testing.assert_allclose(on_cpu, on_gpu, rtol=1e-3, atol=1e-4)
    trained_on_cpu = as_columns(clone(model).fit(X, y).decision_function(X))
    assert np.corrcoef(trained_on_cpu.ravel(), on_gpu.ravel())[0, 1] > 0.99


# -- real data --------------------------------------------------------------------------------


def test_musk1():
    path = Path(os.environ.get("MILKIT_DATA", "")) / "musk1.npz"
    if not path.is_file():
        pytest.skip("needs musk1.npz in the folder that MILKIT_DATA names")
    with np.load(path) as file:
        X, y = BagArray(file["instances"], file["bag_offsets"]), file["bag_labels"]
    model = make_pipeline(
        InstanceTransformer(StandardScaler()), AttentionMILClassifier(max_iter=40, random_state=0)
    )
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    decision = cross_val_predict(model, X, y, cv=cv, method="decision_function")
    aucs = [roc_auc_score(y[test], decision[test]) for _, test in cv.split(y, y)]
    assert np.mean(aucs) > 0.8
