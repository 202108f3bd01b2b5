"""The decision while instances leave or enter a bag in the order of an explanation."""

from collections.abc import Hashable
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from milkit.exceptions import BagShapeError, describe_bag
from milkit.inspection._decisions import RESPONSES, Decisions
from milkit.inspection._occlusion import instance_occlusion
from milkit.inspection._reach import attention_weights, score_instances
from milkit.utils._packing import numbers, offsets_of, refuse_masked, to_array

PARAMETERS = {
    "kind": [StrOptions({"evidence", "attention", "occlusion", "random"})],
    "signed": ["boolean", None],
    "n_steps": [Interval(Integral, 1, None, closed="left")],
    "response_method": [StrOptions(set(RESPONSES))],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def explanation_curve(
    estimator,
    X,
    values,
    *,
    insertion,
    kind,
    signed,
    class_label,
    n_steps,
    response_method,
    random_state,
    verbose,
):
    """What deletion_curve and insertion_curve return."""
    caller = "insertion_curve" if insertion else "deletion_curve"
    decisions = Decisions(estimator, X, response_method, caller)
    bags, classes = decisions.bags, decisions.classes
    _refuse_idle(values, kind, signed)
    given = None if values is None else _read(values, bags)
    explained = _explained(estimator, decisions, class_label)
    if values is None:
        given, signed = _compute(estimator, decisions, kind, response_method, verbose)
    importance = _importance(given, bags, classes, explained, signed)
    rank = _ranks(importance, bags.sizes, check_random_state(random_state))

    sizes = bags.sizes
    # Half a step rounds up; whole numbers, so that an insertion is a deletion read backwards.
    removed = (2 * np.arange(n_steps + 1) * (sizes[:, None] - 1) + n_steps) // (2 * n_steps)
    if insertion:
        removed = removed[:, ::-1]
    # Small bags stay the same over several steps, and are decided once.
    pairs = np.column_stack([np.repeat(np.arange(len(bags)), n_steps + 1), removed.ravel()])
    (rows, n_removed), inverse = _distinct(pairs)
    low = np.zeros_like(rows) if insertion else n_removed
    high = sizes[rows] - n_removed if insertion else sizes[rows]
    found = decisions.of_parts(
        rows,
        lambda part, instance: (low[part] <= rank[instance]) & (rank[instance] < high[part]),
        verbose,
        f"{caller}, bags",
    )
    if found.ndim == 2 and explained is None:
        raise ValueError(
            f"{type(estimator).__name__} predicts {found.shape[1]} numbers for a bag, but a curve "
            "follows one. Ask an estimator with one target."
        )
    curves = found if explained is None else decisions.for_class(found, explained[rows])
    curves = curves[inverse].reshape(len(bags), n_steps + 1)
    fractions = np.linspace(0, 1, n_steps + 1)
    auc = np.trapezoid(curves, fractions, axis=1)
    return Bunch(
        fractions=fractions,
        decisions=curves,
        auc=auc,
        mean_auc=float(auc.mean()),
        class_labels=None if explained is None else np.asarray(classes)[explained],
    )


def _refuse_idle(values, kind, signed):
    """What would not be looked at was meant to change something."""
    if values is None and signed is not None:
        raise ValueError(
            f"signed={signed!r} says what given values mean, but values=None, and kind={kind!r} "
            "says it of itself. Leave signed=None, or pass values."
        )
    if values is not None and kind != "evidence":
        raise ValueError(
            f"kind={kind!r} is what to compute where values=None, but values are given. Pass one "
            "of the two."
        )


def _distinct(pairs):
    """The different rows of a table of two columns, and which of them each row is."""
    width = int(pairs[:, 1].max()) + 1
    codes, inverse = np.unique(pairs[:, 0] * width + pairs[:, 1], return_inverse=True)
    return divmod(codes, width), inverse


def _explained(estimator, decisions, class_label):
    """Index of the class whose decision is followed in each bag; None where there are none."""
    classes = decisions.classes
    if classes is None:
        if class_label is not None:
            raise ValueError(
                f"class_label is {class_label!r}, but {type(estimator).__name__} is no classifier. "
                "Leave class_label=None."
            )
        return None
    n_bags = len(decisions.bags)
    if class_label is None:
        class_label = decisions.labels
    labels = _labels(class_label, n_bags)
    index = {label: i for i, label in enumerate(np.asarray(classes).tolist())}
    unknown = [label for label in labels.tolist() if label not in index]
    if unknown:
        raise ValueError(
            f"class_label {unknown[0]!r} is none of the classes of the estimator, {list(index)}."
        )
    return np.array([index[label] for label in labels.tolist()], dtype=np.intp)


def _labels(class_label, n_bags):
    """One label for each bag, shape (n_bags,)."""
    wanted = f"class_label must be one label, or one for each of the {n_bags} bags. Got "
    try:
        labels = np.asarray(class_label)
    except ValueError:  # rows of several lengths
        raise ValueError(f"{wanted}{class_label!r} instead.") from None
    if labels.ndim == 0 and isinstance(class_label, Hashable):
        labels = np.repeat(labels, n_bags)
    if labels.shape != (n_bags,):
        got = f"shape {labels.shape}" if labels.ndim else repr(class_label)
        raise ValueError(f"{wanted}{got} instead.")
    return labels


def _compute(estimator, decisions, kind, response_method, verbose):
    """The values of one kind, and whether their sign says for which of two classes they speak."""
    if kind == "random":  # ties are broken at random
        return [np.zeros(size) for size in decisions.bags.sizes], False
    container = decisions.container()
    if kind == "occlusion":
        method = {"response_method": response_method, "verbose": verbose}
        return instance_occlusion(estimator, container, **method), True
    if kind == "evidence":
        return score_instances(estimator, container), True
    weights = attention_weights(estimator, container)
    return [w if w.ndim == 1 else w.mean(axis=1) for w in weights], False


def _read(values, bags):
    """Given values as a list of arrays, each of shape (n_i,) or (n_i, n_columns)."""
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        values = list(values)
    if not isinstance(values, (list, tuple)) or (values and all(map(_is_number, values))):
        hint = "Cut a flat array with milkit.base.split_by_bag(values, X), where X is a BagArray."
        what = type(values).__name__
        if isinstance(values, str):
            what, hint = repr(values), f"Name a kind of explanation with kind={values!r}."
        elif isinstance(values, np.ndarray):
            what += f" of shape {values.shape}"
        elif isinstance(values, (list, tuple)):
            what = "one flat list"
        raise TypeError(
            "values must be a list with one array for each bag, of shape (n_instances,) or "
            f"(n_instances, n_classes). Got {what} instead. {hint}"
        )
    if len(values) != len(bags):
        raise ValueError(
            f"There are values for {len(values)} bags, but X has {len(bags)}; both must be of the "
            "same bags, in the same order."
        )
    names, parts = bags.names, []
    for i, (part, size) in enumerate(zip(values, bags.sizes, strict=True)):
        bag = describe_bag(i, names)
        refuse_masked(part, f"values of {bag}")
        part = numbers(to_array(part, f"values of {bag}"), f"values of {bag}")
        if part.ndim not in (1, 2):
            raise BagShapeError(
                f"{bag} has values of shape {part.shape}; give one number, or one for each class, "
                "for each instance."
            )
        if len(part) != size:
            raise BagShapeError(
                f"{bag} has {size} instances and {len(part)} values; there must be one for each "
                "instance. NaN marks an instance that a filter dropped."
            )
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise BagShapeError(
                f"{bag} has values of shape {part.shape}, but bag 0 of shape {parts[0].shape}; "
                "all must have one number for each instance, or all one for each class."
            )
        parts.append(part.astype(np.float64, copy=False))
    return parts


def _is_number(part):
    return not isinstance(part, (list, tuple)) and np.ndim(part) == 0


def _importance(values, bags, classes, explained, signed):
    """How much each instance speaks for what is explained, shape (n_instances,)."""
    flat = np.concatenate(values)
    bag = np.repeat(np.arange(len(bags)), bags.sizes)
    n_columns = 0 if classes is None else len(classes)
    if flat.ndim == 2:
        if flat.shape[1] != n_columns:
            wanted = f"({n_columns} classes)" if n_columns else "(the estimator has no classes)"
            raise BagShapeError(
                f"values have {flat.shape[1]} columns; give one number for each instance, or one "
                f"for each class {wanted}. Average the heads of attention with [w.mean(axis=1) "
                "for w in weights]."
            )
        return flat[np.arange(len(flat)), explained[bag]]
    if n_columns != 2:
        if signed and n_columns > 2:
            raise ValueError(
                f"signed=True is for two classes, but the estimator has {n_columns}. Give one "
                "column for each class."
            )
        return flat
    if signed is None:
        raise ValueError(
            "With two classes, one number for each instance can mean two things. Say signed=True "
            f"where it speaks for {np.asarray(classes).tolist()[1]!r} and a negative one for the "
            "other class, as score_instances and instance_occlusion do, or signed=False where it "
            "is importance for either class, as attention is."
        )
    return np.where(explained[bag] == 1, flat, -flat) if signed else flat


def _ranks(importance, sizes, rng):
    """Place of each instance in its bag, 0 for the most important; NaN last, ties at random."""
    bag = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((rng.permutation(len(bag)), -importance, bag))
    rank = np.empty(len(bag), dtype=np.intp)
    rank[order] = np.arange(len(bag)) - np.repeat(offsets_of(sizes)[:-1], sizes)
    return rank
