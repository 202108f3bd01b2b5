"""The bag checks: one property of the contract of an estimator on bags each.

Every check is a function ``check_bags_...(name, estimator)`` that raises an AssertionError, or
SkipTest with a reason where it does not apply. ``milkit.utils.estimator_checks`` runs them.
"""

import pickle
import random
import sys
import warnings
from unittest import SkipTest

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from milkit.bags import BagArray
from milkit.exceptions import GroupLeakageError, InconsistentMilkitVersionWarning
from milkit.utils._bag_check_tools import (
    INSTANCE_METHODS,
    N_BAGS,
    N_FEATURES,
    RTOL,
    assert_close,
    assert_same,
    fit,
    fits_all_pairs,
    is_milkit_estimator,
    make_groups,
    make_problem,
    methods_of,
    must_raise,
    needs_y,
    no_convergence_warnings,
    object_array,
    outputs_of,
    pack,
    refused_everywhere,
    require_classifier,
    require_fit_without_chance,
    require_instance_outputs,
    seeded,
    take,
)
from milkit.utils._segments import segment_sum

# A model trained in float32 instead of float64 stops elsewhere within its own tolerance.
RTOL_FLOAT32 = 1e-2
# A solver that gets the same problem in another order stops elsewhere within its own tolerance.
RTOL_FIT_ORDER = 1e-3


# -- invariances at predict ----------------------------------------------------------------


def check_bags_instance_order(name, estimator):
    """The order of the instances inside a bag means nothing; instance outputs move along."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(len(bag)) for bag in bags]
    expected = {
        method: [part[order] for part, order in zip(values, orders, strict=True)]
        if isinstance(values, list)
        else values
        for method, values in outputs_of(model, pack(bags)).items()
    }
    shuffled = pack([bag[order] for bag, order in zip(bags, orders, strict=True)])
    actual = outputs_of(model, shuffled)
    # A tracked row number belongs to the shuffled bag, as the expected values do.
    assert_same(actual, expected, f"{name} depends on the order of instances in a bag")


def check_bags_bag_order(name, estimator):
    """The order of the bags at predict means nothing."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    order = np.random.default_rng(1).permutation(len(bags))
    expected = take(outputs_of(model, pack(bags)), order)
    actual = outputs_of(model, pack([bags[i] for i in order]))
    assert_same(actual, expected, f"{name} depends on the order of the bags at predict")


def check_bags_batch_composition(name, estimator):
    """A bag's outputs do not depend on which bags are predicted with it, if any."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    whole = outputs_of(model, pack(bags))
    for rows in [range(0, N_BAGS, 2), range(N_BAGS // 2), [0], [3], [N_BAGS - 1]]:
        rows = list(rows)
        part = outputs_of(model, pack([bags[i] for i in rows]))
        message = f"{name} predicts {len(rows)} of {N_BAGS} bags otherwise than all of them"
        assert_same(part, take(whole, rows), message)


def check_bags_sizes(name, estimator):
    """Bags of 1 and of 10 000 instances together, at fit and at predict.

    An estimator whose fit holds a number for each pair of instances (800 MB here) declares that
    with an attribute or property ``_fit_needs_all_pairs = True`` and is fitted on a bag of 300.
    """
    bags, y = make_problem(estimator)
    rng = np.random.default_rng(2)
    n_large = 300 if fits_all_pairs(estimator) else 10_000
    large = np.abs(rng.normal(size=(n_large, N_FEATURES)))
    # The large bag belongs to class 1: an SVM looks for one witness in it, where all instances
    # of a negative bag are constraints of its quadratic problem.
    mixed = [large if i == 2 else bag[:1] if i % 5 == 0 else bag for i, bag in enumerate(bags)]
    model = fit(estimator, mixed, y)
    huge = np.abs(rng.normal(size=(10_000, N_FEATURES)))
    small = [bags[0][:1], bags[1], bags[2]]
    alone = outputs_of(model, pack(small))
    among = outputs_of(model, pack([small[0], huge, small[1], huge[::-1], small[2]]))
    for method, values in among.items():
        for part in values if isinstance(values, list) else [values]:
            finite = part.dtype.kind != "f" or np.isfinite(part[~np.isnan(part)]).all()
            assert finite, f"{method} of {name} overflows where a bag has 10 000 instances."
    message = f"{name} predicts small bags otherwise beside a bag of 10 000 instances"
    assert_same(take(among, [0, 2, 4]), alone, message)
    reversed_bag = {
        method: [values[3][::-1]] if isinstance(values, list) else values[[3]]
        for method, values in among.items()
    }
    message = f"{name} does not look at all instances of a bag of 10 000"
    # Ten thousand float32 terms round more than seven do.
    assert_same(reversed_bag, take(among, [1]), message, rtol=1e-4)


# -- invariances at fit --------------------------------------------------------------------


def check_bags_fit_bag_order(name, estimator):
    """The order of the bags at fit means nothing where fit does not draw at random."""
    bags, y = make_problem(estimator)
    expected = outputs_of(fit(estimator, bags, y), pack(bags))
    require_fit_without_chance(estimator, bags, y, expected)
    order = np.random.default_rng(1).permutation(len(bags))
    model = fit(estimator, [bags[i] for i in order], y[order])
    message = f"{name} depends on the order of the bags at fit"
    assert_same(outputs_of(model, pack(bags)), expected, message, rtol=RTOL_FIT_ORDER)


def check_bags_fit_instance_order(name, estimator):
    """The order of the instances in a bag at fit means nothing where fit does not draw."""
    bags, y = make_problem(estimator)
    expected = outputs_of(fit(estimator, bags, y), pack(bags))
    require_fit_without_chance(estimator, bags, y, expected)
    rng = np.random.default_rng(1)
    model = fit(estimator, [rng.permutation(bag) for bag in bags], y)
    message = f"{name} depends on the order of the instances in a bag at fit"
    assert_same(outputs_of(model, pack(bags)), expected, message, rtol=RTOL_FIT_ORDER)


# -- containers ----------------------------------------------------------------------------


def _containers(bags, y):
    import pandas as pd

    return {
        "tuple": tuple(bags),
        "object array": object_array(bags),
        "BagArray": BagArray.from_list(bags),
        "Series": pd.Series(object_array(bags)),
        # The second column must never slip in as a feature: it is the label.
        "DataFrame": pd.DataFrame({"bag": object_array(bags), "label": y}),
    }


def check_bags_containers(name, estimator):
    """List, tuple, object array, BagArray and DataFrame column give the same numbers."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    expected = outputs_of(model, bags)
    for container, X in _containers(bags, y).items():
        message = f"{name} predicts a {container} otherwise than a list"
        assert_same(outputs_of(model, X), expected, message, rtol=1e-6)
        message = f"{name} fitted on a {container} is another than fitted on a list"
        assert_same(outputs_of(fit(estimator, X, y), bags), expected, message, rtol=1e-6)
    equal = [np.resize(bag, (4, N_FEATURES)) for bag in bags]
    message = f"{name} treats a 3-D array otherwise than a list of its bags"
    expected = outputs_of(fit(estimator, equal, y), equal)
    assert_same(outputs_of(fit(estimator, np.stack(equal), y), np.stack(equal)), expected, message)


def check_bags_readonly(name, estimator):
    """Read-only memory, as joblib's workers get it, is enough for fit and predict."""
    bags, y = make_problem(estimator)
    expected = outputs_of(fit(estimator, bags, y), bags)
    bags, y = [bag.copy() for bag in bags], y.copy()
    X = BagArray.from_list(bags)
    for array in [*bags, y, X.instances, X.offsets]:
        array.flags.writeable = False
    for readonly in (bags, X):
        model = fit(estimator, readonly, y)
        assert_same(outputs_of(model, readonly), expected, f"{name} on read-only memory")


def check_bags_input_unchanged(name, estimator):
    """Fit and predict leave the caller's bags, labels and columns as they are."""
    bags, y = make_problem(estimator)
    X = pack(bags, names=[f"bag-{i}" for i in range(N_BAGS)], groups=make_groups())
    before = joblib.hash([bags, y, X.instances, X.offsets, X.names, X.groups, X.instance_data])
    for container in (bags, X):
        outputs_of(fit(estimator, container, y), container)
    after = joblib.hash([bags, y, X.instances, X.offsets, X.names, X.groups, X.instance_data])
    assert before == after, f"{name} changed its input in fit or predict."


def check_bags_views(name, estimator):
    """A view X[rows], repeated and unordered rows included, is the list of these bags."""
    bags, y = make_problem(estimator)
    X = BagArray.from_list(bags)
    rows = np.random.default_rng(3).permutation(np.r_[np.arange(N_BAGS), 3, 3, 7])
    chosen = [bags[i] for i in rows]
    model = fit(estimator, chosen, y[rows])
    expected = outputs_of(model, chosen)
    message = f"{name} fitted on a view is another than fitted on these bags"
    assert_same(outputs_of(fit(estimator, X[rows], y[rows]), chosen), expected, message, rtol=1e-6)
    message = f"{name} predicts a view of a view otherwise than these bags"
    assert_same(
        outputs_of(model, X[rows][::-2]), outputs_of(model, chosen[::-2]), message, rtol=1e-6
    )


# -- instance outputs ----------------------------------------------------------------------


def check_bags_instance_outputs(name, estimator):
    """Instance outputs are lists of arrays aligned with the bags, for new bags too."""
    new, _ = make_problem(estimator, seed=9)
    multi_class = is_classifier(estimator) and get_tags(estimator).classifier_tags.multi_class
    for n_classes in (2, 3) if multi_class else (2,):
        model = fit(estimator, *make_problem(estimator, n_classes))
        wide = (n_classes,) if n_classes > 2 else ()
        for method in require_instance_outputs(model, INSTANCE_METHODS):
            parts = getattr(model, method)(new)
            what = f"{method} of {name}"
            assert isinstance(parts, list), f"{what} must be a list, not {type(parts).__name__}."
            assert len(parts) == len(new), f"{what}: {len(parts)} arrays for {len(new)} bags."
            for i, (part, bag) in enumerate(zip(parts, new, strict=True)):
                where = f"{what}: bag {i} of {len(bag)} instances has shape {np.shape(part)}"
                assert isinstance(part, np.ndarray), f"{what} must hold arrays."
                assert part.shape[:1] == (len(bag),), f"{where}; the first must be {len(bag)}."
                if method == "score_instances":
                    assert part.shape == (len(bag), *wide), f"{where} with {n_classes} classes."
                    assert np.isfinite(part).all(), f"{what} is not finite in bag {i}."
                if method == "predict_instances":
                    assert part.shape == (len(bag),), f"{where}; expected ({len(bag)},)."
                    if is_classifier(estimator):
                        assert np.isin(part, model.classes_).all(), f"{what} is not in classes_."


def check_bags_attention_weights(name, estimator):
    """Attention weights are not negative and sum to 1 over each bag, for each head."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    require_instance_outputs(model, ["attention_weights"])
    new, _ = make_problem(estimator, seed=9)
    for i, weights in enumerate(model.attention_weights(new)):
        assert weights.ndim in (1, 2), f"attention_weights of {name}: {weights.ndim} dimensions."
        assert np.all(weights >= 0), f"attention_weights of {name} are negative in bag {i}."
        message = f"attention_weights of {name} do not sum to 1 over bag {i}"
        np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=RTOL, err_msg=message)


# -- columns beside the instances ----------------------------------------------------------


def check_bags_columns_kept(name, estimator):
    """Bags→bags steps keep names, groups, covariates and instance data, and empty no bag."""
    bags, y = make_problem(estimator)
    X = pack(
        bags,
        names=[f"bag-{i}" for i in range(N_BAGS)],
        groups=make_groups(),
        covariates={"age": np.arange(N_BAGS) + 40.0},
    )
    model = fit(estimator, X, y)
    out = model.transform(X) if hasattr(model, "transform") else None
    if not isinstance(out, BagArray):
        raise SkipTest("The estimator gives no bags.")
    assert len(out) == len(X), f"{name} gave {len(out)} bags for {len(X)}."
    assert np.all(out.sizes >= 1), f"{name} emptied a bag."
    for column in ("names", "groups"):
        np.testing.assert_array_equal(
            getattr(out, column), getattr(X, column), err_msg=f"{name} did not keep {column}"
        )
    assert out.covariates is not None, f"{name} did not keep the covariates."
    assert out.covariates.equals(X.covariates), f"{name} changed the covariates."
    assert "row" in out.instance_data, f"{name} did not keep the instance data."
    rows = np.split(out.instance_data["row"], np.cumsum(out.sizes)[:-1])
    for i, (kept, size) in enumerate(zip(rows, X.sizes, strict=True)):
        assert np.all(np.diff(kept) > 0), f"{name} mixed up the instances of bag {i}."
        assert kept[-1] < size, f"{name} gave bag {i} instance data of another bag."


def check_bags_columns_unused(name, estimator):
    """Names, instance data and covariates that nobody named are never features.

    Groups only choose an inner split in fit.
    """
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    expected = outputs_of(model, pack(bags))
    rng = np.random.default_rng(4)
    columns = {
        "names": [f"label-{label}" for label in y],
        "groups": make_groups(),
        "covariates": {"age": 40.0 + 5 * y + np.arange(N_BAGS), "sex": ["f", "m"] * (N_BAGS // 2)},
    }
    labels = [np.full(len(bag), label) for bag, label in zip(bags, y, strict=True)]
    X = BagArray.from_list(
        bags,
        instance_data={
            "label": labels,
            "box": [rng.normal(size=(len(bag), 4)) for bag in bags],
            "row": [np.arange(len(bag)) for bag in bags],
        },
        **columns,
    )
    message = f"{name} used names, groups, covariates or instance data to predict"
    assert_same(outputs_of(model, X), expected, message)
    if has_fit_parameter(estimator, "groups"):
        X = X.with_columns(groups=None)
    message = f"{name} used names, groups, covariates or instance data to fit"
    assert_same(outputs_of(fit(estimator, X, y), pack(bags)), expected, message)


def check_bags_label_covariate(name, estimator):
    """A covariate that is y itself is refused in fit, and named."""
    if not needs_y(estimator):
        raise SkipTest("The estimator needs no y.")
    bags, y = make_problem(estimator)
    targets = [y, np.array(["healthy", "sick"])[y]] if is_classifier(estimator) else [y]
    for target in targets:
        covariates = {"age": np.arange(N_BAGS) + 40.0, "diagnosis": target}
        X = BagArray.from_list(bags, covariates=covariates)
        with must_raise("diagnosis", "A covariate that is identical to y"):
            fit(estimator, X, target)


def check_bags_groups(name, estimator):
    """Where fit takes groups: the same as those inside X, and both must agree."""
    if not has_fit_parameter(estimator, "groups"):
        raise SkipTest("fit takes no groups.")
    bags, y = make_problem(estimator)
    inside = BagArray.from_list(bags, groups=make_groups())
    expected = outputs_of(fit(estimator, bags, y, groups=make_groups()), bags)
    message = f"{name} fitted with groups inside X is another than with groups="
    assert_same(outputs_of(fit(estimator, inside, y), bags), expected, message, rtol=1e-6)
    with must_raise("disagree", "groups= against those inside X", GroupLeakageError):
        fit(estimator, inside, y, groups=np.arange(N_BAGS))


# -- errors that name the bag --------------------------------------------------------------


def check_bags_empty_bag(name, estimator):
    """An empty bag is refused, and named."""

    def make_bad(bags):
        return [*bags[:3], np.empty((0, N_FEATURES)), *bags[4:]]

    def make_bad_frame(bags):
        import pandas as pd

        index = [f"patient-{i:02d}" for i in range(len(bags))]
        return pd.DataFrame({"bag": object_array(make_bad(bags))}, index=index)

    refused_everywhere(estimator, make_bad, r"Bag 3\b", "An empty bag")
    refused_everywhere(estimator, make_bad_frame, r"Bag 3 \('patient-03'\)", "An empty bag")


def check_bags_nonfinite(name, estimator):
    """NaN and infinity in one instance are refused, and the bag is named."""

    def with_value(value):
        def make_bad(bags):
            bad = [bag.copy() for bag in bags]
            bad[3][-1, 0] = value
            return BagArray.from_list(bad, names=[f"patient-{i:02d}" for i in range(len(bad))])

        return make_bad

    match = r"Bag 3 \('patient-03'\)"
    if not get_tags(estimator).input_tags.allow_nan:
        refused_everywhere(estimator, with_value(np.nan), match, "NaN in an instance")
    refused_everywhere(estimator, with_value(np.inf), match, "Infinity in an instance")


def check_bags_width(name, estimator):
    """A bag of another width is refused and named, as are bags of another width than in fit."""

    def make_bad(bags):
        return [*bags[:3], bags[3][:, 1:], *bags[4:]]

    refused_everywhere(estimator, make_bad, r"Bag 3\b", "A bag of another width")
    bags, y = make_problem(estimator)
    for method, call in methods_of(fit(estimator, bags, y)).items():
        with must_raise("features", f"Bags with fewer features than in fit in {method}"):
            call([bag[:, 1:] for bag in bags])


def check_bags_y_length(name, estimator):
    """y has one entry per bag; one per instance is refused."""
    if not needs_y(estimator):
        raise SkipTest("The estimator needs no y.")
    bags, y = make_problem(estimator)
    per_instance = np.repeat(y, [len(bag) for bag in bags])
    for wrong in (per_instance, y[:-1]):
        for X in (bags, BagArray.from_list(bags)):
            with must_raise("bags|samples", f"y of length {len(wrong)} for {len(bags)} bags"):
                fit(estimator, X, wrong)


def check_bags_bare_bag(name, estimator):
    """One bare bag after a fit on bags would be read as many bags, and is refused."""
    bags, y = make_problem(estimator)
    for method, call in methods_of(fit(estimator, bags, y)).items():
        with must_raise(r"Pass \[bag\]", f"A bare bag in {method}"):
            call(bags[0])


def check_bags_instance_shape(name, estimator):
    """Tensor instances are refused, or their whole shape is compared at predict."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    # As many numbers as the vectors have: only the shape tells them apart.
    for method, call in methods_of(model).items():
        with must_raise("shape", f"Tensors after a fit on vectors in {method}"):
            call([bag.reshape(-1, 1, N_FEATURES) for bag in bags])
    tensors = [np.hstack([bag, bag[:, :1]]).reshape(-1, 2, 2) for bag in bags]
    try:
        model = fit(estimator, tensors, y)
    except ValueError as error:
        if "shape (2, 2)" not in str(error):
            raise AssertionError(
                f"{name} must say which shape of instances it cannot take. Got: {error}"
            ) from error
        return
    for method, call in methods_of(model).items():
        with must_raise("shape", f"Instances of another shape than in fit in {method}"):
            call([bag.reshape(-1, 1, 4) for bag in tensors])


# -- types and labels ----------------------------------------------------------------------


def check_bags_dtypes(name, estimator):
    """Integers, float32 and float64 of the same value give the same numbers."""
    bags, y = make_problem(estimator)
    whole = [np.clip(np.round(20 * bag + 90), 0, 255) for bag in bags]
    expected = outputs_of(fit(estimator, whole, y), whole)
    for dtype in (np.uint8, np.int64, np.float32):
        X = [bag.astype(dtype) for bag in whole]
        rtol = RTOL_FLOAT32 if dtype is np.float32 else RTOL
        message = f"{name} treats {np.dtype(dtype)} otherwise than float64 of the same value"
        actual = outputs_of(fit(estimator, X, y), X)
        assert_same(actual, expected, message, rtol=rtol)


def check_bags_labels(name, estimator):
    """Strings, {1, 2}, {-1, 1} and booleans are labels like {0, 1}."""
    require_classifier(estimator)
    bags, y = make_problem(estimator)
    expected = outputs_of(fit(estimator, bags, y), bags)
    predicted = {"predict", "predict_instances"} & expected.keys()
    for classes in (["healthy", "sick"], [1, 2], [-1, 1], [False, True]):
        classes = np.array(classes)
        for labels in (classes[y], classes[y].astype(object)):
            if labels.dtype == object and classes.dtype.kind != "U":
                continue  # scikit-learn takes objects only where they are strings
            model = fit(estimator, bags, labels)
            np.testing.assert_array_equal(model.classes_, classes)
            assert (model.classes_.dtype == bool) == (classes.dtype == bool), (
                f"{name} turned the labels {classes.tolist()} into {model.classes_.tolist()}."
            )
            actual = outputs_of(model, bags)
            wanted = dict(expected)
            for method in predicted:
                values = wanted[method]
                wanted[method] = (
                    [classes[part] for part in values]
                    if isinstance(values, list)
                    else classes[values]
                )
            message = f"{name} depends on what its labels are called ({classes.tolist()})"
            assert_same(actual, wanted, message)


def check_bags_multiclass(name, estimator):
    """Three classes work in scikit-learn's shapes, or are refused."""
    require_classifier(estimator)
    bags, y = make_problem(estimator, n_classes=3)
    labels = np.array(["a", "b", "c"])[y]
    if not get_tags(estimator).classifier_tags.multi_class:
        with must_raise("class|binary", "Three classes"):
            fit(estimator, bags, labels)
        return
    model = fit(estimator, bags, labels)
    assert list(model.classes_) == ["a", "b", "c"], f"classes_ of {name}: {model.classes_}"
    _assert_classifier_outputs(name, model, bags)


def check_bags_classifier_outputs(name, estimator):
    """Two classes: scikit-learn's shapes, and outputs that agree with each other."""
    require_classifier(estimator)
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, np.array(["healthy", "sick"])[y])
    _assert_classifier_outputs(name, model, bags)


def _assert_classifier_outputs(name, model, bags):
    n_classes = len(model.classes_)
    predicted = model.predict(bags)
    assert predicted.shape == (len(bags),), f"predict of {name} has shape {predicted.shape}."
    assert np.isin(predicted, model.classes_).all(), f"predict of {name} is not in classes_."
    assert hasattr(model, "decision_function") or hasattr(model, "predict_proba"), (
        f"{name} has neither decision_function nor predict_proba."
    )
    winners = {}
    if hasattr(model, "decision_function"):
        decision = model.decision_function(bags)
        shape = (len(bags),) if n_classes == 2 else (len(bags), n_classes)
        assert decision.shape == shape, f"decision_function of {name} has shape {decision.shape}."
        winners["decision_function"] = (
            (decision > 0).astype(int) if n_classes == 2 else decision.argmax(axis=1)
        )
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba(bags)
        shape = (len(bags), n_classes)
        assert proba.shape == shape, f"predict_proba of {name} has shape {proba.shape}."
        assert np.all(proba >= 0), f"predict_proba of {name} is negative."
        np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=RTOL)
        winners["predict_proba"] = proba.argmax(axis=1)
    for method, winner in winners.items():
        message = f"predict and {method} of {name} disagree"
        np.testing.assert_array_equal(model.classes_[winner], predicted, err_msg=message)


def check_bags_one_class(name, estimator):
    """Bags of one class only are refused."""
    require_classifier(estimator)
    bags, y = make_problem(estimator)
    with must_raise("class", "A single class"):
        fit(estimator, bags, np.zeros_like(y))


# -- persistence ---------------------------------------------------------------------------


def check_bags_pickle(name, estimator):
    """A pickled model gives bitwise the same outputs."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    loaded = pickle.loads(pickle.dumps(model))
    message = f"{name} gives other outputs after pickling"
    assert_same(outputs_of(loaded, bags), outputs_of(model, bags), message, rtol=0)


def check_bags_pickle_size(name, estimator):
    """The pickle of a model fitted on a few bags of a large store does not hold the store."""
    bags, y = make_problem(estimator)
    rest = np.ones((100_000, N_FEATURES))
    few = BagArray.from_list([*bags, rest])[:N_BAGS]
    size = len(pickle.dumps(fit(estimator, few, y)))
    enough = len(pickle.dumps(fit(estimator, bags, y)))
    assert size < 2 * enough + 10_000, (
        f"The pickle of {name} has {size} bytes where {enough} are enough: it holds bags on which "
        "it was not fitted. Keep X.compact() instead of X."
    )


def check_bags_pickle_version(name, estimator):
    """milkit's own estimators warn where they were saved with another version."""
    if not is_milkit_estimator(estimator):
        raise SkipTest("Only milkit's own estimators (BagMixin) keep milkit's version.")
    bags, y = make_problem(estimator)
    state = fit(estimator, bags, y).__getstate__()
    assert "_milkit_version" in state, f"{name} does not store milkit's version."
    for version, expected in ((state["_milkit_version"], 0), ("0.0.0", 1)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            type(estimator).__new__(type(estimator)).__setstate__(
                {**state, "_milkit_version": version}
            )
        found = sum(issubclass(w.category, InconsistentMilkitVersionWarning) for w in caught)
        assert found == expected, f"{name} saved with {version}: {found} warnings at load."


# -- randomness and state ------------------------------------------------------------------


def check_bags_random_state(name, estimator):
    """The same random_state twice gives bitwise the same outputs."""
    if get_tags(estimator).non_deterministic:
        raise SkipTest("The estimator says that it is not deterministic.")
    bags, y = make_problem(estimator)
    first, second = (outputs_of(fit(estimator, bags, y), bags) for _ in range(2))
    assert_same(second, first, f"{name} is not repeatable with a fixed random_state", rtol=0)


def _global_random_states():
    states = [random.getstate(), np.random.get_state()]  # noqa: NPY002 - the global one is meant
    if "torch" in sys.modules:
        states.append(sys.modules["torch"].get_rng_state().numpy())
    return joblib.hash(states)


def check_bags_global_random_state(name, estimator):
    """Fit and predict leave the global random states of Python, numpy and torch alone."""
    bags, y = make_problem(estimator)
    # The first fit may import torch.
    outputs_of(fit(estimator, bags, y), bags)
    before = _global_random_states()
    outputs_of(fit(estimator, bags, y), bags)
    assert before == _global_random_states(), f"{name} touches a global random state."


def check_bags_clone(name, estimator):
    """Fit leaves the parameters alone, so that a clone of the fitted model is a new one."""
    bags, y = make_problem(estimator)
    model = seeded(estimator)
    before = joblib.hash(model.get_params())
    with no_convergence_warnings():
        model.fit(bags, y)
    assert before == joblib.hash(model.get_params()), f"{name} changed its parameters in fit."
    copy = clone(model)
    fitted = [key for key in vars(copy) if key.endswith("_") and not key.startswith("_")]
    assert not fitted, f"A clone of a fitted {name} has {fitted}."
    with no_convergence_warnings():
        copy.fit(bags, y)
    message = f"A fitted clone of {name} gives other outputs"
    assert_same(outputs_of(copy, bags), outputs_of(model, bags), message, rtol=1e-6)


def check_bags_state_unchanged(name, estimator):
    """Outputs do not change the fitted model."""
    bags, y = make_problem(estimator)
    model = fit(estimator, bags, y)
    outputs_of(model, bags)  # what is computed once and kept is no change of state
    before = joblib.hash(pickle.dumps(model))
    new, _ = make_problem(estimator, seed=9)
    outputs_of(model, new)
    assert before == joblib.hash(pickle.dumps(model)), f"{name} changes when it predicts."


# -- scikit-learn's tools ------------------------------------------------------------------


def check_bags_set_output(name, estimator):
    """set_output of a Pipeline names the columns of a table; bags stay bags."""
    if not (hasattr(estimator, "transform") and hasattr(estimator, "set_output")):
        raise SkipTest("The estimator has no transform with set_output.")
    bags, y = make_problem(estimator)
    plain = fit(estimator, bags, y).transform(bags)
    pipeline = make_pipeline(seeded(estimator)).set_output(transform="pandas")
    with no_convergence_warnings():
        out = pipeline.fit(bags, y).transform(bags)
    if isinstance(plain, BagArray):
        assert isinstance(out, BagArray), f"{name} gives {type(out).__name__} for bags."
        return
    assert hasattr(out, "columns"), f"{name} gives no DataFrame after set_output."
    names = list(pipeline.get_feature_names_out())
    assert list(out.columns) == names, f"{name}: columns {list(out.columns)}, names {names}."
    assert_close(out.to_numpy(), plain, RTOL, f"{name} gives other numbers after set_output")


def check_bags_sample_weight_ones(name, estimator):
    """Weights of one for every bag are no weights."""
    if not has_fit_parameter(estimator, "sample_weight"):
        raise SkipTest("fit takes no sample_weight.")
    bags, y = make_problem(estimator)
    expected = outputs_of(fit(estimator, bags, y), bags)
    model = fit(estimator, bags, y, sample_weight=np.ones(N_BAGS))
    assert_same(outputs_of(model, bags), expected, f"{name} with weights of one is another")


def check_bags_sample_weight_length(name, estimator):
    """Weights are per bag; one per instance is refused."""
    if not has_fit_parameter(estimator, "sample_weight"):
        raise SkipTest("fit takes no sample_weight.")
    bags, y = make_problem(estimator)
    weight = np.ones(sum(len(bag) for bag in bags))
    with must_raise("sample_weight", "One weight per instance"):
        fit(estimator, bags, y, sample_weight=weight)


def _bag_means(X):
    bags = X if isinstance(X, BagArray) else BagArray.from_list(X)
    flat, offsets = bags.flat()
    return segment_sum(flat, offsets) / bags.sizes[:, None]


def check_bags_cross_validation(name, estimator):
    """Grouped cross-validation of a Pipeline: a BagArray scores as the list does."""
    bags, y = make_problem(estimator)
    steps = [seeded(estimator)]
    if not hasattr(estimator, "predict"):
        out = fit(estimator, bags, y).transform(bags)
        means = [FunctionTransformer(_bag_means)] if isinstance(out, BagArray) else []
        steps += [*means, LogisticRegression()]
    # Groups inside X are for fit, too, where it takes them; a list has none.
    groups = None if has_fit_parameter(estimator, "groups") else make_groups()
    X = BagArray.from_list(bags, groups=groups)
    with no_convergence_warnings():
        first, second = (
            cross_val_score(
                make_pipeline(*steps),
                container,
                y,
                groups=make_groups(),
                cv=GroupKFold(3),
                error_score="raise",
            )
            for container in (bags, X)
        )
    assert np.isfinite(first).all(), f"{name} scores {first} in cross-validation."
    message = f"{name} scores a BagArray otherwise than a list in cross-validation"
    assert_close(second, first, RTOL, message)


CHECKS = tuple(
    value
    for key, value in list(globals().items())
    if key.startswith("check_bags_") and callable(value)
)
