"""What the numbers of a report are, in words."""

from dataclasses import dataclass

from sklearn.base import is_regressor

from milkit.utils._inside import inside, is_a, walk

__all__ = ["OCCLUSION", "PROBABILITY", "Unit", "calibration", "kinds_of", "unit_of_evidence"]


@dataclass(frozen=True)
class Unit:
    """What evidence counts in.

    ``text`` is a sentence that follows "Evidence is", with ``{noun}`` in it. ``signed`` is True
    where numbers above zero speak for the class, ``one_scale`` where instances of different bags
    can be compared.
    """

    text: str
    signed: bool = True
    one_scale: bool = False


_LOG_ODDS = "counted in log-odds, as networks decide. It is neither a probability nor a share"
_MARGIN = "the decision value of the {noun}; \u00b11 is the margin. It is no probability"
_NUMBER = "counted in the unit of the predicted number"
_OWN = "counted in a unit of the model's own. It is neither a probability nor a share"
_MIXED = (
    "a mean over members that count in different units, so that those with the larger numbers "
    "outweigh the others"
)

PROBABILITY = Unit(
    "the probability of the class that the model gives to a single {noun}",
    signed=False,
    one_scale=True,
)
# By the method that is asked with and without the instance.
OCCLUSION = {
    "decision_function": Unit("counted in the unit of the model's decision value"),
    "predict_proba": Unit("a difference of probabilities: 0.1 is ten in a hundred"),
    "predict": Unit(_NUMBER),
}


def unit_of_evidence(estimator):
    """The unit of ``score_instances``.

    Parameters
    ----------
    estimator : fitted estimator or list of such

    Returns
    -------
    unit : Unit
    """
    units = {_unit_of(one) for one in walk(estimator) if not inside(one)}
    one_scale = all(unit.one_scale for unit in units)
    signed = all(unit.signed for unit in units)
    texts = {unit.text for unit in units}
    if len(texts) > 1:
        return Unit(_MIXED, signed)
    return Unit(texts.pop(), signed, one_scale)


def _unit_of(estimator):
    if is_a(estimator, "BaseAttentionMIL"):
        one_scale = _network_has_one_scale(estimator)
        return Unit(_NUMBER if is_regressor(estimator) else _LOG_ODDS, one_scale=one_scale)
    if is_a(estimator, "MISVM"):
        return Unit(_MARGIN, one_scale=True)
    if is_a(estimator, "BaseInstanceClassifier"):
        if hasattr(estimator.estimator_, "predict_proba"):
            return PROBABILITY
        signed = hasattr(estimator.estimator_, "decision_function")
        return Unit(_OWN, signed=signed, one_scale=True)
    return Unit(_NUMBER if is_regressor(estimator) else _OWN)


def _network_has_one_scale(network):
    """See the notes of ``AttentionMILClassifier.score_instances``."""
    if network.pooling == "max":
        return network.level == "instance"
    return network.pooling == "mean" and is_a(network.network_.head, "LinearHead")


def kinds_of(estimator):
    """Names of the classes of the estimators that decide, sorted: equal ones have one unit."""
    if is_a(estimator, "ClinicalFusion"):
        return kinds_of(estimator.final_estimator_)
    if not (parts := inside(estimator)):
        return (type(estimator).__name__,)
    return tuple(sorted({kind for one in parts for kind in kinds_of(one)}))


def calibration(estimator):
    """Whether numbers come from a calibrator: "all" of the members', "some" or "none"."""
    if is_a(estimator, "CalibratedClassifierCV"):
        return "all"
    if is_a(estimator, "SVC", "NuSVC"):  # which calibrate with cross-validation of their own
        return "all" if estimator.probability is True else "none"
    if is_a(estimator, "ClinicalFusion"):
        return calibration(estimator.final_estimator_)
    found = {calibration(one) for one in inside(estimator)} or {"none"}
    return found.pop() if len(found) == 1 else "some"
