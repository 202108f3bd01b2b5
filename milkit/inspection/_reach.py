"""Instance outputs of the estimator inside pipelines, searches and wrappers."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.validation import check_is_fitted

from milkit.bags import BagArray
from milkit.base import BagMixin, split_by_bag
from milkit.exceptions import BagShapeError
from milkit.inspection._classes import refuse_multilabel
from milkit.utils._containers import columns_beside_bags, is_frame
from milkit.utils._inside import is_a, voters_of, wrapped
from milkit.utils.validation import as_bag_array, reads_as_table

__all__ = ["attention_weights", "predict_instances", "score_instances"]

# Travels through bags-to-bags steps with the instances, and tells where each came from.
_POSITION = "milkit_position"

# Which estimators of milkit have each output.
_HAVE = {
    "score_instances": "MISVM, AttentionMILClassifier or InstanceVotingClassifier",
    "attention_weights": "AttentionMILClassifier",
    "predict_instances": "MISVM or InstanceVotingClassifier",
}


def score_instances(estimator, X):
    """Evidence of each instance, from the estimator inside pipelines and wrappers.

    Parameters
    ----------
    estimator : fitted estimator
        An estimator with ``score_instances``, or any nesting of Pipeline, GridSearchCV (and
        other searches), FrozenEstimator, CalibratedClassifierCV, FixedThresholdClassifier,
        TunedThresholdClassifierCV, OneVsRestClassifier, VotingClassifier and VotingRegressor
        around one, or several.
    X : container of n_bags bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes. An estimator finds the
        covariates that it names among the other columns of a DataFrame, and a step that takes
        nothing but the DataFrame, such as a ColumnTransformer, gets that.

    Returns
    -------
    evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
        Aligned with the instances of X itself, in their order: NaN where a step dropped the
        instance. Over the members of a CalibratedClassifierCV it is the mean (of their evidence,
        before calibration); for each class that of the members that know the class, and NaN for
        one that none knows. Over the voters of a VotingClassifier or VotingRegressor it is the
        mean with the weights of the vote; those should count in the same units. What some members
        dropped has the mean of the others.

    Raises
    ------
    TypeError
        If no estimator with instance outputs is inside, a step gives one row per bag, y had two
        dimensions, or the members cannot be averaged.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from milkit import MISVM, InstanceTransformer
    >>> from milkit.inspection import score_instances
    >>> X = [np.array([[0.0], [9.0]]), np.array([[0.0], [1.0]])]
    >>> model = make_pipeline(InstanceTransformer(StandardScaler()), MISVM()).fit(X, [1, 0])
    >>> int(score_instances(model, X)[0].argmax())
    1
    """
    return _aligned(estimator, X, "score_instances")


def attention_weights(estimator, X):
    """Attention weight of each instance, from the estimator inside pipelines and wrappers.

    Parameters
    ----------
    estimator : fitted estimator
        See :func:`score_instances`.
    X : container of n_bags bags

    Returns
    -------
    weights : list of ndarray, each of shape (n_i,)
        Sum to 1 over the instances of a bag that were not dropped; NaN for those that were. Over
        several members it is their mean, to which a member adds 0 where it dropped the instance.
        Never compare them across bags.

    Raises
    ------
    TypeError
        If no estimator with attention weights is inside.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from milkit import AttentionMILClassifier
    >>> from milkit.inspection import attention_weights
    >>> X = [np.full((3, 1), float(i % 2)) for i in range(8)]
    >>> search = GridSearchCV(AttentionMILClassifier(max_iter=2), {"dropout": [0.0]}, cv=2)
    >>> attention_weights(search.fit(X, [0, 1] * 4), X)[0].shape
    (3,)
    """
    return _aligned(estimator, X, "attention_weights")


def predict_instances(estimator, X):
    """Label of each instance, from the estimator inside pipelines and wrappers.

    Parameters
    ----------
    estimator : fitted estimator
        See :func:`score_instances`.
    X : container of n_bags bags

    Returns
    -------
    labels : list of ndarray, each of shape (n_i,)
        Aligned with the instances of X itself, as the estimator inside labels them: the threshold
        of a FixedThresholdClassifier or TunedThresholdClassifierCV is one for bags. Where a step
        dropped instances the arrays have dtype object and hold NaN for those.

    Raises
    ------
    TypeError
        If no estimator that labels instances is inside, or several with a vote to be taken.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from milkit import MISVM, InstanceTransformer
    >>> from milkit.inspection import predict_instances
    >>> X = [np.array([[0.0], [9.0]]), np.array([[0.0], [1.0]])]
    >>> model = make_pipeline(InstanceTransformer(StandardScaler()), MISVM()).fit(X, [1, 0])
    >>> predict_instances(model, X)
    [array([0, 1]), array([0, 0])]
    """
    return _aligned(estimator, X, "predict_instances")


class _Given(NamedTuple):
    """Bags on their way through an estimator.

    ``bags`` is a BagArray that carries the positions of its instances, ``frame`` the DataFrame
    that it was read from, or None.
    """

    bags: BagArray
    frame: Any

    @property
    def positions(self):
        return self.bags.instance_data[_POSITION]


def _aligned(estimator, X, method):
    if estimator is None or isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted estimator, such as MISVM().fit(X, y). Got {estimator!r} "
            "instead."
        )
    bags = _read(X)
    if reads_as_table(X):
        raise BagShapeError(
            f"{method} needs bags, but got one 2-D table, which may be a single bag. Pass [bag] "
            "for one bag, or a list of bags."
        )
    given = _given(X, _with_positions(bags, np.arange(bags.n_instances)))
    return split_by_bag(_values(estimator, given, method), bags)


def _read(X):
    return as_bag_array(X, covariates=columns_beside_bags(X))


def _with_positions(bags, positions):
    return bags.with_columns(instance_data={**bags.instance_data, _POSITION: positions})


def _given(X, bags):
    return _Given(bags, X if is_frame(X) else None)


def _values(estimator, given, method):
    """Flat values for all instances of the bags, NaN for those that were dropped."""
    if hasattr(estimator, "steps"):
        return _through_pipeline(estimator, given, method)
    if hasattr(type(estimator), method):
        try:
            instance_method = getattr(estimator, method)
        except AttributeError as error:  # these parameters have none, and the cause says why
            if isinstance(error.__cause__, NotFittedError):
                raise error.__cause__ from None
            raise TypeError(str(error.__cause__ or error)) from error
        return np.concatenate(instance_method(given.bags))
    if isinstance(estimator, BagMixin):  # what is inside one of milkit's sees other bags
        raise TypeError(_lacks(estimator, method))
    if (one := wrapped(estimator)) is not None:
        return _values(one, given, method)
    if _is_wrapper(estimator):
        check_is_fitted(estimator)
    if hasattr(estimator, "cv_results_"):
        raise TypeError(
            f"{type(estimator).__name__} holds no fitted estimator; {method} needs refit=True."
        )
    if hasattr(estimator, "calibrated_classifiers_"):
        return _over_calibrated(estimator, given, method)
    if is_a(estimator, "VotingClassifier", "VotingRegressor"):
        return _over_voters(estimator, given, method)
    if isinstance(estimator, OneVsRestClassifier):
        return _one_vs_rest(estimator, given, method)
    raise TypeError(_lacks(estimator, method))


def _lacks(estimator, method):
    return (
        f"{type(estimator).__name__} has no {method}. It needs an estimator such as "
        f"{_HAVE[method]}, alone or inside a Pipeline, a search, a vote or a calibration or "
        "threshold wrapper."
    )


def _is_wrapper(estimator):
    """Does it hold an estimator of its own, so that it must be fitted before one looks inside?"""
    return hasattr(estimator, "get_params") and "estimator" in estimator.get_params(deep=False)


def _through_pipeline(pipeline, given, method):
    last = given
    for name, step in pipeline.steps[:-1]:
        if step is not None and step != "passthrough":
            last = _through_step(name, step, last, method)
    values = _values(pipeline.steps[-1][1], last, method)
    # A step may have dropped instances, or put them into another order.
    order = np.argsort(given.positions)
    index = order[np.searchsorted(given.positions, last.positions, sorter=order)]
    return _scatter(values, index, given.bags.n_instances)


def _through_step(name, step, given, method):
    Xt = _transformed(step, given)
    if Xt is given.bags:  # and the DataFrame stays what the next step may want
        return given
    if not isinstance(Xt, BagArray) and reads_as_table(Xt):
        raise TypeError(
            f"Step {name!r} ({type(step).__name__}) turns each bag into one row, so {method} has "
            "no instances to speak of."
        )
    bags = _read(Xt)
    positions = bags.instance_data.get(_POSITION)
    if positions is None:  # a step of somebody else's, which lost the instance data
        if not np.array_equal(bags.sizes, given.bags.sizes):
            raise TypeError(
                f"Step {name!r} ({type(step).__name__}) changed the number of instances and lost "
                "their instance data, so that they cannot be traced back. Let it take a BagArray "
                "and return X.select_instances(mask)."
            )
        bags = _with_positions(bags, given.positions)
    elif len(np.unique(positions)) < len(positions):
        raise TypeError(
            f"Step {name!r} ({type(step).__name__}) repeats instances, so that {method} has "
            "several values for one. Leave the step out, or let it give each instance once."
        )
    return _given(Xt, bags)


def _transformed(step, given):
    """What a step makes of the bags; of the DataFrame where it takes nothing else."""
    try:
        return step.transform(given.bags)
    except (AttributeError, LookupError, TypeError, ValueError) as first:  # it may want a frame
        if given.frame is None:
            raise
        try:
            return step.transform(given.frame)
        except Exception as second:
            raise second from first


def _scatter(values, index, n_instances):
    """Values in the places of an index; NaN in all others."""
    dtype = values.dtype
    if len(values) < n_instances:
        dtype = float if dtype.kind == "f" else object
    full = np.empty((n_instances, *values.shape[1:]), dtype=dtype)
    if len(values) < n_instances:
        full[:] = np.nan
    full[index] = values
    return full


def mean_of_members(values, weights=None, shares=False):
    """Mean over the members, of those that have a finite number.

    Parameters
    ----------
    values : array-like of shape (n_members, n, ...)
    weights : array-like of shape (n_members,), default=None
        None weighs all alike.
    shares : bool, default=False
        Are the numbers shares of a whole? Then a member that has none adds 0, so that the means
        are shares, too.

    Returns
    -------
    means : ndarray of shape (n, ...)
        NaN where no member has a number.
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    known = np.isfinite(values)
    each = weights.reshape(-1, *[1] * (values.ndim - 1)) * known
    totals = each.sum(axis=0)
    sums = (each * np.where(known, values, 0)).sum(axis=0)
    by = np.full(totals.shape, weights.sum()) if shares else totals
    return np.divide(sums, by, out=np.full(sums.shape, np.nan), where=totals > 0)


def _over_voters(vote, given, method):
    check_is_fitted(vote)
    if method == "predict_instances":
        raise TypeError(
            f"The members of {type(vote).__name__} may label an instance differently. Use "
            "score_instances, which averages."
        )
    members, weights = voters_of(vote)
    values = [_values(member, given, method) for member in members]
    shares = method == "attention_weights"
    if shares:  # the heads of one have nothing to do with those of another
        values = [part if part.ndim == 1 else part.mean(axis=1) for part in values]
    elif len({part.ndim for part in values}) > 1:
        values = [part if part.ndim == 2 else np.column_stack([-part, part]) for part in values]
    return mean_of_members(values, weights, shares)


def _over_calibrated(estimator, given, method):
    members = [member.estimator for member in estimator.calibrated_classifiers_]
    if len(members) > 1 and method == "predict_instances":
        raise TypeError(
            f"The wrapper holds {len(members)} fitted members, which may label an instance "
            "differently. Use score_instances, which averages, or "
            "CalibratedClassifierCV(ensemble=False)."
        )
    values = [_values(member, given, method) for member in members]
    if method == "score_instances":
        values = _by_class(estimator, members, values)
    if len(members) == 1:
        return values[0]
    return mean_of_members(values, shares=method == "attention_weights")


def _by_class(estimator, members, values):
    """Evidence of members in the columns of the estimator's classes, NaN for unknown classes."""
    classes = np.asarray(estimator.classes_).tolist()
    known = [np.asarray(member.classes_).tolist() for member in members]
    if all(own == classes for own in known):
        return values
    columns = []
    for own, part in zip(known, values, strict=True):
        if part.ndim == 1:
            raise TypeError(
                f"A member of {type(estimator).__name__} was fitted on bags of {own} alone, and "
                f"its evidence for one against the other cannot be averaged with that for each of "
                f"{classes}. Let the training part of every split of cv hold bags of all classes, "
                "as StratifiedGroupKFold does, or use instance_occlusion."
            )
        column = np.full((len(part), len(classes)), np.nan)
        column[:, [classes.index(label) for label in own]] = part
        columns.append(column)
    return columns


def _one_vs_rest(estimator, given, method):
    if estimator.multilabel_:
        refuse_multilabel(estimator, (len(given.bags), len(estimator.classes_)))
    if method != "score_instances":
        raise TypeError(f"OneVsRestClassifier has several estimators and no single {method}.")
    columns = [_values(member, given, method) for member in estimator.estimators_]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)
