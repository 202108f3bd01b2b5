"""Numbers as a report prints them."""

import math

import numpy as np

_MINUS = "\u2212"  # screen readers leave out hyphens


def formatter(values, *, signed=True, width=0.0):
    """A function that prints numbers like these with three digits of the largest.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers that stand in one column, so that all get the same decimals.
    signed : bool, default=True
        Whether positive numbers have a plus.
    width : float, default=0.0
        A difference between numbers that gets two digits, with up to ten digits of the largest.

    Returns
    -------
    text : callable
        Turns a number into a str.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    first = _exponent(largest) if largest else 0
    behind = 2  # digits behind the first
    if width > 0:
        behind = min(max(behind, first - _exponent(width) + 1), 9)
    plainly = not largest or 1e-4 <= largest < 1e6
    kind = f".{max(behind - first, 0)}f" if plainly else f".{behind}e"
    return lambda value: _printed(value, kind, signed)


def _exponent(value):
    return math.floor(math.log10(abs(value)))


def _printed(value, kind, signed):
    if not np.isfinite(value):
        return "missing"
    text = f"{abs(value):{kind}}"
    if float(text) == 0:
        return text
    return (_MINUS if value < 0 else "+" if signed else "") + text


def significant(value, digits):
    """A number by itself, to so many digits, or to more where all are in front of the point.

    No exponent is written from 1e-4 on and below 1e15.
    """
    value = float(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}".replace("-", _MINUS)
    decimals = max(digits - 1 - _exponent(value), 0)
    return f"{value:.{decimals}f}".replace("-", _MINUS)


def plain(value, digits=4):
    """A number of a table by itself: whole numbers whole, others to so many digits."""
    if isinstance(value, (int, np.integer)):
        return str(value).replace("-", _MINUS)
    text = significant(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def counted(n, noun):
    """``"1 cell"``, ``"2,000 cells"``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def raised(text):
    """The same with its first letter as a capital; "RBC" stays "RBC"."""
    return text[:1].upper() + text[1:]


def probability(value):
    """A probability with two decimals; only 0 and 1 themselves are printed so."""
    if not np.isfinite(value):
        return "missing"
    if 0 < value < 0.01:
        return "<0.01"
    return ">0.99" if 0.99 < value < 1 else f"{value:.2f}"
