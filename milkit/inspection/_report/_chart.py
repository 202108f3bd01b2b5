"""Drawings of a report as inline SVG: bars and the evidence curve."""

import numpy as np

from milkit.inspection._report._markup import element, join
from milkit.inspection._report._numbers import counted, formatter

__all__ = ["evidence_bar", "evidence_curve", "share_bar"]

# The curve's points at most, and how many at each end are never left out.
_POINTS, _ENDS = 400, 20
_WIDTH, _HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 8, 12, 40
# Shares of the ranking in the table beside the curve, in percent.
_STOPS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


def evidence_bar(value, low, high):
    """A bar from zero, on a scale from ``low`` to ``high``, with zero between them."""
    scale = 100 / (high - low) if high > low else 0
    zero = -low * scale
    return element(
        "svg",
        _rect(
            f"{zero + min(value, 0) * scale:.1f}",
            1,
            f"{abs(value) * scale:.1f}",
            8,
            class_="for" if value >= 0 else "against",
        ),
        element("path", d=f"M{min(max(zero, 0.5), 99.5):.1f} 0V10", class_="axis"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def share_bar(value, low=None, high=None):
    """A bar for a number between 0 and 1, with a line from the least to the largest member."""
    spread = None
    if low is not None:
        a, b = 100 * low, 100 * high
        path = f"M{a:.1f} 1V9M{b:.1f} 1V9M{a:.1f} 5H{b:.1f}"
        spread = element("path", d=path, class_="spread")
    return element(
        "svg",
        _rect(0, 0, 100, 10, class_="ground"),
        _rect(0, 0, f"{100 * value:.1f}", 10, class_="share"),
        spread,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def evidence_curve(values, noun, towards, identifier):
    """All instances in the order of their evidence, as a drawing and as a table.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Finite, the largest first.
    noun : str
    towards : str
        What the evidence is for.
    identifier : str
        Begins the identifiers of the drawing's title and description.

    Returns
    -------
    html : Markup
    """
    n = len(values)
    text = formatter(values)
    summary = (
        f"{counted(n, noun)}, from {text(values[0])} down to {text(values[-1])}, "
        f"{np.sum(values > 0):,} above and {np.sum(values < 0):,} below zero."
    )
    low, high = min(values[-1], 0.0), max(values[0], 0.0)
    if low == high:
        low, high = -1.0, 1.0
    ranks = _kept(n)
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (ranks + 0.5) / n
    height = _HEIGHT - _TOP - _BOTTOM
    y = _TOP + height * (high - values[ranks]) / (high - low)
    zero = _TOP + height * high / (high - low)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    outline = f"{x[0]:.1f},{zero:.1f} {points} {x[-1]:.1f},{zero:.1f}"
    marks = [
        element("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.5) for a, b in zip(x, y, strict=True)
    ]
    titles = f"{identifier}-title", f"{identifier}-text"
    svg = element(
        "svg",
        element("title", f"Evidence for {towards} of each {noun}, the largest first", id=titles[0]),
        element("desc", summary, id=titles[1]),
        element("polygon", points=outline, class_="area"),
        element("path", d=f"M{_LEFT} {zero:.1f}H{_WIDTH - _RIGHT}", class_="zero"),
        element("polyline", points=points, class_="line"),
        *(marks if n <= 60 else []),
        *_axes(low, high, zero, n, noun, text),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=" ".join(titles),
        class_="curve",
    )
    return join(element("p", summary), svg, _table(values, noun, text))


def _axes(low, high, zero, n, noun, text):
    """Numbers at the left, ranks below; aria-hidden is not needed inside an image."""
    levels = {value: f"{text(value)}" for value in (high, low) if value}
    for value, written in {**levels, 0.0: "0"}.items():
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)
        if value and abs(y - zero) < 18:  # would lie on the 0
            continue
        yield element("text", written, x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end")
    below = _HEIGHT - _BOTTOM + 20
    yield element("text", f"1st {noun}", x=_LEFT, y=below)
    if n > 1:
        last = f"last of {n:,}"
        yield element("text", last, x=_WIDTH - _RIGHT, y=below, text_anchor="end")


def _kept(n):
    """Ranks that are drawn: all of few, else both ends and even steps between them."""
    if n <= _POINTS:
        return np.arange(n)
    between = np.linspace(_ENDS, n - 1 - _ENDS, _POINTS - 2 * _ENDS).astype(int)
    return np.unique(np.r_[np.arange(_ENDS), between, np.arange(n - _ENDS, n)])


def _table(values, noun, text):
    ranks = np.unique(np.rint(np.array(_STOPS) / 100 * (len(values) - 1)).astype(int))
    rows = [
        element(
            "tr", element("th", f"{rank + 1:,}", scope="row"), element("td", text(values[rank]))
        )
        for rank in ranks
    ]
    head = element("tr", element("th", "Rank", scope="col"), element("th", "Evidence", scope="col"))
    caption = f"Evidence at some ranks, of {counted(len(values), noun)}"
    table = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *rows),
        class_="numbers narrow",
    )
    return element("details", element("summary", "The curve as a table"), table)


def _rect(x, y, width, height, **attributes):
    return element("rect", x=x, y=y, width=width, height=height, **attributes)
