"""The instances of one bag, sorted."""

import numpy as np

from milkit.inspection._plotting import (
    GREY,
    RASTERIZE_ABOVE,
    WITNESS,
    count,
    legend,
    new_axes,
    plain,
    series_styles,
    set_title,
)
from milkit.inspection._shown import (
    check_kind,
    check_values,
    class_columns,
    class_values,
    one_bag,
    read_witness,
    value_name,
)

__all__ = ["InstanceScoreDisplay"]

# Up to so many instances each has a marker.
_MARKED = 150
# More classes than this are not told apart; the strongest are, and the others are grey.
_NAMED = 20


class InstanceScoreDisplay:
    """The instances of one bag, sorted by evidence or by attention.

    A few high points and a long flat rest say that few instances decided; a straight slope says
    that there is no telling which. Each class has a line of its own, sorted by itself. Use
    :meth:`from_estimator` to make one.

    Parameters
    ----------
    values : array-like of shape (n_instances, n_classes)
        Evidence for each class, or attention in one column. NaN is an instance that was dropped
        before it had a value.
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns. None where there are none, as for a regressor.
    kind : {"evidence", "attention"}, default="evidence"
        What the values are.
    witness : array-like of shape (n_instances,), default=None
        Known labels of the instances: true, or above zero, for a witness.
    bag_name : str, default="bag"
        What the bag is called in the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    lines_ : list of matplotlib Line2D
        One line for each column of ``values``, without the instances that have no value.
    order_ : list of ndarray, each of shape (n_instances_with_value,)
        Indices of the instances along each line: ``order_[0][0]`` is the strongest.

    See Also
    --------
    TopInstancesDisplay : The strongest instances of many bags, as pictures.
    milkit.inspection.score_instances : The evidence itself.

    Notes
    -----
    Attention weights of a bag sum to 1; the dashed line is the share of each if all were equal
    [1]_. They do not say which class an instance speaks for; evidence does.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based Deep Multiple Instance Learning",
       ICML 2018, arXiv:1802.04712.

    Examples
    --------
    >>> from milkit import MISVM
    >>> from milkit.datasets import make_mil_classification
    >>> from milkit.inspection import InstanceScoreDisplay
    >>> X, y = make_mil_classification(n_bags=20, random_state=0)
    >>> model = MISVM().fit(X, y)
    >>> display = InstanceScoreDisplay.from_estimator(model, X, index=int(y.argmax()))
    >>> display.ax_.get_ylabel()
    'evidence for 1 (+ for, − against)'
    """

    def __init__(self, values, *, classes=None, kind="evidence", witness=None, bag_name="bag"):
        check_kind(kind)
        self.values = check_values(values, 2)
        self.classes = None if classes is None else np.asarray(classes)
        if classes is not None and self.classes.shape != (self.values.shape[1],):
            raise ValueError(
                f"classes must have one label for each of the {self.values.shape[1]} columns of "
                f"values. Got shape {self.classes.shape} instead."
            )
        self.kind = kind
        self.witness = None if witness is None else np.asarray(witness)
        if witness is not None:
            if self.witness.shape != (len(self.values),):
                raise ValueError(
                    f"witness must have one entry for each of the {len(self.values)} instances. "
                    f"Got shape {self.witness.shape} instead."
                )
            self.witness = read_witness(self.witness)
        self.bag_name = str(bag_name)

    @classmethod
    def from_estimator(
        cls, estimator, X, *, index=0, kind="evidence", class_label=None, witness=None, ax=None
    ):
        """Show one bag as a fitted estimator sees it.

        Parameters
        ----------
        estimator : fitted estimator
            Anything that :func:`milkit.inspection.score_instances` takes, alone or inside
            pipelines and searches.
        X : container of n_bags bags
            Only the bag that is shown is looked at.
        index : int or str, default=0
            Position of the bag in X, or its name.
        kind : {"evidence", "attention"}, default="evidence"
            What to sort by.
        class_label : label or list of labels, default=None
            The classes to show the evidence for. None is the second of two classes, or all of
            more.
        witness : str or array-like of shape (n_i,), default=None
            Known labels of the instances of the bag, true or above zero for witnesses, or the
            name of an ``instance_data`` column that holds them.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : InstanceScoreDisplay
            With ``figure_`` and ``ax_``.

        Raises
        ------
        ValueError
            If the bag, a class or a column of instance data is not there.
        TypeError
            If no estimator with instance outputs is inside.
        """
        bag = one_bag(X, index)
        if witness is not None:
            witness = bag.column(witness, "witness")
        (values,), classes = class_values(estimator, bag.given, kind)
        columns = None if class_label is None else class_columns(classes, class_label)
        if kind == "attention":  # the same for all classes
            values, classes = values[:, :1], None
        elif columns is not None:
            values, classes = values[:, columns], classes[columns]
        elif classes is not None and len(classes) == 2:
            values, classes = values[:, 1:], classes[1:]
        display = cls(values, classes=classes, kind=kind, witness=witness, bag_name=bag.text)
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : InstanceScoreDisplay
            Itself.

        Raises
        ------
        ImportError
            If Matplotlib is not installed; it comes with ``pip install milkit[plot]``.
        """
        self.figure_, ax = new_axes("InstanceScoreDisplay.plot", ax)
        self.ax_ = ax
        n, n_lines = self.values.shape
        self.lines_, self.order_ = [], []
        handles, labels = [], []
        with_value = np.isfinite(self.values)
        colored = self._strongest_lines(with_value)
        styles = dict(zip(colored, series_styles(len(colored)), strict=True))
        raster = n > RASTERIZE_ABOVE
        for j in range(n_lines):
            order = np.argsort(-self.values[:, j], kind="stable")[: with_value[:, j].sum()]
            self.order_.append(order)
            color, dashes = styles.get(j, ("#d0d0d0", "-"))
            (line,) = ax.plot(
                *(1 + np.arange(len(order)), self.values[order, j]),
                color=color,
                linestyle=dashes,
                linewidth=1.6 if j in styles else 0.6,
                marker="o" if n <= _MARKED and j in styles else "",
                markersize=3.5 if n_lines == 1 else 2.5,
                zorder=2.2 if j in styles else 2.0,
                rasterized=raster,
            )
            self.lines_.append(line)
        if n_lines > 1:
            handles += [self.lines_[j] for j in colored]
            labels += [self._label(j) for j in colored]
        if len(colored) < n_lines:
            handles.append(next(self.lines_[j] for j in range(n_lines) if j not in styles))
            labels.append(f"{n_lines - len(colored)} other classes")
        for handle, label in (self._mark_witnesses(), self._reference(), self._mark_dropped()):
            if handle is not None:
                handles.append(handle)
                labels.append(label)
        self._describe()
        # All lines fall to the right, so that the upper right corner is free.
        place = {"loc": "upper right"}
        if len(labels) > 8:
            place = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        legend(ax, handles, labels, fontsize="small", edgecolor="none", **place)
        return self

    def _label(self, j):
        return f"column {j}" if self.classes is None else f"{self.classes[j]}"

    def _strongest_lines(self, with_value):
        """The lines that have colours of their own, in order of their columns."""
        n_lines = self.values.shape[1]
        if n_lines <= _NAMED:
            return list(range(n_lines))
        highest = np.where(with_value, self.values, -np.inf).max(axis=0)
        return sorted(np.argsort(-highest, kind="stable")[:_NAMED].tolist())

    def _mark_witnesses(self):
        if self.witness is None:
            return None, ""
        from matplotlib.lines import Line2D

        n = len(self.values)
        many, single = n > _MARKED, len(self.lines_) == 1
        style = {
            "linestyle": "",
            "marker": "|" if many else "D",
            "markersize": 10 if many else 6 if single else 4.5,
            "markeredgewidth": 1.0 if many else 0.8,
            "alpha": 0.4 if n > RASTERIZE_ABOVE else None,
        }
        for line, order in zip(self.lines_, self.order_, strict=True):
            here = self.witness[order]
            color = WITNESS if single else line.get_color()
            self.ax_.plot(
                *(line.get_xdata()[here], line.get_ydata()[here]),
                color=color,
                markeredgecolor=color if many else "black",
                zorder=line.get_zorder() + (-0.1 if many else 0.1),
                rasterized=n > RASTERIZE_ABOVE,
                **style,
            )
        handle = Line2D([], [], color=WITNESS if single else "0.4", **style)
        if not many:
            handle.set_markeredgecolor("black")
            handle.set_markerfacecolor(WITNESS if single else "white")
        return handle, f"known witness ({int(self.witness.sum()):,} of {n:,})"

    def _reference(self):
        if self.kind == "evidence":
            self.ax_.axhline(0, color="black", linewidth=0.7, zorder=1)
            return None, ""
        n_kept = int(np.isfinite(self.values[:, 0]).sum())
        if n_kept == 0:
            return None, ""
        line = self.ax_.axhline(1 / n_kept, color="black", linestyle="--", linewidth=0.8, zorder=1)
        return line, f"equal share, 1/{n_kept:,}"

    def _mark_dropped(self):
        n, n_kept = len(self.values), min(map(len, self.order_))
        if n_kept == n:
            return None, ""
        span = self.ax_.axvspan(
            n_kept + 0.5, n + 0.5, facecolor="none", edgecolor=GREY, hatch="///", linewidth=0
        )
        return span, f"{count(n - n_kept, 'instance')} without a value"

    def _describe(self):
        from matplotlib.ticker import MaxNLocator

        ax, n = self.ax_, len(self.values)
        label = None if self.classes is None or len(self.classes) > 1 else plain(self.classes[0])
        name = value_name(self.kind, label)
        if self.kind == "evidence" and self.classes is not None:
            name += " (+ for, − against)"
        ax.set_ylabel(name, parse_math=False)
        ax.set_xlabel(f"rank of the instance, strongest first (of {n:,})")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(1 - max(0.5, 0.02 * n), n + max(0.5, 0.02 * n))
        if not any(map(len, self.order_)):
            ax.set_yticks([])
        ax.spines[["top", "right"]].set_visible(False)
        set_title(ax, self.bag_name)
