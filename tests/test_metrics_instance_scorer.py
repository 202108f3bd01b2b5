"""make_instance_scorer."""

import pickle
from functools import partial

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import MISVM, BagArray, InstanceTransformer
from milkit.base import BagsToBagsMixin, split_by_bag
from milkit.inspection import attention_weights, score_instances
from milkit.metrics import (
    instance_average_precision_score,
    instance_roc_auc_score,
    key_instance_hit_rate,
    make_instance_scorer,
)

FUNCTIONS = {
    "roc_auc": instance_roc_auc_score,
    "average_precision": instance_average_precision_score,
    "hit_rate": key_instance_hit_rate,
}


def make_bags(n_bags=24, n_classes=2, seed=0):
    """Witnesses of class k lie along axis k; one instance in seven is not annotated."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % n_classes
    sizes = rng.integers(3, 8, n_bags)
    kind = np.concatenate([np.where(np.arange(n) < 2, k, 0) for n, k in zip(sizes, y, strict=True)])
    instances = rng.normal(size=(len(kind), n_classes)) + 1.5 * np.eye(n_classes)[kind]
    label = np.where(rng.random(len(kind)) < 1 / 7, -1, kind)
    offsets = np.r_[0, np.cumsum(sizes)]
    names = [f"slide{i}" for i in range(n_bags)]
    data = {"label": label, "digit": np.where(label == -1, -1, 9 - kind)}
    return BagArray(instances, offsets, names=names, instance_data=data), y


def scaled_svm(**params):
    return make_pipeline(InstanceTransformer(StandardScaler()), MISVM(**params))


class Fixed(ClassifierMixin, BaseEstimator):
    """Gives the instances themselves as evidence and as attention."""

    def __init__(self, labels=None):
        self.labels = labels

    def fit(self, X, y=None):
        if self.labels is not None:
            self.classes_ = np.array(self.labels)
        self.fitted_ = True
        return self

    def score_instances(self, X):
        assert isinstance(X, BagArray)
        self.instance_data_ = set(X.instance_data)
        values = X.flat()[0]
        return split_by_bag(values[:, 0] if values.shape[1] == 1 else values, X)

    attention_weights = score_instances


class KeepLargest(BagsToBagsMixin, BaseEstimator):
    """Keeps the larger half of the instances of each bag, by the first feature."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X.select_instances([bag[:, 0] >= np.median(bag[:, 0]) for bag in X])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "arguments", [{}, {"labels": "digit", "pos_label": [8]}, {"labels": "digit", "pos_label": 9}]
)
def test_cross_validation_is_the_score_by_hand(name, arguments):
    X, y = make_bags()
    cv = StratifiedKFold(3)
    scorer = make_instance_scorer(name, **arguments)
    scores = cross_val_score(scaled_svm(), X, y, cv=cv, scoring=scorer)
    pos_label = arguments.get("pos_label", 1)
    expected = []
    for train, test in cv.split(np.zeros(len(X)), y):
        evidence = score_instances(scaled_svm().fit(X[train], y[train]), X[test])
        truth = split_by_bag(X[test].instance_data[arguments.get("labels", "label")], X[test])
        expected.append(FUNCTIONS[name](truth, evidence, pos_label=pos_label))
    np.testing.assert_allclose(scores, expected)
    assert len(set(expected)) > 1


def test_arguments_of_the_score_are_passed_on():
    X, y = make_bags()
    model = scaled_svm().fit(X, y)
    truth, evidence = split_by_bag(X.instance_data["label"], X), score_instances(model, X)
    pooled = instance_roc_auc_score(truth, evidence, average="pooled")
    assert make_instance_scorer("roc_auc", average="pooled")(model, X) == pooled
    assert make_instance_scorer(partial(instance_roc_auc_score, average="pooled"))(model, X) == (
        pooled
    )
    assert pooled != make_instance_scorer(instance_roc_auc_score)(model, X, y)
    rates = [make_instance_scorer("hit_rate", k=k)(model, X) for k in (1, 2, 9)]
    assert rates == [key_instance_hit_rate(truth, evidence, k=k) for k in (1, 2, 9)]
    assert rates[0] < rates[2] == 1


def test_a_callable_gets_lists():
    X, y = make_bags()
    model = scaled_svm().fit(X, y)
    seen = []

    def keep(y_true, y_score, scale):
        seen.append((y_true, y_score))
        return np.float64(scale)

    score = make_instance_scorer(keep, labels="digit", scale=3)(model, X)
    assert (score, type(score)) == (3.0, float)
    ((y_true, y_score),) = seen
    np.testing.assert_array_equal(np.concatenate(y_true), X.instance_data["digit"])
    assert [len(part) for part in y_score] == X.sizes.tolist()
    assert [len(part) for part in y_true] == X.sizes.tolist()


def test_a_callable_gets_pos_label_if_it_takes_it():
    X = make_bags()[0]
    model = Fixed().fit(X)

    def positives(y_true, y_score, pos_label):
        return np.sum(np.concatenate(y_true) == pos_label)

    for pos_label in (0, 1):
        expected = np.sum(X.instance_data["label"] == pos_label)
        bags = X.map(lambda A: A[:, :1])
        assert make_instance_scorer(positives, pos_label=pos_label)(model, bags) == expected
        # What is bound already stays as it is.
        assert make_instance_scorer(partial(positives, pos_label=pos_label))(model, bags) == (
            expected
        )
    for score_func in (partial(positives, pos_label=0), len):
        with pytest.raises(TypeError, match="does not take pos_label"):
            make_instance_scorer(score_func, pos_label=0)


@pytest.mark.parametrize("routing", [False, True])
def test_search_over_a_pipeline(routing):
    X, y = make_bags()
    scorer = make_instance_scorer("roc_auc")
    scoring = {"instances": scorer, "bags": "accuracy"}
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            scaled_svm(),
            {"misvm__C": [0.01, 10.0], "misvm__kernel": ["linear", "rbf"]},
            scoring=scoring,
            refit="instances",
            cv=3,
            error_score="raise",
        )
        result = cross_validate(clone(search), X, y, cv=2, scoring=scoring, error_score="raise")
        search.fit(X, y)
    assert np.isfinite(result["test_instances"]).all()
    assert len(set(search.cv_results_["mean_test_instances"])) > 1
    for i, params in enumerate(search.cv_results_["params"]):
        scores = cross_val_score(scaled_svm().set_params(**params), X, y, cv=3, scoring=scorer)
        assert search.cv_results_["mean_test_instances"][i] == pytest.approx(scores.mean())
    assert scorer(search, X) == scorer(search.best_estimator_, X)


# From 1.9 on scikit-learn says that the scorer does not use them, which is so.
@pytest.mark.filterwarnings("ignore:The scoring .* does not support sample_weight:UserWarning")
def test_a_search_with_sample_weights():
    X, y = make_bags()
    scorer = make_instance_scorer("roc_auc")
    assert not scorer._accept_sample_weight()
    search = GridSearchCV(MISVM(), {"C": [1.0]}, scoring=scorer, cv=2)
    search.fit(X, y, sample_weight=np.ones(len(X)))
    assert 0.5 < search.best_score_ <= 1


def test_dropped_instances_rank_last():
    X, y = make_bags()
    X = X.map(lambda A: A[:, :1])
    model = make_pipeline(KeepLargest(), Fixed([0, 1])).fit(X, y)
    values = [np.where(bag[:, 0] >= np.median(bag), bag[:, 0], -1e9) for bag in X]
    truth = split_by_bag(X.instance_data["label"], X)
    expected = instance_roc_auc_score(truth, values)
    assert make_instance_scorer("roc_auc")(model, X) == expected
    assert expected != make_instance_scorer("roc_auc")(model[-1], X)
    last = [np.where(bag[:, 0] >= np.median(bag), -bag[:, 0], -1e9) for bag in X]
    assert make_instance_scorer("roc_auc", class_label=0)(model, X) == (
        instance_roc_auc_score(truth, last)
    )


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 7]])
def test_class_of_two(labels):
    X, y = make_bags()
    model = scaled_svm().fit(X, np.array(labels)[y])
    truth, evidence = split_by_bag(X.instance_data["label"], X), score_instances(model, X)
    default = make_instance_scorer("hit_rate")(model, X)
    assert default == make_instance_scorer("hit_rate", class_label=labels[1])(model, X)
    assert default == key_instance_hit_rate(truth, evidence)
    negated = make_instance_scorer("hit_rate", class_label=labels[0])(model, X)
    assert negated == key_instance_hit_rate(truth, [-values for values in evidence])
    assert negated != default


def test_class_of_several():
    X, y = make_bags(n_bags=30, n_classes=3)
    model = scaled_svm().fit(X, np.array(["a", "b", "c"])[y])
    truth, evidence = split_by_bag(X.instance_data["label"], X), score_instances(model, X)
    for column, name in [(1, "b"), (2, "c")]:
        scorer = make_instance_scorer("roc_auc", class_label=name, pos_label=column)
        of_class = [values[:, column] for values in evidence]
        assert scorer(model, X) == instance_roc_auc_score(truth, of_class, pos_label=column)
    with pytest.raises(ValueError, match=r"\['a', 'b', 'c'\] has its own evidence.*class_label="):
        make_instance_scorer("roc_auc")(model, X)
    with pytest.raises(ValueError, match=r"class_label='d' is not among .*\['a', 'b', 'c'\]"):
        make_instance_scorer("roc_auc", class_label="d")(model, X)


def test_two_columns_of_evidence():
    X, y = make_bags()
    model = Fixed([0, 1]).fit(X, y)
    truth, columns = split_by_bag(X.instance_data["label"], X), X.flat()[0].T
    expected = [instance_roc_auc_score(truth, split_by_bag(column, X)) for column in columns]
    assert make_instance_scorer("roc_auc")(model, X) == expected[1]
    assert make_instance_scorer("roc_auc", class_label=0)(model, X) == expected[0] != expected[1]


def test_evidence_that_is_of_no_known_class():
    X, y = make_bags()
    scorer, of_a_class = (
        make_instance_scorer("roc_auc"),
        make_instance_scorer("roc_auc", class_label=1),
    )
    for labels in (None, [0, 1, 2]):
        with pytest.raises(ValueError, match=r"Bag 0 has shape \(\d, 2\), but the estimator has"):
            scorer(Fixed(labels).fit(X, y), X)
    one_column = X.map(lambda A: A[:, :1])
    truth = split_by_bag(X.instance_data["label"], X)
    expected = instance_roc_auc_score(truth, split_by_bag(X.flat()[0][:, 0], X))
    for labels in (None, [0, 1, 2]):
        assert scorer(Fixed(labels).fit(X, y), one_column) == expected
    with pytest.raises(ValueError, match=r"class_label=1 is not among .*, \[\]"):
        of_a_class(Fixed().fit(X, y), one_column)
    with pytest.raises(ValueError, match="not known which of them"):
        of_a_class(Fixed([0, 1, 2]).fit(X, y), one_column)


@pytest.mark.parametrize("n_heads", [1, 3])
def test_attention(n_heads):
    from milkit import AttentionMILClassifier

    X, y = make_bags()
    model = make_pipeline(
        InstanceTransformer(StandardScaler()),
        AttentionMILClassifier(n_heads=n_heads, max_iter=3, random_state=0),
    ).fit(X, y)
    weights = attention_weights(model, X)
    assert weights[0].ndim == 1 + (n_heads > 1)
    weights = [part.reshape(len(part), -1).mean(axis=1) for part in weights]
    truth = split_by_bag(X.instance_data["label"], X)
    scorer = make_instance_scorer("average_precision", response_method="attention_weights")
    assert scorer(model, X) == instance_average_precision_score(truth, weights)

    def total(y_true, y_score):
        return np.sum(np.concatenate(y_score))

    of_attention = make_instance_scorer(total, response_method="attention_weights")(model, X)
    assert of_attention == pytest.approx(len(X), rel=1e-5)
    assert make_instance_scorer(total)(model, X) != pytest.approx(len(X), rel=1e-2)


@pytest.mark.parametrize(
    "score_func", ["roc_auc", instance_roc_auc_score, lambda y_true, y_score, average: 1.0]
)
def test_attention_is_never_pooled(score_func):
    method = {"response_method": "attention_weights"}
    with pytest.raises(ValueError, match="attention is never compared across bags"):
        make_instance_scorer(score_func, average="pooled", **method)
    with pytest.raises(ValueError, match="attention is never compared across bags"):
        make_instance_scorer(partial(instance_roc_auc_score, average="pooled"), **method)
    make_instance_scorer(score_func, average="macro", **method)
    with pytest.raises(ValueError, match="Attention weights are not those of a class"):
        make_instance_scorer("roc_auc", class_label=1, **method)


def test_the_estimator_does_not_see_the_labels():
    X, y = make_bags()
    model = Fixed([0, 1]).fit(X, y)
    make_instance_scorer("roc_auc")(model, X)
    assert {"digit"} <= model.instance_data_
    assert "label" not in model.instance_data_


def test_a_fold_without_positive_instances():
    X, y = make_bags()
    model = scaled_svm().fit(X, y)
    with pytest.warns(UndefinedMetricWarning, match="no bag has"):
        assert np.isnan(make_instance_scorer("roc_auc")(model, X[y == 0]))


def test_it_pickles_and_shows_itself():
    X, y = make_bags()
    model = scaled_svm().fit(X, y)
    scorer = make_instance_scorer(
        instance_roc_auc_score, labels="digit", pos_label=[8], class_label=1, average="pooled"
    )
    assert repr(scorer) == (
        "make_instance_scorer(instance_roc_auc_score, response_method='score_instances', "
        "labels='digit', pos_label=[8], class_label=1, average='pooled')"
    )
    plain = make_instance_scorer("hit_rate", k=3)
    assert repr(plain) == (
        "make_instance_scorer('hit_rate', response_method='score_instances', k=3)"
    )
    for made in (scorer, plain):
        assert pickle.loads(pickle.dumps(made))(model, X, y) == made(model, X, y)


def test_errors_when_scoring():
    X, y = make_bags()
    model = scaled_svm().fit(X, y)
    scorer = make_instance_scorer("roc_auc")
    with pytest.raises(TypeError, match=r"Got list instead.*instance_data=\{'label': labels\}"):
        scorer(model, X.to_list())
    with pytest.raises(ValueError, match=r"no 'cell'; it has \['digit', 'label'\].*with_columns"):
        make_instance_scorer("roc_auc", labels="cell")(model, X)
    missing = X.instance_data["label"].astype(float)
    missing[X.offsets[4] + 1] = np.nan
    with pytest.raises(ValueError, match=r"Bag 1 \('slide4'\) has a missing label.*instance 1"):
        scorer(model, X.with_columns(instance_data={"label": missing})[3:])
    boxes = X.with_columns(instance_data={"label": np.zeros((X.n_instances, 4))})
    with pytest.raises(ValueError, match=r"Bag 0 \('slide0'\) has labels of shape \(\d, 4\)"):
        scorer(model, boxes)
    with pytest.raises(TypeError, match="StandardScaler has no score_instances"):
        scorer(StandardScaler().fit(np.eye(2)), X)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"score_func": "auc"}, ValueError, r"Unknown metric 'auc'.*\['roc_auc', 'average_prec"),
        ({"score_func": roc_auc_score, "pos_label": 9}, TypeError, "does not take pos_label"),
        ({"score_func": 3}, TypeError, "name or a callable"),
        ({"response_method": "predict"}, ValueError, "response_method must be one of"),
        ({"pos_label": -1}, ValueError, "not annotated"),
        ({"k": 3}, TypeError, "instance_roc_auc_score has no parameter 'k'"),
        ({"average": "micro"}, ValueError, "average must be one of"),
        ({"average": None}, ValueError, "gives one number"),
        ({"score_func": "hit_rate", "k": 0}, ValueError, "k must be an integer"),
        ({"score_func": "hit_rate", "average": "macro"}, TypeError, "no parameter 'average'"),
    ],
)
def test_errors_when_it_is_made(arguments, error, match):
    with pytest.raises(error, match=match):
        make_instance_scorer(**{"score_func": "roc_auc", **arguments})
