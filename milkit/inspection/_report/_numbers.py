"""Numbers as a report prints them."""

import numpy as np

_MINUS = "\u2212"  # screen readers leave out hyphens


def formatter(values, *, signed=True):
    """A function that prints numbers like these with three digits of the largest.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers that stand in one column, so that all get the same decimals.
    signed : bool, default=True
        Whether positive numbers have a plus.

    Returns
    -------
    text : callable
        Turns a number into a str.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest and not 1e-4 <= largest < 1e6:
        kind = ".2e"
    else:
        decimals = 2 - int(np.floor(np.log10(largest))) if largest else 2
        kind = f".{min(max(decimals, 0), 6)}f"
    return lambda value: _printed(value, kind, signed)


def _printed(value, kind, signed):
    if not np.isfinite(value):
        return "missing"
    text = f"{abs(value):{kind}}"
    if float(text) == 0:
        return text
    return (_MINUS if value < 0 else "+" if signed else "") + text


def plain(value):
    """A number of a table by itself, to four digits, and whole numbers whole."""
    if float(value).is_integer() and abs(value) < 1e15:
        text = f"{value:.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", _MINUS)


def counted(n, noun):
    """``"1 cell"``, ``"2,000 cells"``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def probability(value):
    """A probability with two decimals; only 0 and 1 themselves are printed so."""
    if not np.isfinite(value):
        return "missing"
    if 0 < value < 0.01:
        return "<0.01"
    return ">0.99" if 0.99 < value < 1 else f"{value:.2f}"
