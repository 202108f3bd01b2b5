"""The mixins of estimators on bags."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from milkit import BagArray
from milkit.base import BagClassifierMixin, BagMixin, BagsToBagsMixin, split_by_bag
from milkit.exceptions import InconsistentMilkitVersionWarning
from milkit.utils.validation import validate_bags


class Centre(BagsToBagsMixin, BagMixin, BaseEstimator):
    """Bags to bags: subtract the mean of all instances."""

    def fit(self, X, y=None):
        flat, _ = validate_bags(self, X, dtype=np.float64).flat()
        self.mean_ = flat.mean(axis=0)
        return self

    def transform(self, X):
        check_is_fitted(self)
        bags = validate_bags(self, X, reset=False, dtype=np.float64)
        flat, _ = bags.flat()
        names = bags.feature_names
        return self._like_input(X, bags.with_instances(flat - self.mean_, feature_names=names))

    def get_feature_names_out(self, input_features=None):
        return np.array([f"x{j}" for j in range(self.n_features_in_)], dtype=object)


class BagLogistic(BagMixin, BagClassifierMixin, BaseEstimator):
    """Logistic regression on bag means."""

    def _means(self, X, y="no_validation", *, reset):
        checked = validate_bags(self, X, y, reset=reset, dtype=np.float64)
        bags, y = checked if reset else (checked, None)
        flat, offsets = bags.flat()
        return np.add.reduceat(flat, offsets[:-1], axis=0) / bags.sizes[:, None], y

    def fit(self, X, y):
        means, y = self._means(X, y, reset=True)
        encoded = self._encode_labels(y)
        self.model_ = LogisticRegression().fit(means, encoded)
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.classes_[self.model_.predict(self._means(X, reset=False)[0])]


@pytest.fixture
def bags():
    rng = np.random.default_rng(0)
    return [rng.normal(loc=9 * (i % 2), size=(n, 3)) for i, n in enumerate([2, 4, 1, 3])]


Y = np.array(["no", "yes", "no", "yes"])


# Not parametrize_with_checks: that of scikit-learn 1.6 gives pytest a generator, which warns.
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for model in (Centre(), BagLogistic()) for pair in estimator_checks_generator(model)],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", repr(value)),
)
def test_scikit_learn_s_own_checks(estimator, check):
    check(estimator)


def test_encode_labels(bags):
    model = BagLogistic()
    assert model._encode_labels(np.array([5, 2, 5])).tolist() == [1, 0, 1]
    assert model.classes_.tolist() == [2, 5]
    assert model._encode_labels(np.array(["c", "a", "b"])).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match=r"only one class, .*BagLogistic needs bags of at least"):
        model._encode_labels(np.ones(3, dtype=int))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model._encode_labels(np.array([0.5, 1.5]))
    assert BagLogistic().fit(bags, Y).predict(bags).tolist() == Y.tolist()


@pytest.mark.parametrize("copier", [clone, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_leave_no_trace(bags, copier):
    model = BagLogistic().fit(bags, Y)
    same = copier(model)
    assert "_milkit_version" not in vars(model)
    assert "_milkit_version" not in vars(same)
    if copier is not clone:
        assert same.predict(bags).tolist() == model.predict(bags).tolist()


@pytest.mark.parametrize("saved", ["0.0.1", None])
def test_another_version_warns(bags, monkeypatch, saved):
    model = BagLogistic().fit(bags, Y)
    if saved is None:  # pickled before versions were stored
        monkeypatch.setattr(BagMixin, "__getstate__", lambda self: dict(vars(self)))
    else:
        monkeypatch.setattr("milkit.base.__version__", saved)
    data = pickle.dumps(model)
    monkeypatch.undo()
    with pytest.warns(InconsistentMilkitVersionWarning, match=f"saved with milkit {saved or 'un'}"):
        same = pickle.loads(data)
    assert same.predict(bags).tolist() == model.predict(bags).tolist()


def test_unfitted_pickles():
    assert isinstance(pickle.loads(pickle.dumps(BagLogistic())), BagLogistic)


def test_doc_link():
    # scikit-learn links estimators of the package that _doc_link_module names.
    assert BagLogistic._doc_link_module == "milkit"
    assert "{estimator_name}" in BagLogistic._doc_link_template


def test_bags_to_bags_keeps_what_came_in(bags):
    X = BagArray.from_list(bags, groups=list("aabb"))
    out = Centre().fit_transform(X)
    assert isinstance(out, BagArray)
    assert out.groups.tolist() == list("aabb")
    assert out.sizes.tolist() == [2, 4, 1, 3]
    np.testing.assert_allclose(out.flat()[0].mean(axis=0), 0, atol=1e-12)
    assert isinstance(Centre().fit_transform(bags), BagArray)
    assert isinstance(Centre().fit_transform(np.array(bags[:1] * 3)), BagArray)
    for table in (np.eye(4), np.eye(4).tolist(), pd.DataFrame(np.eye(4))):
        out = Centre().fit_transform(table)
        assert isinstance(out, np.ndarray)
        assert out.shape == (4, 4)


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_bags_stay_bags_whatever_the_output_is_set_to(bags, output):
    step = Centre()
    assert step.set_output(transform=output) is step
    assert isinstance(step.fit_transform(bags), BagArray)
    with sklearn.config_context(transform_output=output):
        assert isinstance(Centre().fit(bags).transform(bags), BagArray)
        assert isinstance(Centre().fit_transform(bags), BagArray)
    pipe = make_pipeline(Centre(), BagLogistic()).set_output(transform=output)
    assert pipe.fit(bags, Y).predict(bags).tolist() == Y.tolist()


def test_a_subclass_may_still_ask_for_wrapped_output():
    class Table(BagsToBagsMixin, BaseEstimator, auto_wrap_output_keys=("transform",)):
        pass

    assert Table._sklearn_auto_wrap_output_keys == {"transform"}
    assert Centre._sklearn_auto_wrap_output_keys == set()


def test_split_by_bag(bags):
    X = BagArray.from_list(bags)
    for view in (X, X[[3, 0]], X[[]]):
        values = np.arange(2 * view.n_instances).reshape(-1, 2)
        parts = split_by_bag(values, view)
        assert [len(part) for part in parts] == view.sizes.tolist()
        assert all(np.shares_memory(part, values) for part in parts)
        assert np.concatenate([*parts, np.empty((0, 2))]).tolist() == values.tolist()
