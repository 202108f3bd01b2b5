"""The strongest instances of many bags, one row for each class."""

from numbers import Integral

import numpy as np

from milkit.inspection._plotting import WITNESS, check_axes, import_pyplot, number, plain
from milkit.inspection._shown import (
    as_given,
    bag_text,
    check_kind,
    check_values,
    class_columns,
    class_values,
    read_bags,
    read_witness,
)
from milkit.inspection._tiles import Contents, by_class, flat_column, row_labels, strongest

__all__ = ["TopInstancesDisplay"]

# More tiles than this are too small to see, and slow.
_MAX_TILES = 400


class TopInstancesDisplay:
    """The instances of highest evidence of many bags, one row for each class.

    Instances that are pictures are shown as such, others by the features in which they differ most
    from the mean instance. Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    tiles : list of dict
        One for each instance that is shown: ``"row"`` (index in ``classes``), ``"value"``,
        ``"bag"`` and ``"instance"`` (position of the bag, and of the instance in it), ``"title"``,
        ``"witness"`` (True or False) and ``"note"`` (a line beneath it, or ""). The strongest of a
        row come first.
    contents : array-like of shape (n_tiles, height, width, 3) or (n_tiles, n_features)
        What is shown in each: RGB bytes, or deviations from the mean instance in standard
        deviations.
    classes : array-like of shape (n_classes,)
        What the rows are called.
    kind : {"evidence", "attention"}, default="evidence"
        What the values are.
    feature_names : array-like of str, shape (n_features,), default=None
        What the features are called.
    caption : str, default=""
        A line beneath the title of a new figure.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first tile.
    axes_ : ndarray of matplotlib Axes, shape (n_classes, n_columns)
        The tiles. Those without an instance are empty.
    figure_ : matplotlib Figure
        The figure of ``axes_``.
    features_ : list of ndarray, each of shape (n_shown,)
        Which features each row shows; an empty list for pictures.

    See Also
    --------
    InstanceScoreDisplay : All instances of one bag.
    milkit.metrics.key_instance_hit_rate : How often the strongest is a known witness.

    Notes
    -----
    The rows hold the instances of all bags in the order of their evidence. That is fair where
    evidence has one scale for all bags: with ``MISVM``, voting and self-training, and networks with
    ``pooling="mean"`` and a linear head, or with ``pooling="max", level="instance"``. Evidence of a
    network with attention also depends on the size of the bag and on what else is in it: show bags
    of like size then. ``max_per_bag`` keeps one large bag from filling a row.

    Attention has no scale between bags: its weights sum to 1 in each, so that those of small bags
    are large. It is shown, as in Figure 5 of [1]_, for the bags of each class, and ordered by the
    weight times the number of instances in the bag: 5 is five times what the instance would have
    if all were equal.

    References
    ----------
    .. [1] A. Sadafi et al., "Attention Based Multiple Instance Learning for Classification of
       Blood Cell Disorders", MICCAI 2020, arXiv:2007.11641.

    Examples
    --------
    >>> from milkit import MISVM
    >>> from milkit.datasets import make_mil_classification
    >>> from milkit.inspection import TopInstancesDisplay
    >>> X, y = make_mil_classification(n_bags=20, random_state=0)
    >>> model = MISVM().fit(X, y)
    >>> display = TopInstancesDisplay.from_estimator(model, X, k=3, max_per_bag=1)
    >>> display.axes_.shape
    (2, 3)
    """

    def __init__(
        self, tiles, contents, classes, *, kind="evidence", feature_names=None, caption=""
    ):
        check_kind(kind)
        self.tiles = list(tiles)
        self.contents = np.asarray(contents)
        self.classes = np.asarray(classes)
        self.kind = kind
        if len(self.contents) != len(self.tiles) or self.contents.ndim not in (2, 4):
            raise ValueError(
                f"contents must have shape (n_tiles, height, width, 3) or (n_tiles, n_features) "
                f"with n_tiles = {len(self.tiles)}. Got shape {self.contents.shape} instead."
            )
        if feature_names is None and self.contents.ndim == 2:
            feature_names = [f"x{j}" for j in range(self.contents.shape[1])]
        self.feature_names = feature_names
        self.caption = caption
        if self.contents.ndim == 2 and len(feature_names) != self.contents.shape[1]:
            raise ValueError(
                f"feature_names must have one name for each of the {self.contents.shape[1]} "
                f"features. Got {len(feature_names)} instead."
            )
        if outside := {tile["row"] for tile in self.tiles} - set(range(len(self.classes))):
            raise ValueError(
                f"Rows of tiles must be from 0 to {len(self.classes) - 1}, which are indices in "
                f"classes. Got {sorted(outside)}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        k=8,
        kind="evidence",
        class_label=None,
        images=None,
        witness=None,
        max_per_bag=None,
        max_per_group=None,
        max_features=8,
        ax=None,
    ):
        """Show the strongest instances of bags as a fitted classifier sees them.

        Parameters
        ----------
        estimator : fitted classifier
            Anything that :func:`milkit.inspection.score_instances` takes, alone or inside pipelines
            and searches.
        X : container of n_bags bags
            Where the instances are looked for.
        y : array-like of shape (n_bags,), default=None
            Labels of the bags. With ``kind="attention"`` they say whose row a bag belongs to, and
            None takes the predicted ones. With evidence, a tile from a bag of another class than
            that of its row has the label beneath it.
        k : int, default=8
            How many instances to show for each class.
        kind : {"evidence", "attention"}, default="evidence"
            What to rank by; see the notes above on attention.
        class_label : label or list of labels, default=None
            The classes to show. None is all of them.
        images : str or array-like of shape (n_instances, height, width[, n_channels]), default=None
            Pictures of the instances in the order of ``X.flat()``, where X itself holds features;
            bags of them, or a list with one array for each bag; or the name of an
            ``instance_data`` column. Channels may also come first.
        witness : str or array-like of shape (n_instances,), default=None
            Known labels of the instances, true or above zero for witnesses, which get a frame; or
            the name of an ``instance_data`` column that holds them.
        max_per_bag : int, default=None
            How many instances of one bag a row may show. None is any number.
        max_per_group : int, default=None
            How many instances of one group, such as a patient, a row may show.
        max_features : int, default=8
            How many features a row of instances that are no pictures shows.
        ax : matplotlib Axes, default=None
            Axes to divide into tiles. None makes a new figure.

        Returns
        -------
        display : TopInstancesDisplay
            With ``figure_`` and ``axes_``.

        Raises
        ------
        ValueError
            If a class is unknown, the instances cannot be shown, an argument has another length
            than X, or there would be more than 400 tiles.
        TypeError
            If no classifier with instance outputs is inside.
        """
        bags = read_bags(X)
        given = as_given(X, bags)
        for name, value in {
            "k": k,
            "max_per_bag": max_per_bag,
            "max_per_group": max_per_group,
        }.items():
            if value is not None or name == "k":
                _check_count(name, value)
        if max_per_group is not None and bags.groups is None:
            raise ValueError("max_per_group is given, but the bags of X have no groups.")
        contents = Contents(bags, images)
        marked = np.zeros(bags.n_instances, dtype=bool)
        if witness is not None:
            marked = read_witness(flat_column(bags, witness, "witness"))
        values, classes = class_values(estimator, given, kind)
        if classes is None:
            raise TypeError(
                "TopInstancesDisplay has a row for each class, and the estimator, a regressor, has "
                "none. InstanceScoreDisplay shows a single bag of one."
            )
        columns = class_columns(classes, classes.tolist() if class_label is None else class_label)
        if len(columns) * k > _MAX_TILES:
            raise ValueError(
                f"{len(columns)} classes with k={k} instances make {len(columns) * k} tiles, and "
                f"{_MAX_TILES} is the most that can be seen. Pass a smaller k, or some of the "
                "classes as class_label."
            )
        ranked, known = check_values(np.concatenate(values), 2, kind), None
        if kind == "attention" or y is not None:
            known = row_labels(estimator, given, y, classes)
        if kind == "attention":
            ranked = by_class(ranked, bags, known, classes)
        rows = [strongest(ranked[:, j], bags, k, max_per_bag, max_per_group) for j in columns]
        bag_of = np.repeat(np.arange(len(bags)), bags.sizes)
        starts = np.cumsum(bags.sizes) - bags.sizes
        tiles = [
            {
                "row": row,
                "value": float(ranked[i, j]),
                "bag": int(bag_of[i]),
                "instance": int(i - starts[bag_of[i]]),
                "title": bag_text(bag_of[i], bags.names),
                "witness": bool(marked[i]),
                "note": _note(known, bag_of[i], classes[j]),
            }
            for row, (j, chosen) in enumerate(zip(columns, rows, strict=True))
            for i in chosen
        ]
        display = cls(
            tiles,
            contents.of(np.concatenate(rows)),
            classes[columns],
            kind=kind,
            feature_names=contents.feature_names,
            caption="classes as predicted" if kind == "attention" and y is None else "",
        )
        return display.plot(ax, max_features=max_features)

    def plot(self, ax=None, *, max_features=8):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to divide into tiles. None makes a new figure.
        max_features : int, default=8
            How many features a row of instances that are no pictures shows.

        Returns
        -------
        display : TopInstancesDisplay
            Itself.

        Raises
        ------
        ImportError
            If Matplotlib is not installed; it comes with ``pip install milkit[plot]``.
        """
        _check_count("max_features", max_features)
        plt = import_pyplot("TopInstancesDisplay.plot")
        n_rows = len(self.classes)
        in_row = [[i for i, t in enumerate(self.tiles) if t["row"] == r] for r in range(n_rows)]
        n_columns = max(1, *map(len, in_row))
        pictures = self.contents.ndim == 4
        if ax is None:
            n_bars = 0 if pictures else min(max_features, self.contents.shape[1])
            height = 1.75 if pictures else 0.75 + 0.17 * n_bars
            size = 1.4 + (1.2 if pictures else 1.35) * n_columns, 0.7 + height * n_rows
            self.figure_ = plt.figure(figsize=(max(4.5, size[0]), size[1]), layout="constrained")
            grid = self.figure_.add_gridspec(n_rows, n_columns)
            self._head()
        else:
            check_axes(ax)
            self.figure_ = ax.figure
            if ax.get_subplotspec() is None:
                raise ValueError("ax must come from plt.subplots, so that it can be divided.")
            ax.axis("off")
            # The constrained layout makes room by itself, and collapses where more is asked for.
            engine = type(self.figure_.get_layout_engine()).__name__
            space = None if engine == "ConstrainedLayoutEngine" else 0.8
            grid = ax.get_subplotspec().subgridspec(n_rows, n_columns, hspace=space)
        self.axes_ = np.array(
            [
                [self.figure_.add_subplot(grid[r, c]) for c in range(n_columns)]
                for r in range(n_rows)
            ]
        )
        self.ax_ = self.axes_[0, 0]
        self.features_ = []
        for label, own, line in zip(self.classes, in_row, self.axes_, strict=True):
            draw = self._draw_picture if pictures else self._bars(own, max_features)
            for i, tile_ax in zip(own, line, strict=False):
                draw(tile_ax, i, first=i == own[0])
                self._describe_tile(tile_ax, self.tiles[i])
            for tile_ax in line[max(1, len(own)) :]:
                tile_ax.axis("off")
            if not own:
                line[0].set(xticks=[], yticks=[])
                line[0].spines[:].set_visible(False)
                line[0].text(0, 0.5, "no instance", va="center", color="0.4", fontsize="small")
            place = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 8}
            line[0].set_ylabel(plain(label, 24), parse_math=False, **place)
        return self

    def _head(self):
        what = (
            "the highest evidence for" if self.kind == "evidence" else "most attention in bags of"
        )
        text = f"Instances with {what} each class"
        notes = [plain(self.caption, 80)] if self.caption else []
        if self.kind == "attention":
            notes.append("1× is the mean of the bag")
        if self.contents.ndim == 2:
            notes.append("bars: standard deviations from the mean instance")
        if any(tile["note"] for tile in self.tiles):
            notes.append("below in red: its bag is of another class")
        if any(tile["witness"] for tile in self.tiles):
            notes.append("frame: known witness")
        if notes:
            text += "\n" + "; ".join(notes)
        self.figure_.suptitle(text, fontsize="medium", parse_math=False)

    def _describe_tile(self, ax, tile):
        evidence = self.kind == "evidence"
        value = number(tile["value"], "+") if evidence else f"{number(tile['value'])}×"
        title = f"{plain(tile['title'], 16)}\n{value}"
        ax.set_title(title, fontsize="small", parse_math=False)
        if tile["note"]:
            ax.set_xlabel(
                plain(tile["note"], 18), color="#a00000", fontsize="small", parse_math=False
            )
        if tile["witness"]:
            ax.spines[:].set(visible=True, color=WITNESS, linewidth=3.5)

    def _draw_picture(self, ax, i, first):
        ax.imshow(self.contents[i], interpolation="nearest", origin="upper", aspect="equal")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)

    def _bars(self, own, max_features):
        """A function that draws the features in which the instances of a row stand out."""
        deviation = np.nan_to_num(self.contents[own], posinf=0, neginf=0)
        mean = np.abs(deviation).mean(axis=0) if own else np.zeros(self.contents.shape[1])
        features = np.argsort(-mean, kind="stable")[:max_features]
        self.features_.append(features)
        limit = 1.1 * max(np.abs(deviation[:, features]).max(initial=0), 1e-3)
        tick = float(f"{limit / 1.6:.0e}")  # one digit
        ticks = [-tick, 0, tick]
        names = [plain(self.feature_names[j], 18) for j in features]

        def draw(ax, i, first):
            bars = np.where(np.isfinite(self.contents[i]), self.contents[i], np.nan)[features]
            colors = np.where(bars > 0, "#b2182b", "#2166ac")
            ax.barh(np.arange(len(features)), bars, color=colors, height=0.75)
            ax.axvline(0, color="black", linewidth=0.7)
            ax.set(xlim=(-limit, limit), ylim=(len(features) - 0.4, -0.6), xticks=ticks, yticks=[])
            if first:
                ax.set_yticks(range(len(names)), labels=names, parse_math=False)
            ax.tick_params(labelsize="x-small", length=2)
            ax.spines[["top", "right"]].set_visible(False)

        return draw


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1. Got {value!r} instead.")


def _note(known, bag, label):
    """The label of a bag where it is not that of the row."""
    return "" if known is None or known[bag] == label else str(known[bag])
