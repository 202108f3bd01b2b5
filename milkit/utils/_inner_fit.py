"""How weights get to the estimators inside an estimator."""

from sklearn import config_context
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
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


def _takes_weight(estimator):
    # These hand on whatever they get.
    if isinstance(estimator, (GridSearchCV, RandomizedSearchCV)):
        return _takes_weight(estimator.estimator)
    if isinstance(estimator, VotingClassifier):
        return all(_takes_weight(member) for _, member in estimator.estimators)
    return has_fit_parameter(estimator, "sample_weight")
