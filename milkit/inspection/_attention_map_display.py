"""Instances where they lie: the patches of a slide, or any with coordinates."""

import numpy as np

from milkit.inspection._plotting import (
    GREY,
    RASTERIZE_ABOVE,
    color_bar,
    color_scale,
    count,
    draw_image,
    limits_of,
    new_axes,
    plain,
    read_image,
    scaled_attention,
    set_title,
)
from milkit.inspection._shown import (
    check_kind,
    check_values,
    chosen_class,
    class_values,
    one_bag,
    value_name,
)

__all__ = ["AttentionMapDisplay"]

# A grid is drawn as one if so large a share of its cells is taken.
_LEAST_FILLED = 0.05
# How far, in steps of the grid, a point may lie from its place.
_TOLERANCE = 0.02


class AttentionMapDisplay:
    """Attention or evidence of the instances of one bag, at their coordinates.

    Instances on a regular grid, such as the patches of a slide, become a heat map; others become
    points. Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    values : array-like of shape (n_instances,)
        Raw attention weights or evidence. NaN is an instance that was dropped before it had a
        value; it is grey.
    coordinates : array-like of shape (n_instances, 2) or (n_instances, 4)
        ``(x, y)``, x to the right and y downwards, as in images; the middle of an instance. With
        four columns they are boxes, ``(row_min, col_min, row_max, col_max)``. NaN is an instance
        without a place; it is not drawn, and counted in the title.
    kind : {"evidence", "attention"}, default="attention"
        What the values are.
    label : str, default=None
        What the colour bar is called.
    bag_name : str, default="bag"
        What the bag is called in the title.
    background : array-like of shape (height, width) or (height, width, n_channels), or path, \
            default=None
        An image to draw behind, such as a small copy of the slide.
    extent : tuple of four floats, default=None
        ``(left, right, bottom, top)`` of the background in the units of the coordinates. None takes
        its pixels for units.

    Attributes
    ----------
    scaled : ndarray of shape (n_instances,)
        What is coloured: for attention ``(a - min a) / (max a - min a)`` over the bag, one half
        where all are equal; for evidence ``values``.
    grid : ndarray of int, shape (n_instances, 2), or None
        Row and column of each instance in the heat map, -1 for those without a place; None where
        the instances do not lie on a grid.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    map_ : matplotlib AxesImage or PathCollection
        The heat map, or the points from the weakest to the strongest.
    colorbar_ : matplotlib Colorbar or None
        The colour bar. Beside the scaled attention it has the raw weights.

    See Also
    --------
    BoxOverlayDisplay : Boxes on the image that the instances were cut from.

    Notes
    -----
    Attention is scaled as in [1]_. It is a grid if the coordinates of each axis are multiples of
    one step, no two instances share a place, and one place in twenty at least is taken.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based Deep Multiple Instance Learning",
       ICML 2018, arXiv:1802.04712.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.inspection import AttentionMapDisplay
    >>> xy = np.array([[0, 0], [256, 0], [0, 256]])
    >>> display = AttentionMapDisplay([0.2, 0.7, 0.1], xy).plot()
    >>> display.grid
    array([[0, 0],
           [0, 1],
           [1, 0]])
    """

    def __init__(
        self,
        values,
        coordinates,
        *,
        kind="attention",
        label=None,
        bag_name="bag",
        background=None,
        extent=None,
    ):
        check_kind(kind)
        self.values = check_values(values, 1)
        self.bag_name = str(bag_name)
        self.coordinates = _check_coordinates(coordinates, len(self.values), self.bag_name)
        self.kind = kind
        attention = kind == "attention"
        self.limits = limits_of(self.values)
        self.scaled = scaled_attention(self.values, self.limits) if attention else self.values
        self.label = value_name(kind) if label is None else label
        self.background = None if background is None else read_image(background, "background")
        if extent is not None and (np.shape(extent) != (4,) or not np.isfinite(extent).all()):
            raise ValueError(f"extent must be (left, right, bottom, top). Got {extent!r} instead.")
        self.extent = extent
        self.grid, self._grid_extent = _find_grid(self.coordinates)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        index=0,
        coordinates="xy",
        kind="attention",
        class_label=None,
        background=None,
        extent=None,
        ax=None,
        cmap=None,
        alpha=None,
    ):
        """Show one bag as a fitted estimator sees it.

        Parameters
        ----------
        estimator : fitted estimator
            Anything that :func:`milkit.inspection.attention_weights`, or ``score_instances``,
            takes, alone or inside pipelines and searches.
        X : container of n_bags bags
            Only the bag that is shown is looked at.
        index : int or str, default=0
            Position of the bag in X, or its name.
        coordinates : str or array-like of shape (n_i, 2) or (n_i, 4), default="xy"
            Coordinates of the instances of the bag, or the name of an ``instance_data`` column that
            holds them: x and y, or boxes, of which the middle is taken. All must be in one frame:
            boxes on several images fall on top of each other.
        kind : {"evidence", "attention"}, default="attention"
            What the colours show.
        class_label : label, default=None
            The class to show the evidence for. None is the second of two classes, or the predicted
            one of more.
        background : array-like of shape (height, width) or (height, width, n_channels), or path, \
                default=None
            An image to draw behind.
        extent : tuple of four floats, default=None
            ``(left, right, bottom, top)`` of the background in the units of the coordinates.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        cmap : str or matplotlib Colormap, default=None
            Colours. None is "viridis" for attention and "coolwarm" for evidence.
        alpha : float, default=None
            Opacity of the map. None is 0.6 over a background, else 1.

        Returns
        -------
        display : AttentionMapDisplay
            With ``figure_`` and ``ax_``.

        Raises
        ------
        ValueError
            If the bag, a class or a column of instance data is not there, or no instance has
            coordinates; the bag is named.
        TypeError
            If no estimator with instance outputs is inside.
        """
        bag = one_bag(X, index)
        places = bag.column(coordinates, "coordinates", (None,))
        (values,), classes = class_values(estimator, bag.given, kind)
        column = chosen_class(estimator, bag.given, classes, class_label)
        label = None if classes is None else plain(classes[column])
        display = cls(
            *(values[:, column], places),
            kind=kind,
            label=value_name(kind, label),
            bag_name=bag.text,
            background=background,
            extent=extent,
        )
        return display.plot(ax, cmap=cmap, alpha=alpha)

    def plot(self, ax=None, *, cmap=None, alpha=None, colorbar=True):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        cmap : str or matplotlib Colormap, default=None
            Colours. None is "viridis" for attention and "coolwarm" for evidence.
        alpha : float, default=None
            Opacity of the map. None is 0.6 over a background, else 1.
        colorbar : bool, default=True
            Whether to draw a colour bar.

        Returns
        -------
        display : AttentionMapDisplay
            Itself.

        Raises
        ------
        ImportError
            If Matplotlib is not installed; it comes with ``pip install milkit[plot]``.
        """
        size = {"figsize": (7, 5.5), "layout": "compressed"}
        self.figure_, ax = new_axes("AttentionMapDisplay.plot", ax, **size)
        self.ax_ = ax
        if self.background is not None:
            draw_image(ax, self.background, self.extent, zorder=0)
        if alpha is None:
            alpha = 1.0 if self.background is None else 0.6
        scale = color_scale(self.values, self.kind, self.label, self.limits, cmap)
        draw = self._draw_points if self.grid is None else self._draw_grid
        self.map_ = draw(scale, alpha)
        self.map_.set_clim(scale.low, scale.high)
        self.colorbar_ = color_bar(ax, self.map_, scale) if colorbar else None
        ax.set(aspect="equal", xlabel="x", ylabel="y")
        ax.autoscale_view()
        if not ax.yaxis_inverted():
            ax.invert_yaxis()
        lost = np.isnan(self.coordinates).any(axis=1)
        notes = []
        if n_dropped := int((np.isnan(self.values) & ~lost).sum()):
            notes.append(f"{count(n_dropped, 'instance')} without a value (grey)")
        if n_lost := int(lost.sum()):
            notes.append(f"{count(n_lost, 'instance')} without coordinates")
        set_title(ax, self.bag_name, ", ".join(notes))
        return self

    def _draw_grid(self, scale, alpha):
        n_rows, n_columns = self.grid.max(axis=0) + 1
        left, right, bottom, top = self._grid_extent
        options = {"extent": self._grid_extent, "origin": "upper", "alpha": alpha}
        options |= {"interpolation": "nearest", "aspect": "equal"}
        placed = self.grid[:, 0] >= 0
        row, column = self.grid[placed].T
        shown = np.full((n_rows, n_columns), np.nan)
        shown[row, column] = scale.shown[placed]
        if np.isnan(scale.shown[placed]).any():
            grey = np.full((n_rows, n_columns), np.nan)
            grey[row, column] = np.where(np.isnan(scale.shown[placed]), 0.55, np.nan)
            self.ax_.imshow(np.ma.masked_invalid(grey), cmap="gray", vmin=0, vmax=1, **options)
        drawn = self.ax_.imshow(np.ma.masked_invalid(shown), cmap=scale.cmap, **options)
        if self.background is None:  # else the image decides how far the axes go
            self.ax_.set(xlim=(left, right), ylim=(bottom, top))
        return drawn

    def _draw_points(self, scale, alpha):
        placed = ~np.isnan(self.coordinates).any(axis=1)
        valued = np.isfinite(scale.shown)
        order = np.flatnonzero(placed & valued)
        order = order[np.argsort(scale.strength[order], kind="stable")]
        n = int(placed.sum())
        options = {
            "s": float(np.clip(30_000 / n, 1.5, 60)),
            "marker": "o" if n <= RASTERIZE_ABOVE else "s",
            "rasterized": n > RASTERIZE_ABOVE,
        }
        edge = {"edgecolors": "0.25", "linewidths": 0.5} if n <= 500 else {"linewidths": 0}
        if (placed & ~valued).any():
            hollow = {"facecolors": "none", "edgecolors": GREY, "linewidths": 0.8}
            style = {"c": GREY, "linewidths": 0} if n > RASTERIZE_ABOVE else hollow
            self.ax_.scatter(*self.coordinates[placed & ~valued].T, **style, **options)
        return self.ax_.scatter(
            *self.coordinates[order].T,
            c=scale.shown[order],
            cmap=scale.cmap,
            alpha=None if alpha == 1 else alpha,
            **{**options, **edge},
        )


def _check_coordinates(coordinates, n, name):
    coordinates = np.asarray(coordinates, dtype=float)
    if coordinates.shape == (n, 4):
        row_min, col_min, row_max, col_max = coordinates.T
        coordinates = np.column_stack([col_min + col_max - 1, row_min + row_max - 1]) / 2
    if coordinates.shape != (n, 2):
        raise ValueError(
            f"coordinates of {name!r} must have shape ({n}, 2), x and y, or ({n}, 4), boxes, for "
            f"its {n} values. Got shape {coordinates.shape} instead."
        )
    if np.isinf(coordinates).any():
        raise ValueError(f"Coordinates of {name!r} are infinite; NaN means that one has no place.")
    if np.isnan(coordinates).any(axis=1).all():
        raise ValueError(f"No instance of {name!r} has coordinates: all are NaN.")
    return coordinates


def _find_grid(coordinates):
    """Row and column of each instance and the extent of the grid, or (None, None)."""
    placed = ~np.isnan(coordinates).any(axis=1)
    (x, x_step), (y, y_step) = (_places(axis) for axis in coordinates[placed].T)
    x_step, y_step = x_step or y_step, y_step or x_step  # a single row or column
    if x is None or y is None or not x_step:
        return None, None
    shape = int(y.max()) + 1, int(x.max()) + 1
    if len(x) < _LEAST_FILLED * shape[0] * shape[1]:
        return None, None
    if len(np.unique(y * shape[1] + x)) < len(x):
        return None, None
    left, top = coordinates[placed].min(axis=0) - [x_step / 2, y_step / 2]
    grid = np.full(coordinates.shape, -1)
    grid[placed] = np.column_stack([y, x])
    return grid, (left, left + shape[1] * x_step, top + shape[0] * y_step, top)


def _places(values):
    """Integer place of each value on an axis, and the step; None for no regular places."""
    distinct = np.unique(values)
    reach = distinct[-1] - distinct[0]
    if reach == 0:
        return np.zeros(len(values), dtype=int), None
    steps = np.diff(distinct)
    step = steps[steps > 1e-6 * reach].min()
    step = reach / max(1, np.rint(reach / step))  # the smallest one alone is rounded
    places = (values - distinct[0]) / step
    if np.abs(places - np.rint(places)).max() > _TOLERANCE:
        return None, None
    return np.rint(places).astype(int), step
