"""Instance data that attention sees beside the embedding."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer
from milkit.neural import AttentionMILRegressor

from .neural_helpers import numbers, weights_by_hand

SMALL = {
    "hidden_layer_sizes": (8,),
    "attention_dim": 6,
    "learning_rate_init": 1e-2,
    "max_iter": 20,
    "random_state": 0,
}


def flagged_bags(n_bags=80, seed=0):
    """In each bag the sign of one feature of one instance is the label; only its flag says which.

    Beside the flag there are a position in two coordinates and a size, in large units.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % 2
    bags, data = [], {"flag": [], "position": [], "size": []}
    for label in y:
        n = rng.integers(2, 9)
        signs = rng.choice([-1.0, 1.0], size=n)
        which = rng.integers(n)
        signs[which] = 2 * label - 1
        bags.append(np.column_stack([2 * signs, rng.normal(size=(n, 2))]))
        data["flag"].append(np.arange(n) == which)
        data["position"].append(rng.normal(1e4, 1e3, size=(n, 2)))
        data["size"].append(rng.integers(100, 900, size=n))
    return BagArray.from_list(bags, instance_data=data), y


NAMES = ["position", "flag", "size"]  # four columns


def small(cls=AttentionMILClassifier, **changed):
    return cls(**{**SMALL, "attention_features": NAMES, **changed})


def with_data(X, **changed):
    """X with other instance data."""
    return X.with_columns(instance_data={**X.instance_data, **changed})


@pytest.fixture(scope="module")
def data():
    return flagged_bags()


@pytest.fixture(scope="module", params=["attention", "gated_attention", "ensemble", "heads"])
def fitted(request, data):
    """Not to be changed."""
    options = {
        "attention": {},
        "gated_attention": {"pooling": "gated_attention"},
        "ensemble": {"n_estimators": 2},
        "heads": {"n_heads": 2},
    }[request.param]
    return small(**options).fit(*data)


# -- what attention makes of them -------------------------------------------------------------


@pytest.mark.parametrize("level", ["embedding", "instance"])
def test_attention_learns_which_instance_counts(level, data):
    X_new, y_new = flagged_bags(200, seed=1)
    seeing = small(level=level, attention_features=["flag"], max_iter=60).fit(*data)
    blind = small(level=level, attention_features=None, max_iter=60).fit(*data)
    scores = [roc_auc_score(y_new, m.decision_function(X_new)) for m in (seeing, blind)]
    assert scores[0] > scores[1] + 0.1
    assert scores[0] > 0.9
    flags = np.split(X_new.instance_data["flag"], np.cumsum(X_new.sizes)[:-1])
    weights = seeing.attention_weights(X_new)
    found = [w.argmax() == flag.argmax() for w, flag in zip(weights, flags, strict=True)]
    assert np.mean(found) > 0.9


def test_weights_and_evidence_by_hand(fitted, data):
    """Attention sees the embedding and the standardised columns; the head only the embedding."""
    X, network = data[0], fitted.network_
    flat, offsets = X.flat()
    table = np.column_stack([X.instance_data[name] for name in NAMES]).astype(float)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    all_weights, all_evidence, decisions = [], [], []
    for e in range(network.n_members):
        p, head = numbers(network.encoder, e), numbers(network.head, e)
        h = np.maximum(flat @ p["layers.0.weight"] + p["layers.0.bias"], 0)
        weights, evidence = [], []
        for a, b in pairwise(offsets):
            seen = np.column_stack([h[a:b], table[a:b]])
            weights.append(weights_by_hand(network.pooling, seen, e))
            blocks = np.split(head["weight"], weights[-1].shape[1])
            evidence.append(
                (b - a) * sum(weights[-1][:, [j]] * (h[a:b] @ w) for j, w in enumerate(blocks))
            )
        all_weights.append(np.concatenate(weights))
        all_evidence.append(np.concatenate(evidence)[:, 0])
        decisions.append([v.mean() + head["bias"][0, 0] for v in evidence])
    got = np.concatenate(fitted.attention_weights(X))
    expected = np.mean(all_weights, axis=0)
    expected = expected[:, 0] if got.ndim == 1 else expected
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        np.concatenate(fitted.score_instances(X)), np.mean(all_evidence, axis=0),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    np.testing.assert_allclose(
        fitted.decision_function(X), np.mean(decisions, axis=0), rtol=1e-3, atol=1e-4
    )


def test_they_move_the_weights_only(fitted, data):
    X = data[0]
    moved = with_data(X, size=X.instance_data["size"][::-1].copy())
    before, after = fitted.attention_weights(X), fitted.attention_weights(moved)
    assert not np.allclose(np.concatenate(before), np.concatenate(after), rtol=1e-3)
    singles = BagArray(
        X.flat()[0], np.arange(X.n_instances + 1), instance_data=dict(X.instance_data)
    )
    other = with_data(singles, size=singles.instance_data["size"] * 7)
    np.testing.assert_array_equal(  # one instance has all the weight, whatever attention sees
        fitted.decision_function(singles), fitted.decision_function(other)
    )


def test_a_regressor_sees_them_too(data):
    X, y = data
    seeing = small(AttentionMILRegressor, attention_features=["flag"], max_iter=60).fit(X, y)
    blind = small(AttentionMILRegressor, attention_features=None, max_iter=60).fit(X, y)
    new = flagged_bags(200, seed=1)
    assert seeing.score(*new) > blind.score(*new) + 0.2


# -- their scale ------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1e-3, 5.0), (-1.0, 0.0)])
def test_units_do_not_matter(scale, shift, data):
    """They are standardised; what is turned around meets other initial weights."""
    X, y = data
    changed = with_data(X, size=scale * X.instance_data["size"] + shift)
    names = {"attention_features": ["size"]}
    plain, moved = small(**names).fit(X, y), small(**names).fit(changed, y)
    same = np.allclose(
        moved.decision_function(changed), plain.decision_function(X), rtol=1e-3, atol=1e-4
    )
    assert same == (scale > 0)


def test_the_scale_is_that_of_the_fit(fitted, data):
    """A bag alone is predicted as among all, and larger sizes are larger."""
    X = data[0]
    together = fitted.decision_function(X)
    alone = [fitted.decision_function(X[[i]])[0] for i in range(6)]
    np.testing.assert_allclose(alone, together[:6], rtol=1e-4, atol=1e-5)
    larger = with_data(X, size=1000 * X.instance_data["size"])
    assert not np.allclose(fitted.decision_function(larger), together, rtol=1e-3)


def test_a_constant_column_does_no_harm(data):
    X, y = data
    constant = with_data(X, size=np.full(X.n_instances, 7))
    model = small(attention_features=["size"]).fit(constant, y)
    assert np.isfinite(model.decision_function(constant)).all()


@pytest.mark.parametrize("n_zero", [1, 40])
def test_a_bag_of_weight_zero_does_not_count_in_the_scale(n_zero, data):
    X, y = data
    weight = np.where(np.arange(len(X)) < n_zero, 0.0, 1.0)
    size = X.instance_data["size"].astype(float)
    size[: X.sizes[:n_zero].sum()] *= 1e4
    X = with_data(X, size=size)
    weighted = small(max_iter=5).fit(X, y, sample_weight=weight)
    without = small(max_iter=5).fit(X[n_zero:], y[n_zero:])
    np.testing.assert_allclose(
        weighted.decision_function(X[n_zero:]), without.decision_function(X[n_zero:]), rtol=1e-5
    )


# -- where they come from ---------------------------------------------------------------------


def test_through_a_pipeline(data):
    """A step from bags to bags carries them along."""
    X, y = data
    model = make_pipeline(InstanceTransformer(StandardScaler()), small()).fit(X, y)
    scaled = InstanceTransformer(StandardScaler()).fit(X).transform(X)
    plain = small().fit(scaled, y)
    np.testing.assert_allclose(
        model.decision_function(X), plain.decision_function(scaled), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("max_batch_instances", [1, 5])
def test_with_bags_in_pieces(max_batch_instances, data):
    X, y = data
    options = {"dropout": 0.0, "max_iter": 4}
    whole = small(**options).fit(X, y)
    pieces = small(max_batch_instances=max_batch_instances, **options).fit(X, y)
    np.testing.assert_allclose(
        pieces.decision_function(X), whole.decision_function(X), rtol=1e-3, atol=1e-4
    )


def test_with_some_instances_only(data):
    """Each instance keeps its own: attention to the flag survives subsampling."""
    X, y = data
    model = small(attention_features=["flag"], max_instances_per_bag=6, max_iter=60).fit(X, y)
    X_new, y_new = flagged_bags(200, seed=1)
    assert roc_auc_score(y_new, model.decision_function(X_new)) > 0.9


def test_with_early_stopping(data):
    X, y = data
    model = small(early_stopping=True, validation_fraction=0.3).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_


def test_pickle(fitted, data):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        again.decision_function(data[0]), fitted.decision_function(data[0])
    )


def test_the_order_of_the_names_and_their_container(data):
    X, y = data
    for names in (tuple(NAMES), np.array(NAMES)):
        model = small(attention_features=names, max_iter=2).fit(X, y)
        np.testing.assert_array_equal(
            model.decision_function(X), small(max_iter=2).fit(X, y).decision_function(X)
        )
    assert model.network_.pooling.V.weight.shape[1] == 8 + 4


# -- errors -----------------------------------------------------------------------------------


def test_missing_data_are_named(fitted, data):
    X, y = data
    message = r"attention_features names 'age', but the bags carry.*'flag', 'position', 'size'"
    with pytest.raises(ValueError, match=message):
        small(attention_features=["size", "age"]).fit(X, y)
    with pytest.raises(ValueError, match=r"names 'position'.*instance_data="):
        small().fit(list(X), y)
    for method in ("predict", "score_instances", "transform", "attention_weights"):
        with pytest.raises(ValueError, match="attention_features names"):
            getattr(fitted, method)(list(X))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_missing_name_their_bag(bad, fitted, data):
    X, y = data
    size = X.instance_data["size"].astype(float)
    size[X.sizes[:5].sum()] = bad  # the first instance of bag 5
    broken = with_data(X, size=size)
    with pytest.raises(
        ValueError, match="Bag 5 has a value in the instance data 'size' that is not finite"
    ):
        small().fit(broken, y)
    with pytest.raises(
        ValueError, match="Bag 5 has a value in the instance data 'size' that is not finite"
    ):
        fitted.predict(broken)
    with pytest.raises(ValueError, match="Bag 2 has a value in the instance data 'size'"):
        fitted.predict(broken[3:])


def test_words_are_refused(data):
    X, y = data
    words = with_data(X, size=np.array(["large"] * X.n_instances))
    with pytest.raises(ValueError, match="names 'size', whose instance data are no numbers"):
        small().fit(words, y)


def test_a_fitted_model_remembers_what_it_looks_at(data):
    X, y = data
    model = small(max_iter=2).fit(X, y)
    expected = model.decision_function(X)
    model.set_params(attention_features=None)
    np.testing.assert_array_equal(model.decision_function(X), expected)


@pytest.mark.parametrize("n_columns", [1, 3])
def test_other_columns_than_in_fit_are_refused(n_columns, data):
    X, y = data
    wide = with_data(X, size=np.ones((X.n_instances, 2)))
    model = small(attention_features=["size"], max_iter=1).fit(wide, y)
    other = with_data(X, size=np.ones((X.n_instances, n_columns)))
    with pytest.raises(ValueError, match=rf"'size' have {n_columns} columns; in fit they had 2"):
        model.predict(other)


def test_no_names_are_no_features(data):
    X, y = data
    none = small(attention_features=None, max_iter=2).fit(X, y)
    empty = small(attention_features=[], max_iter=2).fit(X, y)
    np.testing.assert_array_equal(none.decision_function(X), empty.decision_function(X))
