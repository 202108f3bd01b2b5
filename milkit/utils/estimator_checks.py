"""Checks that an estimator keeps the contract of estimators on bags."""

import re
import warnings
from functools import partial, wraps
from unittest import SkipTest

from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import EstimatorCheckFailedWarning, SkipTestWarning
from sklearn.utils._param_validation import StrOptions, validate_params

from milkit.utils._bag_checks import CHECKS

__all__ = [
    "bag_estimator_checks_generator",
    "check_bag_estimator",
    "parametrize_with_bag_checks",
]


def _require_instance(estimator):
    if isinstance(estimator, type):
        raise TypeError(
            f"Pass an instance of {estimator.__name__}, such as {estimator.__name__}(), and not "
            "the class."
        )


def _named(check, estimator):
    return partial(check, type(estimator).__name__)


def bag_estimator_checks_generator(
    estimator, *, expected_failed_checks=None, mark=None, xfail_strict=None
):
    """Yield an estimator with each of the bag checks.

    Parameters
    ----------
    estimator : estimator instance
        The estimator to check.
    expected_failed_checks : dict of str to str, default=None
        The names of checks that are expected to fail, each with the reason.
    mark : {"xfail", "skip"} or None, default=None
        What becomes of the checks that are expected to fail: "xfail" gives a
        ``pytest.param`` with that mark, "skip" a check that skips itself, None leaves them.
    xfail_strict : bool, default=None
        Whether a check that is expected to fail and passes is a failure. None leaves it to
        pytest's configuration. Used with ``mark="xfail"`` only.

    Yields
    ------
    estimator : estimator instance
        The estimator as it was given; each check clones it.
    check : callable
        To be called with the estimator.

    Raises
    ------
    TypeError
        If a class is given instead of an instance.

    See Also
    --------
    check_bag_estimator : Runs the checks.
    sklearn.utils.estimator_checks.estimator_checks_generator : Scikit-learn's own.

    Examples
    --------
    >>> from milkit import BagStatistics
    >>> from milkit.utils.estimator_checks import bag_estimator_checks_generator
    >>> for estimator, check in bag_estimator_checks_generator(BagStatistics()):
    ...     check(estimator)
    ...     break
    """
    _require_instance(estimator)
    expected = expected_failed_checks or {}
    for check in CHECKS:
        named = _named(check, estimator)
        reason = expected.get(check.__name__)
        if reason is None or mark is None:
            yield estimator, named
        elif mark == "xfail":
            import pytest

            strict = {} if xfail_strict is None else {"strict": xfail_strict}
            yield pytest.param(estimator, named, marks=pytest.mark.xfail(reason=reason, **strict))
        else:
            yield estimator, _skipping(named, check.__name__, reason)


def _skipping(named, check_name, reason):
    @wraps(named.func)
    def skip(estimator):
        raise SkipTest(f"Skipping {check_name} for {type(estimator).__name__}: {reason}")

    return skip


def _check_id(value):
    """A pytest id: the estimator as it is written, or the name of the check."""
    if isinstance(value, partial):
        return value.func.__name__
    if isinstance(value, BaseEstimator):
        with config_context(print_changed_only=True):
            return re.sub(r"\s", "", str(value))
    return getattr(value, "__name__", None)


def parametrize_with_bag_checks(estimators, *, expected_failed_checks=None, xfail_strict=None):
    """Decorate a pytest test so that it runs once for each estimator and bag check.

    Parameters
    ----------
    estimators : list of estimator instances
        The estimators to check.
    expected_failed_checks : callable, default=None
        Gets an estimator and returns a dict of the names of the checks that it is expected
        to fail, each with the reason. They are marked as xfail.
    xfail_strict : bool, default=None
        Whether a check that is expected to fail and passes is a failure. None leaves it to
        pytest's configuration.

    Returns
    -------
    decorator : pytest.mark.parametrize
        With the arguments ``estimator`` and ``check``.

    Raises
    ------
    TypeError
        If a class is given instead of an instance, or ``expected_failed_checks`` is a dict.

    See Also
    --------
    check_bag_estimator : The same without pytest.
    sklearn.utils.estimator_checks.parametrize_with_checks : Scikit-learn's own checks, which
        an estimator on bags passes beside these.

    Examples
    --------
    >>> from milkit import BagStatistics, SetKernel
    >>> from milkit.utils.estimator_checks import parametrize_with_bag_checks
    >>> @parametrize_with_bag_checks([BagStatistics(), SetKernel()])
    ... def test_on_bags(estimator, check):
    ...     check(estimator)
    """
    import pytest

    if expected_failed_checks is not None and not callable(expected_failed_checks):
        raise TypeError(
            "expected_failed_checks must be a callable that gets an estimator and returns a dict, "
            "because several estimators are checked. Got "
            f"{type(expected_failed_checks).__name__} instead; pass lambda estimator: {{...}}."
        )
    parameters = []
    for estimator in estimators:
        _require_instance(estimator)
        expected = None if expected_failed_checks is None else expected_failed_checks(estimator)
        parameters += bag_estimator_checks_generator(
            estimator, expected_failed_checks=expected, mark="xfail", xfail_strict=xfail_strict
        )
    return pytest.mark.parametrize(("estimator", "check"), parameters, ids=_check_id)


@validate_params(
    {
        "expected_failed_checks": [dict, None],
        "on_skip": [StrOptions({"warn"}), None],
        "on_fail": [StrOptions({"raise", "warn"}), None],
        "callback": [callable, None],
    },
    prefer_skip_nested_validation=False,
)
def check_bag_estimator(
    estimator, *, expected_failed_checks=None, on_skip="warn", on_fail="raise", callback=None
):
    """Check that an estimator keeps the contract of estimators on bags.

    The bag checks cover invariances at fit and predict, the containers, bags of very different
    size, memory, instance outputs, columns beside the instances, errors that name the bag,
    labels, persistence, randomness and scikit-learn's tools. They come on top of scikit-learn's
    own :func:`~sklearn.utils.estimator_checks.check_estimator`. An estimator whose fit holds a
    number for each pair of instances says ``_fit_needs_all_pairs = True``; it is then fitted on
    a bag of 300 instances instead of 10 000.

    Parameters
    ----------
    estimator : estimator instance
        The estimator to check.
    expected_failed_checks : dict of str to str, default=None
        The names of checks that are expected to fail, each with the reason.
    on_skip : "warn" or None, default="warn"
        Whether a check that does not apply to the estimator warns.
    on_fail : {"raise", "warn"} or None, default="raise"
        "raise" raises the error of the first check that fails without being expected to;
        "warn" warns and goes on; None goes on, and only the returned list tells.
    callback : callable, default=None
        Called after each check with the entries of its result as keyword arguments. Not
        together with ``on_fail="raise"``.

    Returns
    -------
    results : list of dict
        One for each check, with "estimator", "check_name", "exception", "status" ("passed",
        "skipped", "failed" or "xfail"), "expected_to_fail" and "expected_to_fail_reason".

    Raises
    ------
    TypeError
        If a class is given instead of an instance.
    ValueError
        If ``callback`` is given with ``on_fail="raise"``.
    Exception
        The error of a failed check with ``on_fail="raise"``.

    See Also
    --------
    parametrize_with_bag_checks : The same as a decorator for pytest.
    sklearn.utils.estimator_checks.check_estimator : Scikit-learn's own checks.

    Examples
    --------
    >>> from milkit import BagStatistics
    >>> from milkit.utils.estimator_checks import check_bag_estimator
    >>> results = check_bag_estimator(BagStatistics(), on_skip=None)
    >>> {result["status"] for result in results} == {"passed", "skipped"}
    True
    """
    _require_instance(estimator)
    if on_fail == "raise" and callback is not None:
        raise ValueError("callback cannot be given together with on_fail='raise'.")
    name = type(estimator).__name__
    expected = expected_failed_checks or {}
    results = []
    for check in CHECKS:
        check_name = check.__name__
        result = {
            "estimator": estimator,
            "check_name": check_name,
            "exception": None,
            "status": "passed",
            "expected_to_fail": check_name in expected,
            "expected_to_fail_reason": expected.get(check_name, "Check is not expected to fail"),
        }
        try:
            _named(check, estimator)(estimator)
        except SkipTest as skip:
            result |= {"exception": skip, "status": "skipped"}
            if on_skip == "warn":
                warnings.warn(
                    f"Skipping {check_name} for {name}: {skip}", SkipTestWarning, stacklevel=2
                )
        except Exception as error:
            if on_fail == "raise" and check_name not in expected:
                raise
            status = "xfail" if check_name in expected else "failed"
            result |= {"exception": error, "status": status}
            if on_fail == "warn":
                warnings.warn(EstimatorCheckFailedWarning(**result), stacklevel=2)
        results.append(result)
        if callback is not None:
            callback(**result)
    return results
