"""Covariates in attention networks: from the table to the prediction."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer
from milkit.inspection import attention_weights, score_instances
from milkit.model_selection import GroupedSplit
from milkit.neural import AttentionMILRegressor

from .neural_helpers import experts_by_hand, head_by_hand, numbers

N_BAGS = 40
SMALL = {
    "hidden_layer_sizes": (6,),
    "attention_dim": 4,
    "branch_layer_sizes": (5,),
    "learning_rate_init": 1e-2,
    "max_iter": 3,
    "random_state": 0,
}
KINDS = {
    "concat": {"covariates": "concat"},
    "linear": {"covariates": "concat", "branch_layer_sizes": ()},
    "layers": {"covariates": "concat", "branch_layer_sizes": (), "head_layer_sizes": (7, 5)},
    "mixture": {"covariates": "mixture"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
both_modes = pytest.mark.parametrize("mode", ["concat", "mixture"])
both_classes = pytest.mark.parametrize("cls", [AttentionMILClassifier, AttentionMILRegressor])


def small(mode="concat", cls=AttentionMILClassifier, **changed):
    return cls(**{**SMALL, **KINDS[mode], **changed})


def make_table(n_bags=N_BAGS, seed=0):
    """Numbers, numbers with missing values, and a category with missing values."""
    rng = np.random.default_rng(seed)
    count = np.exp(rng.normal(2, 0.5, n_bags))
    count[rng.choice(n_bags, 5, replace=False)] = np.nan
    sex = rng.choice(["f", "m"], n_bags).astype(object)
    sex[rng.choice(n_bags, 3, replace=False)] = None
    return pd.DataFrame({"age": rng.normal(60, 10, n_bags), "sex": sex, "count": count})


def make_cohort(n_bags=N_BAGS, n_classes=2, seed=0):
    """Bags of two patients each, whose first feature is larger by the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % n_classes
    bags = [rng.normal(size=(rng.integers(1, 6), 3)) + [label, 0, 0] for label in y]
    return BagArray.from_list(
        bags, covariates=make_table(n_bags, seed), groups=np.arange(n_bags) // 2
    ), y


def with_covariate(X, **changed):
    return X.with_columns(covariates=X.covariates.assign(**changed))


def standardised_by_hand(table, fitted_on):
    """The network's columns: numbers, one for each category, then what was missing."""

    def columns(some):
        filled = [some[name].fillna(fitted_on[name].median()) for name in ("age", "count")]
        sex = some["sex"].fillna("missing")
        return np.column_stack(
            [*filled, *(sex == value for value in ("f", "m", "missing")), some["count"].isna()]
        ).astype(float)

    own = columns(fitted_on)
    return (columns(table) - own.mean(axis=0)) / own.std(axis=0)


def outputs(model, X):
    return (model.decision_function if hasattr(model, "classes_") else model.predict)(X)


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


@pytest.fixture(scope="module", params=KINDS)
def fitted(request, cohort):
    """Not to be changed."""
    return small(request.param).fit(*cohort)


# -- what they are good for -------------------------------------------------------------------


def decided_by(what, n_bags, seed):
    """Bags and covariates, of which one decides and the other is noise."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_bags) % 2)
    bags = [rng.normal(size=(rng.integers(3, 8), 3)) for _ in y]
    table = pd.DataFrame(rng.normal(size=(n_bags, 2)), columns=["marker", "noise"])
    sign = 2 * y - 1
    if what == "covariates":
        table["marker"] += 2.4 * sign
    else:
        bags = [bag + [1.6 * s, 0, 0] for bag, s in zip(bags, sign, strict=True)]
    return BagArray.from_list(bags, covariates=table), y


@pytest.mark.parametrize("what", ["covariates", "bags"])
def test_the_half_that_decides_is_found_and_trusted(what):
    train, (X_new, y_new) = decided_by(what, 80, 0), decided_by(what, 200, 1)
    options = {"max_iter": 25, "branch_layer_sizes": (8,)}
    concat, mixture, blind = (
        small(mode, **{**options, **changed}).fit(*train)
        for mode, changed in (("concat", {}), ("mixture", {}), ("concat", {"covariates": None}))
    )
    for model in (concat, mixture):
        assert roc_auc_score(y_new, model.decision_function(X_new)) > 0.95
    assert (roc_auc_score(y_new, blind.decision_function(X_new)) > 0.9) == (what == "bags")
    of_bags, of_covariates = mixture.expert_weights(X_new).mean(axis=0)
    assert (of_bags > of_covariates + 0.5) == (what == "bags")
    assert (of_covariates > of_bags + 0.5) == (what == "covariates")


@both_modes
def test_a_regressor_learns_from_both(mode):
    def make(n_bags, seed):
        rng = np.random.default_rng(seed)
        bags = [rng.normal(size=(5, 2)) + rng.normal(size=2) for _ in range(n_bags)]
        age = rng.normal(60, 10, n_bags)
        y = 100 + 5 * np.array([bag[:, 0].mean() for bag in bags]) + 0.5 * age
        return BagArray.from_list(bags, covariates=pd.DataFrame({"age": age})), y

    X, y = make(120, 0)
    model = small(mode, AttentionMILRegressor, max_iter=60, dropout=0.0).fit(X, y)
    blind = clone(model).set_params(covariates=None).fit(X, y)
    X_new, y_new = make(100, 1)
    scores = [r2_score(y_new, m.predict(X_new)) for m in (model, blind)]
    assert scores[0] > scores[1] + 0.15
    assert scores[0] > 0.6


# -- by hand ----------------------------------------------------------------------------------


def members_by_hand(model, X, columns):
    """Outputs (n_members, n_bags, n_outputs) of the head in numpy, from the embeddings."""
    head = model.network_.head
    embeddings = np.split(model.transform(X), head.n_members, axis=1)
    return np.array([head_by_hand(head, z, columns, e) for e, z in enumerate(embeddings)])


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("n_classes", [2, 3])
@every_kind
def test_logits_by_hand(kind, n_classes, n_estimators):
    X, y = make_cohort(n_classes=n_classes)
    model = small(kind, n_estimators=n_estimators).fit(X, y)
    columns = standardised_by_hand(X.covariates, X.covariates)
    expected = members_by_hand(model, X, columns).mean(axis=0)
    expected = expected[:, 0] if n_classes == 2 else expected
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-4)


@every_kind
def test_numbers_by_hand(kind, cohort):
    X, _ = cohort
    y = X.covariates["age"].to_numpy() + np.array([bag[:, 0].mean() for bag in X])
    model = small(kind, AttentionMILRegressor, n_estimators=2).fit(X, y)
    columns = standardised_by_hand(X.covariates, X.covariates)
    if kind == "mixture":
        embeddings = np.split(model.transform(X), 2, axis=1)
        parts = [
            experts_by_hand(model.network_.head, z, columns, e) for e, z in enumerate(embeddings)
        ]
        members = np.array([share * a + (1 - share) * b for a, b, share in parts])
    else:
        members = members_by_hand(model, X, columns)
    expected = members.mean(axis=0)[:, 0] * y.std() + y.mean()
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-4)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_expert_weights_by_hand(n_classes, n_estimators):
    """They are the π of p = π p₁ + (1 − π) p₂."""
    X, y = make_cohort(n_classes=n_classes)
    model = small("mixture", n_estimators=n_estimators, max_iter=10).fit(X, y)
    columns = standardised_by_hand(X.covariates, X.covariates)
    embeddings = np.split(model.transform(X), n_estimators, axis=1)
    parts = [experts_by_hand(model.network_.head, z, columns, e) for e, z in enumerate(embeddings)]
    weights = model.expert_weights(X)
    assert weights.shape == (len(X), 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    expected = np.mean([share for *_, share in parts], axis=0)[:, 0]
    np.testing.assert_allclose(weights[:, 0], expected, rtol=1e-4)
    assert np.ptp(expected) > 1e-3
    for (first, second, share), got in zip(parts, model.predict_proba_members(X), strict=True):
        if n_classes == 2:
            mixed = share * expit(first) + (1 - share) * expit(second)
            np.testing.assert_allclose(got[:, [1]], mixed, rtol=1e-3)
        else:
            mixed = share * softmax(first, axis=1) + (1 - share) * softmax(second, axis=1)
            np.testing.assert_allclose(got, mixed, rtol=1e-3)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_evidence_is_additive_in_front_of_a_linear_head(n_estimators, cohort):
    X, y = cohort
    model = small("linear", n_estimators=n_estimators).fit(X, y)
    columns = standardised_by_hand(X.covariates, X.covariates)
    rest = []
    for e in range(n_estimators):
        p = numbers(model.network_.head, e)
        rest.append(columns @ p["weight"][-columns.shape[1] :, 0] + p["bias"][0])
    means = np.array([evidence.mean() for evidence in model.score_instances(X)])
    np.testing.assert_allclose(
        means + np.mean(rest, axis=0), model.decision_function(X), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("pooling", ["attention", "mean", "max", "mean_std"])
@pytest.mark.parametrize("kind", ["concat", "layers", "mixture"])
def test_evidence_is_what_the_logit_loses_without_the_instance(kind, pooling, cohort):
    X, y = cohort
    model = small(kind, pooling=pooling, n_estimators=2).fit(X, y)
    logits, evidence = model.decision_function(X), model.score_instances(X)
    for i in np.flatnonzero(X.sizes > 1)[:4]:
        bag = X[i]
        rest = BagArray.from_list(
            [np.delete(bag, k, axis=0) for k in range(len(bag))],
            covariates=X.covariates.iloc[np.full(len(bag), i)],
        )
        expected = logits[i] - model.decision_function(rest)
        np.testing.assert_allclose(evidence[i], expected, rtol=1e-3, atol=1e-5)
    # The only instance of a bag is compared with the embedding 0.
    single = np.flatnonzero(X.sizes == 1)[:3]
    columns = standardised_by_hand(X.covariates, X.covariates)[single]
    head = model.network_.head
    nothing = np.zeros((len(single), model.network_.pooling.width(6)))
    baseline = np.mean([head_by_hand(head, nothing, columns, e)[:, 0] for e in range(2)], axis=0)
    got = np.concatenate([evidence[i] for i in single])
    np.testing.assert_allclose(got, logits[single] - baseline, rtol=1e-3, atol=1e-5)


def test_covariates_do_not_reach_the_embedding(fitted, cohort):
    X, _ = cohort
    moved = with_covariate(X, age=X.covariates["age"] + 30)
    np.testing.assert_array_equal(fitted.transform(moved), fitted.transform(X))
    weights = [np.concatenate(fitted.attention_weights(some)) for some in (X, moved)]
    np.testing.assert_array_equal(*weights)
    assert not np.isclose(fitted.decision_function(moved), fitted.decision_function(X)).any()


# -- their scale ------------------------------------------------------------------------------


@every_kind
def test_the_scale_is_that_of_the_training_bags(kind, cohort):
    """A bag is predicted alone as among others, whatever their covariates are."""
    X, y = cohort
    model = small(kind).fit(X[:30], y[:30])
    columns = standardised_by_hand(X.covariates, X.covariates[:30])
    expected = members_by_hand(model, X, columns)[0, :, 0]
    together = model.decision_function(X)
    np.testing.assert_allclose(together, expected, rtol=1e-3, atol=1e-4)
    alone = [model.decision_function(X[[i]])[0] for i in range(30, 36)]
    np.testing.assert_allclose(alone, together[30:36], rtol=1e-4, atol=1e-5)
    age = X.covariates["age"].where(np.arange(len(X)) < 35, 1e6)
    moved = model.decision_function(with_covariate(X, age=age))
    np.testing.assert_allclose(moved[:35], together[:35], rtol=1e-4, atol=1e-5)


@every_kind
def test_a_bag_of_weight_zero_does_not_count(kind, cohort):
    """Neither in the scale nor in the median, nor by a category of its own."""
    X, y = cohort
    odd = np.arange(len(X)) < 8
    X = with_covariate(
        X,
        age=X.covariates["age"].where(~odd, 1e6),
        count=X.covariates["count"].where(~odd, np.nan),
        sex=X.covariates["sex"].where(~odd, "other"),
    )
    weighted = small(kind).fit(X, y, sample_weight=(~odd).astype(float))
    without = small(kind).fit(X[8:], y[8:])
    np.testing.assert_allclose(
        weighted.decision_function(X[8:]), without.decision_function(X[8:]), rtol=1e-4, atol=1e-6
    )


@every_kind
def test_units_do_not_matter(kind, cohort):
    X, y = cohort
    other = with_covariate(X, age=365 * X.covariates["age"] + 1000)
    np.testing.assert_allclose(
        small(kind).fit(other, y).decision_function(other),
        small(kind).fit(X, y).decision_function(X),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


@both_classes
@both_modes
def test_a_weight_is_a_repetition(mode, cls):
    """Where both halves have the same covariates, so that their scale stays as it is."""
    X, y = make_cohort(24)
    half = X.covariates[:12]
    X = X.with_columns(covariates=pd.concat([half, half], ignore_index=True), groups=None)
    options = {"dropout": 0.0, "batch_size": 100, "max_iter": 6}
    weighted = small(mode, cls, **options).fit(X, y, sample_weight=np.repeat([2.0, 1.0], 12))
    twice = np.r_[0:12, 0:24]
    repeated = small(mode, cls, **options).fit(X[twice], y[twice])
    np.testing.assert_allclose(outputs(weighted, X), outputs(repeated, X), rtol=1e-3, atol=1e-4)


# -- values that are missing or new -----------------------------------------------------------


def test_a_missing_number_is_the_median_and_told(fitted, cohort):
    """Where it was missing in training, too, the network is told; else it is the median."""
    X, _ = cohort
    table = X.covariates
    median = fitted.decision_function(with_covariate(X, age=table["age"].median()))
    missing = fitted.decision_function(with_covariate(X, age=np.nan))
    np.testing.assert_allclose(missing, median, rtol=1e-4, atol=1e-5)
    known = fitted.decision_function(with_covariate(X, count=table["count"].median()))
    missing = fitted.decision_function(with_covariate(X, count=np.nan))
    assert not np.isclose(missing, known).any()


def test_an_unknown_category_is_none_of_the_known(fitted, cohort):
    X, _ = cohort
    with pytest.warns(UserWarning, match="No value of the covariate 'sex'"):
        got = fitted.decision_function(with_covariate(X, sex="x"))
    columns = standardised_by_hand(X.covariates.assign(sex="x"), X.covariates)
    expected = members_by_hand(fitted, X, columns)[0, :, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_columns_are_found_by_name(fitted, cohort):
    X, _ = cohort
    expected = fitted.decision_function(X)
    other = X.covariates[["count", "age", "sex"]].assign(more="x")
    np.testing.assert_array_equal(
        fitted.decision_function(X.with_columns(covariates=other)), expected
    )


@pytest.mark.parametrize("columns", [["age", "sex"], ["sex"], None])
def test_a_lacking_column_is_named(columns, fitted, cohort):
    X, _ = cohort
    table = None if columns is None else X.covariates[columns]
    X = X.with_columns(covariates=table)
    methods = ["predict", "transform", "score_instances"]
    methods += ["expert_weights"] * (fitted.covariates == "mixture")
    for method in methods:
        with pytest.raises(ValueError, match=r"lacks the covariates \[.*'count'\], which were"):
            getattr(fitted, method)(X)


@pytest.mark.parametrize(
    ("values", "message"),
    [(5.0, "are constant, or"), ("a", "are constant, or"), (np.nan, "are all missing"),
     (None, "are all missing")],
)  # fmt: skip
@every_kind
def test_a_column_that_tells_nothing(kind, values, message, cohort):
    """It warns at the caller's line, and does not count, whatever it holds later."""
    X, y = cohort
    dull = with_covariate(X, age=values)
    with pytest.warns(UserWarning, match=rf"The covariates \['age'\] {message}") as caught:
        model = small(kind).fit(dull, y)
    assert [warning.filename for warning in caught] == [__file__]
    expected = model.decision_function(dull)
    assert np.isfinite(expected).all()
    other = "b" if isinstance(values, str) or values is None else 1e6
    for later in (other, None):
        np.testing.assert_allclose(
            model.decision_function(with_covariate(X, age=later)), expected, rtol=1e-6
        )


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinite_covariate_is_named(bad, fitted, cohort):
    X, y = cohort
    broken = with_covariate(X, age=X.covariates["age"].where(np.arange(len(X)) != 7, bad))
    for call in (lambda: clone(fitted).fit(broken, y), lambda: fitted.predict(broken)):
        with pytest.raises(ValueError, match=r"'age' is infinite in bag 7"):
            call()


def test_a_word_among_numbers_is_named(fitted, cohort):
    X, _ = cohort
    with pytest.raises(ValueError, match="'age' held numbers in fit"):
        fitted.predict(with_covariate(X, age="old"))


@both_classes
@both_modes
def test_a_covariate_equal_to_y_is_refused(mode, cls, cohort):
    X, y = cohort
    with pytest.raises(ValueError, match="Covariate 'label' is identical to y"):
        small(mode, cls).fit(with_covariate(X, label=y), y)


# -- without covariates -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@both_classes
@both_modes
def test_without_covariates_the_bags_decide(mode, cls, method, cohort):
    X, y = cohort
    bags = X.with_columns(covariates=None)
    model = small(mode, cls)
    with pytest.warns(UserWarning, match=r"no covariates.*Attach a table") as caught:
        getattr(model, method)(bags, y)
    assert [warning.filename for warning in caught] == [__file__]
    plain = getattr(small(cls=cls, covariates=None), method)(bags, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if method == "partial_fit":
            model.partial_fit(bags, y)
            plain.partial_fit(bags, y)
        np.testing.assert_array_equal(outputs(model, bags), outputs(plain, bags))
        for got, expected in zip(
            model.score_instances(bags), plain.score_instances(bags), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
        if mode == "mixture":
            np.testing.assert_array_equal(
                model.expert_weights(bags), np.tile([1.0, 0.0], (len(bags), 1))
            )


@pytest.mark.parametrize("kind_of_X", ["list", "DataFrame", "2-D array", "no names"])
def test_what_has_no_covariates_warns(kind_of_X, cohort):
    X, y = cohort
    bags = list(X)
    table = np.array([bag[0] for bag in bags])
    frame = pd.DataFrame({"bags": bags, "age": X.covariates["age"]})
    data = {"list": bags, "DataFrame": frame, "2-D array": table, "no names": X}[kind_of_X]
    names = [] if kind_of_X == "no names" else None  # columns that nobody named are not used
    with pytest.warns(UserWarning, match="no covariates") as caught:
        model = small(covariate_columns=names).fit(data, y)
    assert [warning.filename for warning in caught] == [__file__]
    assert len(model.predict(data)) == len(y)


@both_modes
def test_covariates_are_not_looked_at_by_default(mode, cohort):
    X, y = cohort
    plain = small(covariates=None, covariate_columns=["nobody"])
    expected = plain.fit(X.with_columns(covariates=None), y).decision_function(X)
    np.testing.assert_array_equal(plain.fit(X, y).decision_function(X), expected)
    assert not np.isclose(small(mode).fit(X, y).decision_function(X), expected).any()


# -- columns that are named -------------------------------------------------------------------


def frame_of(X):
    return X.covariates.assign(bags=list(X))


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Index])
@both_modes
def test_columns_of_a_data_frame(mode, container, cohort):
    X, y = cohort
    names = ["age", "sex"]
    expected = small(mode).fit(X.with_columns(covariates=X.covariates[names]), y)
    expected = expected.decision_function(X)
    options = {"covariate_columns": container(names)}
    on_bags, on_frame = small(mode, **options).fit(X, y), small(mode, **options).fit(frame_of(X), y)
    for model in (on_bags, on_frame):
        for data in (X, frame_of(X), frame_of(X)[["bags", "sex", "age"]]):
            np.testing.assert_array_equal(model.decision_function(data), expected)
        with pytest.raises(ValueError, match=r"Unknown covariates column 'age'"):
            model.predict(frame_of(X).drop(columns="age"))


def test_a_table_of_instances_with_covariates(cohort):
    """One instance in each bag, and covariates among its columns."""
    X, y = cohort
    features = np.array([bag[0] for bag in X])
    table = pd.DataFrame(features, columns=["a", "b", "c"]).assign(age=X.covariates["age"])
    model = small(covariate_columns=["age"]).fit(table, y)
    bags = BagArray.from_list(list(features[:, None]), covariates=X.covariates[["age"]])
    expected = small().fit(bags, y).decision_function(bags)
    np.testing.assert_allclose(model.decision_function(table), expected, rtol=1e-5)


def test_columns_that_are_not_there(cohort):
    X, y = cohort
    named = small(covariate_columns=["age", "weight"])
    with pytest.raises(ValueError, match=r"'weight'; there are \['age', 'sex', 'count'\]"):
        named.fit(X, y)
    with pytest.raises(ValueError, match=r"'weight'; there are \['age', 'sex', 'count', 'bags'\]"):
        named.fit(frame_of(X), y)
    with pytest.raises(ValueError, match=r"\['age', 'weight'\] are asked for, but X has none"):
        named.fit(X.with_columns(covariates=None), y)
    with pytest.raises(ValueError, match=r"covariate_columns=\['age', 'weight'\].*is a list"):
        named.fit(list(X), y)
    with pytest.raises(ValueError, match="column name twice"):
        small(covariate_columns=["age", "age"]).fit(X, y)
    with pytest.raises(ValueError, match="'covariate_columns' parameter"):
        small(covariate_columns=3).fit(X, y)


@both_modes
def test_a_fitted_model_remembers_what_it_looks_at(mode, cohort):
    X, y = cohort
    model = small(mode, covariate_columns=["age"]).fit(frame_of(X), y)
    expected = model.decision_function(frame_of(X))
    model.set_params(covariate_columns=None)
    np.testing.assert_array_equal(model.decision_function(frame_of(X)), expected)
    model.set_params(covariates=None)
    np.testing.assert_array_equal(model.decision_function(X), expected)


# -- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"level": "instance"}, "Set level='embedding'"),
        ({"covariates": "mixture", "level": "instance"}, "Set level='embedding'"),
        ({"covariates": None, "level": "instance", "head_layer_sizes": (4,)}, "behind the pooling"),
        ({"covariates": "mixture", "head_layer_sizes": (4,)}, "Widen the experts"),
        ({"covariates": "sum"}, "'covariates' parameter"),
        ({"branch_layer_sizes": (5, 0)}, r"branch_layer_sizes must hold positive integers.*\[5, 0"),
        ({"head_layer_sizes": (2.5,)}, "head_layer_sizes must hold positive integers"),
        ({"branch_layer_sizes": (5, 1)}, "branch_layer_sizes ends in 1"),
    ],
)
def test_parameters_that_do_not_go_together(parameters, message, cohort):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(*cohort)


def test_sizes_may_be_arrays(cohort):
    X, y = cohort
    arrays = small(branch_layer_sizes=np.array([5]), head_layer_sizes=[4]).fit(X, y)
    tuples = small(branch_layer_sizes=(5,), head_layer_sizes=(4,)).fit(X, y)
    np.testing.assert_array_equal(arrays.decision_function(X), tuples.decision_function(X))


def test_layers_behind_the_pooling_without_covariates(cohort):
    X, y = cohort
    model = small(covariates=None, head_layer_sizes=(8, 4), n_estimators=2).fit(X, y)
    embeddings = np.split(model.transform(X), 2, axis=1)
    head = model.network_.head
    expected = np.mean([head_by_hand(head, z, None, e) for e, z in enumerate(embeddings)], axis=0)
    np.testing.assert_allclose(model.decision_function(X), expected[:, 0], rtol=1e-3, atol=1e-4)


def test_expert_weights_are_those_of_a_mixture(cohort):
    X, y = cohort
    for mode in ("concat", "linear", "layers"):
        assert not hasattr(small(mode), "expert_weights")
    assert not hasattr(small(covariates=None), "expert_weights")
    with pytest.raises(AttributeError) as caught:
        small().fit(X, y).expert_weights(X)
    assert "has no experts to weigh" in str(caught.value.__cause__ or caught.value)
    model = small("mixture")
    assert hasattr(model, "expert_weights")
    with pytest.raises(NotFittedError):
        model.expert_weights(X)
    weights = model.fit(X, y).expert_weights(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(model.expert_weights(X[order]), weights[order], rtol=1e-5)
    alone = [model.expert_weights(X[[i]])[0] for i in range(4)]
    np.testing.assert_allclose(alone, weights[:4], rtol=1e-5)


@both_classes
@every_kind
def test_clone_pickle_and_parameters(kind, cls, cohort):
    X, y = cohort
    model = small(kind, cls, covariate_columns=["age", "count"], n_estimators=2).fit(X, y)
    again = clone(model)
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(outputs(again.fit(X, y), X), outputs(model, X))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(outputs(loaded, X), outputs(model, X))
    if kind == "mixture":
        np.testing.assert_array_equal(loaded.expert_weights(X), model.expert_weights(X))


@pytest.mark.parametrize(
    ("changed", "width"),
    [({}, 6), ({"n_heads": 3}, 18), ({"n_estimators": 2}, 12), ({"pooling": "mean_std"}, 12)],
)
@every_kind
def test_the_embedding_is_as_wide_as_without_covariates(kind, changed, width, cohort):
    X, y = cohort
    model = small(kind, max_iter=1, **changed).set_output(transform="pandas").fit(X, y)
    table = model.transform(X)
    assert table.shape == (len(X), width)
    assert table.columns.tolist() == [f"attentionmilclassifier{i}" for i in range(width)]


# -- training ---------------------------------------------------------------------------------


@every_kind
def test_warm_start_goes_on(kind, cohort):
    X, y = cohort
    model = small(kind, warm_start=True, tol=None).fit(X, y)
    first = model.decision_function(X)
    model.fit(X[::2], y[::2])  # the scale stays that of the first bags
    columns = standardised_by_hand(X.covariates, X.covariates)
    expected = members_by_hand(model, X, columns)[0, :, 0]
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-4)
    assert not np.isclose(expected, first).any()
    assert model.n_iter_ == 6
    changes = {
        "branch_layer_sizes": (4,),
        "head_layer_sizes": (3,),
        "covariates": None,
        "covariate_columns": ["age"],
    }
    for name, value in changes.items():
        other = pickle.loads(pickle.dumps(model)).set_params(**{name: value})
        if kind == "mixture" and name == "head_layer_sizes":
            continue  # refused in any case
        with pytest.raises(ValueError, match=rf"\['{name}'\] changed since the network was made"):
            other.fit(X, y)
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-4)
    sizes = np.array(model.branch_layer_sizes, dtype=int)
    model.set_params(branch_layer_sizes=sizes).fit(X, y)  # the same sizes, in an array


@both_modes
def test_a_second_fit_that_lacks_a_column(mode, cohort):
    X, y = cohort
    lacking = X.with_columns(covariates=X.covariates[["age", "sex"]])
    for model, method in ((small(mode, warm_start=True), "fit"), (small(mode), "partial_fit")):
        getattr(model, method)(X, y)
        before = model.decision_function(X)
        with pytest.raises(ValueError, match=r"lacks the covariates \['count'\]"):
            getattr(model, method)(lacking, y)
        np.testing.assert_array_equal(model.decision_function(X), before)


@both_modes
def test_partial_fit_keeps_the_scale_of_the_first_bags(mode, cohort):
    X, y = cohort
    model = small(mode).partial_fit(X[:20], y[:20])
    model.partial_fit(X[20:], y[20:]).partial_fit(X[:10], y[:10])
    columns = standardised_by_hand(X.covariates, X.covariates[:20])
    expected = members_by_hand(model, X, columns)[0, :, 0]
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-4)


@every_kind
def test_early_stopping(kind, cohort):
    X, y = cohort
    model = small(
        kind, early_stopping=True, validation_fraction=0.3, max_iter=30, n_iter_no_change=3
    ).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_iter_ == 1 + np.argmax(model.validation_scores_)


@every_kind
def test_bags_in_pieces(kind, cohort):
    X, y = cohort
    options = {"dropout": 0.0, "max_iter": 4}
    whole = small(kind, **options).fit(X, y)
    pieces = small(kind, max_batch_instances=2, **options).fit(X, y)
    np.testing.assert_allclose(
        pieces.decision_function(X), whole.decision_function(X), rtol=1e-3, atol=1e-4
    )
    evidence = [np.concatenate(model.score_instances(X)) for model in (pieces, whole)]
    np.testing.assert_allclose(*evidence, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {"max_instances_per_bag": 2},
        {"auxiliary_decay": 0.5},
        {"precision": "bfloat16"},
        {"class_weight": "balanced"},
        {"n_heads": 2, "pooling": "gated_attention"},
        {"pooling": "mean_std", "hidden_layer_sizes": ()},
    ],
    ids=lambda changed: next(iter(changed)),
)
@both_modes
def test_together_with_other_parameters(mode, changed, cohort):
    X, y = cohort
    model = small(mode, max_iter=40, n_estimators=2, **changed).fit(X, y)
    assert roc_auc_score(y, model.decision_function(X)) > 0.8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, and PyTorch finds none")
@every_kind
def test_cuda_gives_what_the_cpu_gives(kind, cohort):
    X, y = cohort
    model = small(kind, device="cuda", dropout=0.0, max_batch_instances=2).fit(X, y)
    methods = ["decision_function", "transform", *["expert_weights"] * (kind == "mixture")]
    on_gpu = [getattr(model, method)(X) for method in methods]
    evidence = model.score_instances(X)
    model.set_params(device="cpu")
    for method, expected in zip(methods, on_gpu, strict=True):
        np.testing.assert_allclose(getattr(model, method)(X), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        np.concatenate(model.score_instances(X)), np.concatenate(evidence), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        clone(model).fit(X, y).decision_function(X), on_gpu[0], rtol=1e-2, atol=1e-3
    )


# -- scikit-learn's tools ---------------------------------------------------------------------


def test_a_search_chooses_among_them():
    X, y = decided_by("covariates", 60, 0)
    X = X.with_columns(groups=np.arange(60) // 2)
    model = make_pipeline(InstanceTransformer(StandardScaler()), small(max_iter=25))
    grid = {"attentionmilclassifier__covariates": [None, "concat", "mixture"]}
    search = GridSearchCV(
        model, grid, cv=GroupedSplit(GroupKFold(2)), scoring="roc_auc", error_score="raise"
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_["attentionmilclassifier__covariates"] in ("concat", "mixture")
    assert scores[0] < 0.7 < 0.9 < scores[1:].min()
    assert len(search.predict(X)) == len(y)


def test_columns_of_a_data_frame_in_cross_validation(cohort):
    X, y = cohort
    model = small(covariate_columns=["age", "sex"])
    on_frame = cross_val_score(model, frame_of(X), y, cv=3, scoring="roc_auc", error_score="raise")
    on_bags = cross_val_score(model, X, y, cv=3, scoring="roc_auc", error_score="raise")
    np.testing.assert_array_equal(on_frame, on_bags)


@both_modes
def test_evidence_through_a_pipeline(mode, cohort):
    X, y = cohort
    model = make_pipeline(InstanceTransformer(StandardScaler()), small(mode)).fit(X, y)
    scaled = model[:-1].transform(X)
    for through, direct in (
        (score_instances(model, X), model[-1].score_instances(scaled)),
        (attention_weights(model, X), model[-1].attention_weights(scaled)),
    ):
        np.testing.assert_allclose(np.concatenate(through), np.concatenate(direct), rtol=1e-6)
    lacking = X.with_columns(covariates=X.covariates[["age"]])
    with pytest.raises(ValueError, match=r"lacks the covariates \['sex', 'count'\]"):
        score_instances(model, lacking)


def test_evidence_of_a_data_frame(cohort):
    X, y = cohort
    model = small(covariate_columns=["age"]).fit(frame_of(X), y)
    got = score_instances(model, frame_of(X))
    np.testing.assert_array_equal(
        np.concatenate(got), np.concatenate(model.score_instances(frame_of(X)))
    )
