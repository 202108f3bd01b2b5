"""The image that the instances were cut from, with a box for each."""

from numbers import Integral

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

__all__ = ["BoxOverlayDisplay"]

# Up to so many boxes have dark edges around their colour.
_EDGED = 3000


class BoxOverlayDisplay:
    """An image with one box for each instance, coloured by attention or evidence.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, n_channels), or path
        Bytes, or other numbers: those inside [0, 1] are taken as such, all others are stretched.
    boxes : array-like of shape (n_instances, 4)
        ``(row_min, col_min, row_max, col_max)`` in pixels, the last ones exclusive. NaN is an
        instance without a box.
    values : array-like of shape (n_instances,)
        Raw attention weights or evidence. NaN is an instance that was dropped before it had a
        value; its box is grey.
    kind : {"evidence", "attention"}, default="attention"
        What the values are.
    limits : tuple of two floats, default=None
        Least and greatest value in the whole bag. None is that of ``values``, which is right where
        the bag has one image.
    label : str, default=None
        What the colour bar is called.
    bag_name : str, default="bag"
        What the bag is called in the title.
    caption : str, default=""
        A second line for the title.

    Attributes
    ----------
    scaled : ndarray of shape (n_instances,)
        What is coloured: for attention ``(a - min a) / (max a - min a)`` over the bag, one half
        where all are equal; for evidence ``values``.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of ``ax_``.
    boxes_ : matplotlib PolyCollection
        The boxes that have a value, from the weakest to the strongest.
    colorbar_ : matplotlib Colorbar or None
        The colour bar. Beside the scaled attention it has the raw weights.
    image_index_ : int or None
        Which of the bag's images is shown, and
    images_ : list of int or None
        which it has. Only after :meth:`from_estimator`.

    See Also
    --------
    AttentionMapDisplay : Instances with coordinates, such as the patches of a slide.

    Notes
    -----
    The scale is that of the bag, not of the image: where a bag has several images, all boxes of one
    of them may be weak. Attention is scaled as in [1]_ and drawn as in [2]_. It says what the model
    looked at, and not which class it speaks for; evidence does, on a scale around zero.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak, M. Welling, "Attention-based Deep Multiple Instance Learning",
       ICML 2018, arXiv:1802.04712.
    .. [2] A. Sadafi et al., "Attention Based Multiple Instance Learning for Classification of
       Blood Cell Disorders", MICCAI 2020, arXiv:2007.11641, Figure 4.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.inspection import BoxOverlayDisplay
    >>> image = np.full((40, 60, 3), 220, dtype=np.uint8)
    >>> boxes = [[5, 5, 15, 15], [20, 10, 30, 20], [10, 40, 20, 50]]
    >>> display = BoxOverlayDisplay(image, boxes, [0.1, 0.6, 0.3]).plot()
    >>> display.scaled
    array([0. , 1. , 0.4])
    """

    def __init__(
        self,
        image,
        boxes,
        values,
        *,
        kind="attention",
        limits=None,
        label=None,
        bag_name="bag",
        caption="",
    ):
        check_kind(kind)
        self.image = read_image(image)
        self.values = check_values(values, 1)
        self.boxes = _check_boxes(boxes, len(self.values), self.image.shape, bag_name)
        self.kind = kind
        if limits is not None and (np.shape(limits) != (2,) or not np.isfinite(limits).all()):
            raise ValueError(f"limits must be (least, greatest). Got {limits!r} instead.")
        self.limits = limits_of(self.values) if limits is None else tuple(map(float, limits))
        attention = kind == "attention"
        self.scaled = scaled_attention(self.values, self.limits) if attention else self.values
        self.label = value_name(kind) if label is None else label
        self.bag_name = str(bag_name)
        self.caption = caption

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        images,
        *,
        index=0,
        image=None,
        kind="attention",
        class_label=None,
        boxes="box",
        image_of="image",
        ax=None,
        cmap=None,
    ):
        """Show one image of one bag as a fitted estimator sees it.

        Parameters
        ----------
        estimator : fitted estimator
            Anything that :func:`milkit.inspection.attention_weights`, or ``score_instances``,
            takes, alone or inside pipelines and searches.
        X : container of n_bags bags
            Only the bag that is shown is looked at.
        images : sequence, dict or array of shape (height, width[, n_channels])
            The images, as arrays, paths or images of Pillow, of which ``image_of`` says the index
            (or the key); or a single one, if all instances of the bag are on it.
        index : int or str, default=0
            Position of the bag in X, or its name.
        image : int, default=None
            Which of the images, as ``image_of`` counts them. None is that with the instance of
            most attention, or of the highest evidence for the class.
        kind : {"evidence", "attention"}, default="attention"
            What the colours show.
        class_label : label, default=None
            The class to show the evidence for. None is the second of two classes, or the predicted
            one of more.
        boxes : str or array-like of shape (n_i, 4), default="box"
            Boxes of the instances of the bag, or the name of an ``instance_data`` column.
        image_of : str or array-like of shape (n_i,), default="image"
            Which image each instance of the bag is on, or the name of an ``instance_data`` column.
            Not needed with a single image.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        cmap : str or matplotlib Colormap, default=None
            Colours. None is "viridis" for attention and "coolwarm" for evidence.

        Returns
        -------
        display : BoxOverlayDisplay
            With ``figure_`` and ``ax_``.

        Raises
        ------
        ValueError
            If the bag, the image, a class or a column of instance data is not there, or boxes and
            image do not belong together; the bag is named.
        TypeError
            If no estimator with instance outputs is inside.
        """
        bag = one_bag(X, index)
        box = bag.column(boxes, "boxes", (4,))
        single = _is_one_image(images, image_of, bag)
        if single and image is not None:
            raise ValueError(f"image={image!r} chooses one of several images, and images is one.")
        if single:
            where, shown, numbers = np.full(bag.size, True), images, None
        else:
            on = bag.column(image_of, "image_of")
            if on.dtype.kind == "f" and np.array_equal(on, np.rint(on)):
                on = on.astype(int)
            numbers = list(dict.fromkeys(on.tolist()))
            if image is not None and image not in numbers:
                raise ValueError(f"{bag.described} has no image {image!r}; it has {numbers}.")
        (values,), classes = class_values(estimator, bag.given, kind)
        column = chosen_class(estimator, bag.given, classes, class_label)
        values = check_values(values[:, column], 1, f"The values of {bag.described}")
        caption = ""
        if not single:
            if image is None:
                image = on.tolist()[int(np.nan_to_num(values, nan=-np.inf).argmax())]
            shown = _image_of(images, image, bag)
            where = on == image
            caption = f"image {numbers.index(image) + 1} of {len(numbers)}"
        label = None if classes is None else plain(classes[column])
        display = cls(
            *(shown, box[where], values[where]),
            kind=kind,
            limits=limits_of(values),
            label=value_name(kind, label),
            bag_name=bag.text,
            caption=caption,
        )
        display.image_index_, display.images_ = image, numbers
        return display.plot(ax, cmap=cmap)

    def plot(self, ax=None, *, cmap=None, colorbar=True):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.
        cmap : str or matplotlib Colormap, default=None
            Colours. None is "viridis" for attention and "coolwarm" for evidence.
        colorbar : bool, default=True
            Whether to draw a colour bar.

        Returns
        -------
        display : BoxOverlayDisplay
            Itself.

        Raises
        ------
        ImportError
            If Matplotlib is not installed; it comes with ``pip install milkit[plot]``.
        """
        height, width = self.image.shape[:2]
        size = 7.5, np.clip(0.8 + 5 * height / width, 3, 9)
        self.figure_, ax = new_axes("BoxOverlayDisplay.plot", ax, figsize=size, layout="compressed")
        from matplotlib.collections import PolyCollection

        self.ax_ = ax
        draw_image(ax, self.image)
        scale = color_scale(self.values, self.kind, self.label, self.limits, cmap)
        placed = ~np.isnan(self.boxes).any(axis=1)
        valued = np.isfinite(self.values)
        corners = _corners(self.boxes)
        thick = 2.4 if len(corners) <= 100 else 1.5 if len(corners) <= 1000 else 0.6
        options = {"facecolors": "none", "rasterized": len(corners) > RASTERIZE_ABOVE}
        options |= {"joinstyle": "miter", "antialiaseds": len(corners) <= RASTERIZE_ABOVE}
        # Grey dashes on dark lines are seen on any image.
        edged = len(corners) <= _EDGED
        styles = [("#202020", "-"), ("#c8c8c8", (0, (3, 2)))] if edged else [(GREY, "-")]
        for color, dashes in styles:
            dropped = PolyCollection(
                corners[placed & ~valued],
                edgecolors=color,
                linestyles=[dashes],
                linewidths=0.6 * thick,
                **options,
            )
            ax.add_collection(dropped, autolim=False)
        order = np.flatnonzero(placed & valued)
        order = order[np.argsort(scale.strength[order], kind="stable")]
        widths = thick * (0.5 + 0.7 * scale.strength[order])
        if edged:
            # All edges first, so that that of a box never covers the colour of another.
            edge = PolyCollection(
                corners[order],
                edgecolors="#202020",
                linewidths=widths + 0.6 + 1.2 * scale.strength[order],
                **options,
            )
            ax.add_collection(edge, autolim=False)
        self.boxes_ = PolyCollection(corners[order], linewidths=widths, cmap=scale.cmap, **options)
        self.boxes_.set_array(scale.shown[order])
        self.boxes_.set_clim(scale.low, scale.high)
        ax.add_collection(self.boxes_, autolim=False)
        self.colorbar_ = color_bar(ax, self.boxes_, scale) if colorbar else None
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        ax.set(xlabel="column (pixels)", ylabel="row (pixels)")
        notes = [self.caption, count(int(placed.sum()), "box").replace("boxs", "boxes")]
        if n_dropped := int((placed & ~valued).sum()):
            notes.append(f"{n_dropped:,} without a value (grey)")
        if n_outside := int((placed & ~_on_image(self.boxes, height, width)).sum()):
            notes.append(f"{n_outside:,} outside the image")
        if n_lost := int((~placed).sum()):
            notes.append(f"{count(n_lost, 'instance')} without a box")
        set_title(ax, self.bag_name, ", ".join(filter(None, notes)))
        return self


def _check_boxes(boxes, n, shape, name):
    boxes = np.asarray(boxes, dtype=float)
    if boxes.shape != (n, 4):
        raise ValueError(
            f"boxes must have shape ({n}, 4): (row_min, col_min, row_max, col_max) for each of the "
            f"{n} values. Got shape {boxes.shape} instead."
        )
    if np.isinf(boxes).any():
        raise ValueError(f"Boxes of {name!r} are infinite; NaN means that an instance has none.")
    placed = ~np.isnan(boxes).any(axis=1)
    if not placed.any():
        raise ValueError(f"No instance of {name!r} on this image has a box: all are NaN.")
    upside_down = placed & ((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1]))
    if upside_down.any():
        raise ValueError(
            f"A box of {name!r} is {boxes[upside_down.argmax()].tolist()}; (row_min, col_min, "
            "row_max, col_max) is expected, each max above its min."
        )
    height, width = shape[:2]
    if not _on_image(boxes, height, width).any():
        raise ValueError(
            f"No box of {name!r} is on the image of {height} rows and {width} columns. Are these "
            "boxes (row_min, col_min, row_max, col_max) of this image?"
        )
    return boxes


def _on_image(boxes, height, width):
    """Which boxes reach into the image, shape (n,)."""
    return (boxes[:, 0] < height) & (boxes[:, 1] < width) & (boxes[:, 2:] > 0).all(axis=1)


def _corners(boxes):
    """Corners of each box, shape (n, 4, 2); pixel i reaches from i - 0.5 to i + 0.5."""
    row_min, col_min, row_max, col_max = (boxes - 0.5).T
    columns = np.column_stack([col_min, col_max, col_max, col_min])
    rows = np.column_stack([row_min, row_min, row_max, row_max])
    return np.stack([columns, rows], axis=-1)


def _is_one_image(images, image_of, bag):
    """Is it one image, or several?"""
    if images is None or isinstance(images, (dict, list, tuple)):
        if not images:
            raise ValueError(
                f"images is {images!r}: a sequence of images, a dict or one image is needed to "
                "draw boxes on. AttentionMapDisplay shows instances with coordinates without one."
            )
        return False
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OUS":
        if images.ndim != 3 or images.shape[-1] in (1, 3, 4):
            return images.ndim < 4
        several = not isinstance(image_of, str) or image_of in bag.bags.instance_data
        if images.shape[0] in (1, 3, 4) and several:
            raise ValueError(
                f"images of shape {images.shape} may be one image, with its channels in front, or "
                f"{images.shape[0]} grey ones. Pass np.moveaxis(images, 0, -1) for one image, "
                "list(images) for several."
            )
        return images.shape[0] in (1, 3, 4)
    return not hasattr(images, "__getitem__") or isinstance(images, (str, bytes))


def _image_of(images, number, bag):
    try:
        if not isinstance(images, dict) and (not isinstance(number, Integral) or number < 0):
            raise IndexError
        found = images[number]
    except (IndexError, KeyError):
        raise ValueError(
            f"{bag.described} has instances on image {number!r}, which is not among the "
            f"{len(images)} images that were passed. image_of holds their indices (or keys)."
        ) from None
    return read_image(found, f"Image {number!r} of {bag.described}")
