"""How weights and groups get to the estimators inside an estimator."""

import warnings
from numbers import Integral

import numpy as np
from sklearn import config_context
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def steps_of(estimator, prefix=""):
    """Pairs of the prefix of its parameters and step, for a pipeline and pipelines in it."""
    if not isinstance(estimator, Pipeline):
        yield prefix, estimator
        return
    for name, step in estimator.steps:
        if step is not None and step != "passthrough":
            yield from steps_of(step, f"{prefix}{name}__")


def weight_names(estimator, instead):
    """Under which names ``fit`` takes weights, without metadata routing.

    Parameters
    ----------
    estimator : estimator
        Of a pipeline every step that can gets them, and the last one must.
    instead : str
        What the user may do where it does not take them.

    Returns
    -------
    names : list of str
    """
    steps = dict(steps_of(estimator))
    takers = [name for name, step in steps.items() if _takes_weight(step)]
    last = list(steps)[-1]
    if last not in takers:
        raise ValueError(
            f"{type(steps[last]).__name__}.fit takes no sample_weight, so that bags cannot be "
            f"weighted. {instead}"
        )
    return [f"{name}sample_weight" for name in takers]


def fit_inside(estimator, X, *y, weight=None, instead="", **fit_params):
    """Fit an estimator that is inside another one, in place.

    Without metadata routing: each step, and what it wraps, would have to request the weights.
    """
    if weight is not None:
        fit_params |= dict.fromkeys(weight_names(estimator, instead), weight)
    with config_context(enable_metadata_routing=False):
        return estimator.fit(X, *y, **fit_params)


def split_by_group(estimator, y, groups):
    """Let the splits inside an estimator keep groups whole.

    Parameters
    ----------
    estimator : estimator
        A clone of the user's: it is changed. Where ``cv`` of a step is None or a number, the
        groups decide the folds; a splitter gets them.
    y : ndarray of int, shape (n_samples,)
        Numbers of the classes; all occur.
    groups : ndarray of shape (n_samples,)

    Returns
    -------
    fit_params : dict
        The groups, for each step whose ``fit`` takes them.
    """
    fit_params = {}
    for prefix, step in steps_of(estimator):
        if has_fit_parameter(step, "groups"):
            fit_params[f"{prefix}groups"] = groups
        elif hasattr(step, "cv") and isinstance(step.cv, (Integral, type(None))):
            step.set_params(cv=_group_folds(step, y, groups))
        elif hasattr(getattr(step, "cv", None), "split"):
            with warnings.catch_warnings():  # that somebody chose one that has no use for them
                warnings.filterwarnings("ignore", "The groups parameter is ignored")
                step.set_params(cv=list(step.cv.split(y, y, groups)))
    return fit_params


def _group_folds(step, y, groups):
    """Stratified folds by group, so many as the step asks for and every class allows."""
    pairs = np.unique(np.column_stack([y, np.unique(groups, return_inverse=True)[1]]), axis=0)
    fewest = np.bincount(pairs[:, 0]).min()
    n_folds = min(step.cv or 5, fewest)
    if n_folds < 2:
        raise ValueError(
            f"{type(step).__name__} needs samples of at least two groups of each class for its "
            "folds, and of one class all belong to one group. Pass bags of more groups, or a "
            "classifier without folds."
        )
    return list(StratifiedGroupKFold(n_folds).split(y, y, groups))


def _takes_weight(estimator):
    # These hand on whatever they get.
    if isinstance(estimator, (GridSearchCV, RandomizedSearchCV)):
        return _takes_weight(estimator.estimator)
    if isinstance(estimator, VotingClassifier):
        return all(_takes_weight(member) for _, member in estimator.estimators)
    return has_fit_parameter(estimator, "sample_weight")
