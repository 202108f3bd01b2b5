"""What is inside a fitted estimator: what wrappers hold, and the members of a vote."""

from milkit.base import BagMixin

__all__ = ["decision_source", "inside", "is_a", "voters_of", "walk", "wrapped"]

# Wrappers that hold one fitted estimator, and where.
_SINGLE = ("best_estimator_", "estimator_")


def is_a(estimator, *names):
    """Has its class, or one that it derives from, one of these names?

    So that nothing is imported only to be compared with, PyTorch least of all.
    """
    return bool(set(names) & {c.__name__ for c in type(estimator).__mro__})


def wrapped(estimator):
    """The one fitted estimator that answers for a search, a threshold or a FrozenEstimator.

    None for everything else: what is inside one of milkit's own sees other bags, and the
    ``estimator_`` of an ensemble is only what its members were cloned from.
    """
    if is_a(estimator, "FrozenEstimator"):
        return estimator.estimator
    if isinstance(estimator, BagMixin) or hasattr(estimator, "estimators_"):
        return None
    return next((getattr(estimator, name) for name in _SINGLE if hasattr(estimator, name)), None)


def voters_of(estimator):
    """The fitted members of a VotingClassifier or VotingRegressor with their weights; or None.

    The weights are a list of float, or None for equal ones.
    """
    if not is_a(estimator, "VotingClassifier", "VotingRegressor"):
        return None
    weights = estimator.weights
    if weights is not None:
        named = zip(estimator.estimators, weights, strict=True)
        weights = [weight for (_, one), weight in named if one != "drop"]
    return list(estimator.estimators_), weights


def inside(estimator):
    """The fitted estimators directly inside, as far as evidence of instances comes from them."""
    if isinstance(estimator, (list, tuple)):
        return list(estimator)
    if (one := wrapped(estimator)) is not None:
        return [one]
    if votes := voters_of(estimator):
        return votes[0]
    if hasattr(estimator, "steps"):
        return [estimator.steps[-1][1]]
    if hasattr(estimator, "calibrated_classifiers_"):
        return [member.estimator for member in estimator.calibrated_classifiers_]
    if is_a(estimator, "ClinicalFusion", "OneVsRestClassifier"):
        return list(estimator.estimators_)
    return []


def walk(estimator):
    """The estimator and all that is inside, from the outside in."""
    yield estimator
    for one in inside(estimator):
        yield from walk(one)


def decision_source(estimator):
    """The estimator that makes the decisions, inside pipelines, searches and wrappers."""
    if (one := wrapped(estimator)) is not None:
        return decision_source(one)
    if hasattr(estimator, "steps"):
        return decision_source(estimator.steps[-1][1])
    if hasattr(estimator, "final_estimator_"):  # ClinicalFusion, stacking
        return decision_source(estimator.final_estimator_)
    if is_a(estimator, "BaggingClassifier"):  # the mean of its members' decisions
        return decision_source(estimator.estimators_[0])
    return estimator
