"""InstanceTransformer against the transformer on the concatenated instances."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectFdr, SelectFpr, SelectFwe, SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from milkit import BagArray, BagStatistics, InstanceTransformer, SetKernel
from milkit.exceptions import BagShapeError


def make_bags(sizes=(3, 1, 8, 2), n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, n_features)) * 2 + 5 + rng.normal() for n in sizes]


def assert_bags_equal(got, expected, **tolerance):
    assert isinstance(got, BagArray)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize(
    "transformer",
    [StandardScaler(), MinMaxScaler(), PCA(2), make_pipeline(StandardScaler(), PCA(2))],
)
def test_transformer_on_all_instances(transformer):
    bags, new = make_bags(), make_bags(seed=1)
    model = InstanceTransformer(transformer).fit(bags)
    reference = transformer.fit(np.concatenate(bags))
    assert model.transformer_ is not transformer
    assert_bags_equal(model.transform(bags), [reference.transform(bag) for bag in bags])
    assert_bags_equal(model.transform(new), [reference.transform(bag) for bag in new])
    back = model.inverse_transform(model.transform(new))
    assert_bags_equal(back, [reference.inverse_transform(reference.transform(b)) for b in new])


def test_all_bags_weigh_the_same():
    bags = make_bags()
    model = InstanceTransformer(StandardScaler(), weight="bag").fit(bags)
    means = np.mean([bag.mean(axis=0) for bag in bags], axis=0)
    np.testing.assert_allclose(model.transformer_.mean_, means)
    variance = np.mean([((bag - means) ** 2).mean(axis=0) for bag in bags], axis=0)
    np.testing.assert_allclose(model.transformer_.var_, variance)
    # The same as repeating each bag up to one common size.
    repeated = [np.repeat(bag, 24 // len(bag), axis=0) for bag in bags]
    reference = InstanceTransformer(StandardScaler()).fit(repeated)
    np.testing.assert_allclose(model.transformer_.scale_, reference.transformer_.scale_)


@pytest.mark.parametrize("weight", ["instance", "bag"])
def test_sample_weight_counts_bags(weight):
    bags, times = make_bags(), [2, 1, 3, 1]
    model = InstanceTransformer(StandardScaler(), weight=weight)
    model.fit(bags, sample_weight=times)
    repeated = [bag for bag, n in zip(bags, times, strict=True) for _ in range(n)]
    reference = InstanceTransformer(StandardScaler(), weight=weight).fit(repeated)
    np.testing.assert_allclose(model.transformer_.mean_, reference.transformer_.mean_)
    np.testing.assert_allclose(model.transformer_.scale_, reference.transformer_.scale_)


@pytest.mark.parametrize("transformer", [PCA(2), make_pipeline(StandardScaler())])
def test_weights_that_the_transformer_cannot_take(transformer):
    bags, name = make_bags(), type(transformer).__name__
    with pytest.raises(ValueError, match=f"{name}.fit takes no sample_weight"):
        InstanceTransformer(transformer, weight="bag").fit(bags)
    with pytest.raises(ValueError, match="bags cannot be weighted"):
        InstanceTransformer(transformer).fit(bags, sample_weight=np.ones(4))
    with pytest.raises(ValueError, match="sample_weight"):
        InstanceTransformer(StandardScaler()).fit(bags, sample_weight=np.ones(14))


def test_missing_values_pass_where_the_transformer_takes_them():
    bags = make_bags()
    bags[2][4, 1] = np.nan
    flat = np.concatenate(bags)
    for transformer in (SimpleImputer(), StandardScaler()):
        got = InstanceTransformer(transformer).fit_transform(bags)
        np.testing.assert_allclose(got.flat()[0], transformer.fit_transform(flat))
    with pytest.raises(ValueError, match="Bag 2 has NaN in instance 4"):
        InstanceTransformer(PCA(2)).fit(bags)
    # A pipeline takes what its first step takes.
    for steps in ([SimpleImputer(), PCA(2)], ["passthrough", make_pipeline(SimpleImputer())]):
        model = InstanceTransformer(make_pipeline(*steps))
        assert np.isfinite(model.fit_transform(bags).flat()[0]).all()


def test_tensors():
    rng = np.random.default_rng(0)
    bags = [rng.integers(0, 255, size=(n, 3, 4, 4)).astype(np.uint8) for n in (2, 1, 3)]
    with pytest.raises(BagShapeError, match="Flatten them with InstanceTransformer"):
        InstanceTransformer(StandardScaler()).fit(bags)
    model = InstanceTransformer(StandardScaler(), flatten=True).fit(bags)
    assert model.instance_shape_ == (3, 4, 4)
    got = model.transform(bags)
    flat = np.concatenate(bags).reshape(6, 48)
    np.testing.assert_allclose(got.flat()[0], StandardScaler().fit_transform(flat), atol=1e-12)
    back = model.inverse_transform(got)
    assert back.instance_shape == (3, 4, 4)
    assert_bags_equal(back, bags, atol=1e-9)
    with pytest.raises(ValueError, match=r"instances of shape \(3, 4, 4\)"):
        model.transform([bag.transpose(0, 2, 1, 3) for bag in bags])
    vectors = make_bags()
    assert_bags_equal(
        InstanceTransformer(StandardScaler(), flatten=True).fit_transform(vectors),
        InstanceTransformer(StandardScaler()).fit_transform(vectors),
    )


def test_sparse_output():
    bags = [np.array([[0.0], [1.0]]), np.array([[2.0]])]
    model = InstanceTransformer(OneHotEncoder()).fit(bags)
    with pytest.raises(TypeError, match="OneHotEncoder gave a sparse matrix; bags are dense"):
        model.transform(bags)
    dense = InstanceTransformer(OneHotEncoder(sparse_output=False)).fit_transform(bags)
    assert_bags_equal(dense, [np.eye(3)[:2], np.eye(3)[2:]])


def named_bags():
    bags = make_bags()
    return BagArray.from_list(
        bags,
        names=list("abcd"),
        groups=[1, 1, 2, 2],
        covariates={"age": [50, 60, 70, 80]},
        instance_data={"row": np.arange(14)},
        feature_names=["u", "v", "w"],
    )


def test_columns_are_kept():
    X = named_bags()
    for view in (X, X[[3, 0]]):
        got = InstanceTransformer(StandardScaler()).fit(X).transform(view)
        np.testing.assert_array_equal(got.names, view.names)
        np.testing.assert_array_equal(got.groups, view.groups)
        assert got.covariates["age"].tolist() == view.covariates["age"].tolist()
        np.testing.assert_array_equal(got.instance_data["row"], view.instance_data["row"])
        assert got.feature_names.tolist() == ["u", "v", "w"]


def test_feature_names():
    X = named_bags()
    pca = InstanceTransformer(PCA(2))
    assert pca.fit_transform(X).feature_names.tolist() == ["pca0", "pca1"]
    assert pca.inverse_transform(pca.transform(X)).feature_names.tolist() == ["u", "v", "w"]
    assert pca.get_feature_names_out().tolist() == ["pca0", "pca1"]
    scaler = InstanceTransformer(StandardScaler()).fit(make_bags())
    assert scaler.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    assert scaler.transform(make_bags()).feature_names is None
    assert not hasattr(InstanceTransformer(FunctionTransformer(np.abs)), "get_feature_names_out")
    # A pipeline says only when asked that one of its steps knows no names.
    nameless = InstanceTransformer(make_pipeline(FunctionTransformer(np.abs), PCA(2)))
    assert nameless.fit_transform(X).feature_names is None


def test_bags_of_frames_and_frames_out():
    bags = [pd.DataFrame(bag, columns=list("uvw")) for bag in make_bags()]
    model = InstanceTransformer(StandardScaler().set_output(transform="pandas"))
    got = model.fit_transform(bags)
    assert isinstance(got, BagArray)
    assert got.feature_names.tolist() == list("uvw")
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform([bag[["v", "u", "w"]] for bag in bags])


def test_labels_are_handed_on_for_each_instance():
    rng = np.random.default_rng(0)
    y = np.array(["no", "yes"] * 10)
    bags = [rng.normal(size=(rng.integers(1, 5), 4)) for _ in y]
    for bag in bags[1::2]:
        bag[:, 2] += 5
    model = InstanceTransformer(SelectKBest(k=1)).fit(bags, y)
    assert_bags_equal(model.transform(bags), [bag[:, [2]] for bag in bags])
    reference = SelectKBest(k=1).fit(np.concatenate(bags), np.repeat(y, [len(b) for b in bags]))
    np.testing.assert_allclose(model.transformer_.scores_, reference.scores_)
    with pytest.raises(ValueError, match="y has 3 labels, but X has 20 bags"):
        model.fit(bags, y[:3])


def test_tables_stay_tables():
    table = np.random.default_rng(0).normal(size=(10, 3))
    model = InstanceTransformer(StandardScaler())
    got = model.fit_transform(table)
    np.testing.assert_allclose(got, StandardScaler().fit_transform(table))
    np.testing.assert_allclose(model.inverse_transform(got), table)


def test_set_output_leaves_bags_alone():
    bags = make_bags()
    steps = [InstanceTransformer(StandardScaler()), BagStatistics(["mean"])]
    table = make_pipeline(*steps).set_output(transform="pandas").fit_transform(bags)
    assert isinstance(table, pd.DataFrame)
    assert table.shape == (4, 3)
    model = InstanceTransformer(StandardScaler()).set_output(transform="pandas")
    assert isinstance(model.fit_transform(bags), BagArray)


def test_only_the_training_fold_is_seen():
    X = BagArray.from_list(make_bags(sizes=[4] * 12))
    y = np.arange(12) % 2
    model = make_pipeline(
        InstanceTransformer(StandardScaler()), SetKernel(), SVC(kernel="precomputed")
    )
    result = cross_validate(model, X, y, cv=3, return_estimator=True, return_indices=True)
    for fitted, train in zip(result["estimator"], result["indices"]["train"], strict=True):
        scaler = fitted[0].transformer_
        np.testing.assert_allclose(scaler.mean_, np.concatenate(list(X[train])).mean(axis=0))
        assert len(fitted[1].bags_) == len(train)


def test_the_caller_s_bags_are_not_changed():
    bags = make_bags()
    before = [bag.copy() for bag in bags]
    X = BagArray.from_list(bags)
    for transformer in (StandardScaler(copy=False), MinMaxScaler(copy=False)):
        InstanceTransformer(transformer).fit_transform(X)
        assert_bags_equal(X, before)


def test_wrong_parameters():
    with pytest.raises(ValueError, match="The 'transformer' parameter of InstanceTransformer"):
        InstanceTransformer("scaler").fit(make_bags())
    with pytest.raises(ValueError, match="The 'weight' parameter of InstanceTransformer"):
        InstanceTransformer(StandardScaler(), weight="size").fit(make_bags())


@pytest.mark.parametrize("transformer", [SelectFpr(), SelectFdr(), SelectFwe(), TargetEncoder()])
def test_what_takes_instances_for_independent_samples_is_refused(transformer):
    X = [np.arange(6.0).reshape(3, 2) + i for i in range(6)]
    with pytest.raises(ValueError, match="takes instances for independent samples"):
        InstanceTransformer(transformer).fit(X, [0, 1] * 3)


@pytest.mark.parametrize(
    "transformer",
    [
        make_column_transformer((SimpleImputer(), [0]), (SimpleImputer(), [1])),
        make_union(SimpleImputer(), SimpleImputer(strategy="median")),
        make_pipeline("passthrough", SimpleImputer()),
    ],
)
def test_wrappers_of_what_takes_nan_take_nan(transformer):
    X = [np.array([[1.0, np.nan], [2.0, 3.0]]), np.array([[np.nan, 5.0]])]
    Xt = InstanceTransformer(transformer).fit_transform(X)
    assert np.isfinite(Xt.flat()[0]).all()


def test_wrappers_of_what_takes_no_nan_take_none():
    X = [np.array([[1.0, np.nan], [2.0, 3.0]])]
    with pytest.raises(ValueError, match="Bag 0 has NaN in instance 0"):
        InstanceTransformer(make_union(SimpleImputer(), PCA(1))).fit(X)
