"""What the bag checks are made of: a small problem, outputs of a model, comparisons."""

import re
import warnings
from contextlib import contextmanager
from unittest import SkipTest

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags

from milkit.bags import BagArray

BAG_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
INSTANCE_METHODS = ("score_instances", "predict_instances", "attention_weights")
N_BAGS = 24
N_FEATURES = 3
# What float32 arithmetic may change when the same numbers are added in another order.
RTOL = 1e-5


def make_problem(estimator, n_classes=2, seed=0):
    """Bags of 1 to 7 instances and their labels, or targets where the estimator is a regressor."""
    rng = np.random.default_rng(seed)
    # Two bags behind each other belong to one group and have one label.
    classes = np.arange(N_BAGS) // 2 % n_classes
    bags = []
    for i, label in enumerate(classes):
        bag = rng.normal(size=(1 + (5 * i + 2) % 7, N_FEATURES))
        bag[: 1 + len(bag) // 3, label % N_FEATURES] += 3.0 * label
        bags.append(bag)
    if get_tags(estimator).input_tags.positive_only:
        bags = [np.abs(bag) for bag in bags]
    y = classes
    if is_regressor(estimator):
        y = np.array([bag.mean() + 0.5 * bag.max() for bag in bags])
    return bags, y


def make_groups():
    return np.array([f"patient-{i // 2:02d}" for i in range(N_BAGS)])


def pack(bags, **columns):
    """A BagArray whose instances know their place in the bag, so that a filter can be followed."""
    rows = [np.arange(len(bag)) for bag in bags]
    return BagArray.from_list(bags, instance_data={"row": rows}, **columns)


def object_array(bags):
    array = np.empty(len(bags), dtype=object)
    for i, bag in enumerate(bags):
        array[i] = bag
    return array


def random_state_names(estimator):
    return [n for n in estimator.get_params() if n.rpartition("__")[2] == "random_state"]


def seeded(estimator, seed=0):
    """A clone in which every random_state that was None is a number."""
    model = clone(estimator)
    names = [n for n in random_state_names(model) if model.get_params()[n] is None]
    return model.set_params(**dict.fromkeys(names, seed))


def reseeded(estimator, seed):
    """A clone in which every random_state is that number, whatever it was."""
    return clone(estimator).set_params(**dict.fromkeys(random_state_names(estimator), seed))


def fits_all_pairs(estimator):
    """Does it, or a part of it, declare that fit holds a number for each pair of instances?"""
    parts = [estimator, *estimator.get_params().values()]
    return any(getattr(part, "_fit_needs_all_pairs", False) for part in parts)


@contextmanager
def no_convergence_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def fit(estimator, X, y, **fit_params):
    with no_convergence_warnings():
        return seeded(estimator).fit(X, y, **fit_params)


def methods_of(model):
    names = [*BAG_METHODS, *INSTANCE_METHODS, "transform"]
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def outputs_of(model, X):
    """All outputs for X: an array has one row per bag, a list one array per bag."""
    outputs = {}
    for method, call in methods_of(model).items():
        values = call(X)
        if isinstance(values, BagArray):
            values = _by_instance(values, X)
        elif method not in INSTANCE_METHODS:
            values = np.asarray(values)
        outputs[method] = values
    if not outputs:
        raise SkipTest("The estimator has no outputs.")
    return outputs


def _by_instance(transformed, X):
    """One row per instance of X, NaN where a filter dropped it."""
    if not isinstance(X, BagArray) or "row" not in transformed.instance_data:
        return transformed.to_list()
    parts = np.split(transformed.instance_data["row"], np.cumsum(transformed.sizes)[:-1])
    scattered = []
    for bag, rows, size in zip(transformed, parts, X.sizes, strict=True):
        values = np.full((size, *bag.shape[1:]), np.nan)
        values[rows] = bag
        scattered.append(values)
    return scattered


def take(outputs, rows):
    return {
        method: [values[i] for i in rows] if isinstance(values, list) else values[rows]
        for method, values in outputs.items()
    }


def assert_close(actual, expected, rtol, message):
    actual, expected = np.asarray(actual), np.asarray(expected)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=message)
        return
    size = np.abs(expected[np.isfinite(expected)])
    atol = rtol * size.max() if size.size else 0.0
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=message)


def assert_same(actual, expected, message, rtol=RTOL):
    assert actual.keys() == expected.keys(), (
        f"{message}: outputs {sorted(actual)} and {sorted(expected)}"
    )
    for method, values in expected.items():
        where = f"{method}: {message}"
        if isinstance(values, list):
            assert len(actual[method]) == len(values), (
                f"{where}: {len(actual[method])} arrays for {len(values)} bags."
            )
            for i, (a, b) in enumerate(zip(actual[method], values, strict=True)):
                assert_close(a, b, rtol, f"{where} (bag {i})")
        else:
            assert_close(actual[method], values, rtol, where)


@contextmanager
def must_raise(match, what, errors=ValueError):
    try:
        yield
    except errors as error:
        if not re.search(match, str(error)):
            raise AssertionError(
                f"{what} must be refused with a message that matches {match!r}. "
                f"Got {type(error).__name__}: {error}"
            ) from error
    else:
        raise AssertionError(
            f"{what} must be refused with an error that matches {match!r}. Nothing was raised."
        )


def refused_everywhere(estimator, make_bad, match, what):
    """``make_bad(bags)`` is refused by fit and by every output of the fitted model."""
    bags, y = make_problem(estimator)
    with must_raise(match, f"{what} in fit"):
        fit(estimator, make_bad(bags), y)
    for method, call in methods_of(fit(estimator, bags, y)).items():
        with must_raise(match, f"{what} in {method}"):
            call(make_bad(bags))


def require_classifier(estimator):
    if not is_classifier(estimator):
        raise SkipTest("Only classifiers have class labels.")


def require_fit_without_chance(estimator, bags, y, expected):
    """Skip where fit draws at random: another random_state changes the outputs."""
    if get_tags(estimator).non_deterministic:
        raise SkipTest("The estimator says that it is not deterministic.")
    for seed in (1, 2) if random_state_names(estimator) else ():
        try:
            model = fit(reseeded(estimator, seed), bags, y)
            assert_same(outputs_of(model, pack(bags)), expected, "another random_state")
        except AssertionError:
            raise SkipTest(
                "fit draws at random (another random_state gives other outputs), so the order may "
                "decide what is drawn."
            ) from None


def require_instance_outputs(model, methods):
    found = [method for method in methods if hasattr(model, method)]
    if not found:
        raise SkipTest(f"The estimator has none of {', '.join(methods)}.")
    return found


def needs_y(estimator):
    return (
        is_classifier(estimator)
        or is_regressor(estimator)
        or get_tags(estimator).target_tags.required
    )


def is_milkit_estimator(estimator):
    return getattr(type(estimator), "_doc_link_module", None) == "milkit"
