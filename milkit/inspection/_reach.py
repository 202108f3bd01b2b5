"""Instance outputs of the estimator inside pipelines, searches and wrappers."""

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from milkit.bags import BagArray
from milkit.base import BagMixin, split_by_bag
from milkit.exceptions import BagShapeError
from milkit.utils._containers import columns_beside_bags
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

# Wrappers that hold one fitted estimator, and where.
_SINGLE = ("best_estimator_", "estimator_")


def score_instances(estimator, X):
    """Evidence of each instance, from the estimator inside pipelines and wrappers.

    Parameters
    ----------
    estimator : fitted estimator
        An estimator with ``score_instances``, or any nesting of Pipeline, GridSearchCV (and
        other searches), FrozenEstimator, CalibratedClassifierCV, FixedThresholdClassifier,
        TunedThresholdClassifierCV and OneVsRestClassifier around one.
    X : container of n_bags bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes. An estimator finds the
        covariates that it names among the other columns of a DataFrame.

    Returns
    -------
    evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
        Aligned with the instances of X itself: NaN where a step dropped the instance. Over the
        members of a CalibratedClassifierCV it is the mean (of their evidence, before
        calibration).

    Raises
    ------
    TypeError
        If no estimator with instance outputs is inside, or a step gives one row per bag.

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
        Sum to 1 over the instances of a bag that were not dropped; NaN for those that were.
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


def _aligned(estimator, X, method):
    if estimator is None or isinstance(estimator, type):
        raise TypeError(
            f"estimator must be a fitted estimator, such as MISVM().fit(X, y). Got {estimator!r} "
            "instead."
        )
    bags = as_bag_array(X, covariates=columns_beside_bags(X))
    if reads_as_table(X):
        raise BagShapeError(
            f"{method} needs bags, but got one 2-D table, which may be a single bag. Pass [bag] "
            "for one bag, or a list of bags."
        )
    positions = np.arange(bags.n_instances)
    bags = bags.with_columns(instance_data={**bags.instance_data, _POSITION: positions})
    return split_by_bag(_values(estimator, bags, method), bags)


def _values(estimator, bags, method):
    """Flat values for all instances of ``bags``, NaN for those that were dropped."""
    if hasattr(estimator, "steps"):
        return _through_pipeline(estimator, bags, method)
    if hasattr(type(estimator), method):
        try:
            instance_method = getattr(estimator, method)
        except AttributeError as error:  # these parameters have none, and the cause says why
            if isinstance(error.__cause__, NotFittedError):
                raise error.__cause__ from None
            raise TypeError(str(error.__cause__ or error)) from error
        return np.concatenate(instance_method(bags))
    if isinstance(estimator, BagMixin):  # what is inside one of milkit's sees other bags
        raise TypeError(_lacks(estimator, method))
    if _is_wrapper(estimator):
        check_is_fitted(estimator)
    for name in _SINGLE:
        if hasattr(estimator, name):
            return _values(getattr(estimator, name), bags, method)
    if hasattr(estimator, "cv_results_"):
        raise TypeError(
            f"{type(estimator).__name__} holds no fitted estimator; {method} needs refit=True."
        )
    if hasattr(estimator, "calibrated_classifiers_"):
        members = [member.estimator for member in estimator.calibrated_classifiers_]
        return _mean_of_members(members, bags, method)
    if hasattr(estimator, "estimators_") and hasattr(estimator, "n_classes_"):
        return _one_vs_rest(estimator, bags, method)
    if hasattr(estimator, "estimator"):  # FrozenEstimator
        return _values(estimator.estimator, bags, method)
    raise TypeError(_lacks(estimator, method))


def _lacks(estimator, method):
    return (
        f"{type(estimator).__name__} has no {method}. It needs an estimator such as "
        f"{_HAVE[method]}, alone or inside a Pipeline, a search or a calibration or threshold "
        "wrapper."
    )


def _is_wrapper(estimator):
    """Does it hold an estimator of its own, so that it must be fitted before one looks inside?"""
    return hasattr(estimator, "get_params") and (
        "estimator" in estimator.get_params(deep=False)
        and type(estimator).__name__ != "FrozenEstimator"
    )


def _through_pipeline(pipeline, bags, method):
    Xt = bags
    for name, step in pipeline.steps[:-1]:
        if step is None or step == "passthrough":
            continue
        Xt = step.transform(Xt)
        if not isinstance(Xt, BagArray):
            if reads_as_table(Xt):
                raise TypeError(
                    f"Step {name!r} ({type(step).__name__}) turns each bag into one row, so "
                    f"{method} has no instances to speak of."
                )
            Xt = as_bag_array(Xt)
    kept = Xt.instance_data.get(_POSITION)
    if kept is None:  # a step of somebody else's, which lost the instance data
        if not np.array_equal(Xt.sizes, bags.sizes):
            raise TypeError(
                "A step of the pipeline changed the number of instances and lost their instance "
                "data, so that they cannot be traced back. Let it return "
                "BagArray.select_instances(mask)."
            )
        kept = bags.instance_data[_POSITION]
        Xt = Xt.with_columns(instance_data={**Xt.instance_data, _POSITION: kept})
    values = _values(pipeline.steps[-1][1], Xt, method)
    # A pipeline inside a pipeline may get a selection already; positions rise, so a search finds
    # each in what this pipeline got.
    return _scatter(values, np.searchsorted(bags.instance_data[_POSITION], kept), bags.n_instances)


def _scatter(values, index, n_instances):
    if len(values) == n_instances:
        return values
    dtype = float if values.dtype.kind == "f" else object
    full = np.full((n_instances, *values.shape[1:]), np.nan, dtype=dtype)
    full[index] = values
    return full


def _mean_of_members(members, bags, method):
    if len(members) > 1 and method == "predict_instances":
        raise TypeError(
            f"The wrapper holds {len(members)} fitted members, which may label an instance "
            "differently. Use score_instances, which averages, or "
            "CalibratedClassifierCV(ensemble=False)."
        )
    values = np.stack([_values(member, bags, method) for member in members])
    counts = (~np.isnan(values)).sum(axis=0)
    totals = np.nansum(values, axis=0)
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def _one_vs_rest(estimator, bags, method):
    if method != "score_instances":
        raise TypeError(f"OneVsRestClassifier has several estimators and no single {method}.")
    columns = [_values(member, bags, method) for member in estimator.estimators_]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)
