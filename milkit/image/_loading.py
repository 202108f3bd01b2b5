"""Bags of images from a folder or a table."""

import os
import warnings
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils._param_validation import StrOptions, validate_params

from milkit.bags import BagArray
from milkit.datasets._base import as_result
from milkit.image._decode import bomb_warning, read_image, require_pillow, whole_images
from milkit.image._findings import (
    bag_sizes,
    mention_copies,
    mention_proportions,
    mention_unread,
    refuse_other_shapes,
    report_images,
)
from milkit.image._report import Report
from milkit.image._sources import take_stock
from milkit.image._tables import plain_values
from milkit.utils._packing import offsets_of

__all__ = ["load_image_bags"]


@validate_params(
    {
        "source": "no_validation",
        "table": "no_validation",
        "levels": [tuple, list],
        "path": [str],
        "bag": [str],
        "label": [str, None],
        "group": [str, None],
        "covariates": [tuple, list],
        "root": [str, os.PathLike, None],
        "image_size": [tuple, list, None],
        "color_mode": [StrOptions({"rgb", "grey"})],
        "extract": [callable, None],
        "on_error": [StrOptions({"raise", "skip"})],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_image_bags(
    source,
    *,
    table=None,
    levels=("bag",),
    path="path",
    bag="bag",
    label=None,
    group=None,
    covariates=(),
    root=None,
    image_size=None,
    color_mode="rgb",
    extract=None,
    on_error="raise",
    n_jobs=None,
    verbose=0,
    return_X_y=False,
):
    """Load bags of images, or of cells on images, from a folder or a table.

    Each folder of a patient is a bag. Images are png, jpg, tif or bmp files; they are opened one
    after another and shrunk or cut at once, so that memory holds what is asked for and never all
    images in full size. Whatever is wrong with files and tables is gathered and told together.

    Parameters
    ----------
    source : str, path-like or DataFrame
        A folder with one sub-folder for each bag, images inside or further down; or a csv file or
        DataFrame with one row for each image, see ``path`` and ``bag``.
    table : str, path-like or DataFrame, default=None
        A csv file or DataFrame with one row for each bag, from which ``label``, ``group`` and
        ``covariates`` are taken. None takes them from ``source`` where that is a table.
    levels : sequence of {"label", "group", "bag"}, default=("bag",)
        What the folders below the folder ``source`` stand for, from the top. ``("label",
        "bag")`` has a folder for each class with the patients inside; ``("group", "bag")`` a
        folder for each patient with the samples inside, named "patient/sample".
    path : str, default="path"
        Column of the table ``source`` with the files.
    bag : str, default="bag"
        Column of the tables with the name of the bag (patient, sample). In csv files it is read
        as text, so that "007" remains.
    label : str, default=None
        Column with the label of each bag.
    group : str, default=None
        Column with the group, such as the patient that several bags come from. In csv files it
        is read as text, too.
    covariates : sequence of str, default=()
        Columns with tabular data of each bag.
    root : str or path-like, default=None
        Where relative paths in the column ``path`` begin. None is the folder of the csv file, or
        the working directory for a DataFrame.
    image_size : tuple of int (rows, columns), default=None
        Size that each instance is resized to, whatever its proportions. None leaves it; then all
        must have the same.
    color_mode : {"rgb", "grey"}, default="rgb"
        Three channels, or one (0.299 red + 0.587 green + 0.114 blue).
    extract : callable, default=None
        From one image, an array of shape (rows, columns, 3) of uint8, to the instances on it: a
        tuple of crops, of shape (n_cells, 3, rows, columns) or (n_cells, rows, columns, 3) of
        uint8, and boxes, of shape (n_cells, 4) as ``"box"`` below. It sees the image in full
        size. ``extract_cells`` is one, and so is ``partial(extract_cells, size=48)``. None takes
        the whole image as one instance.
    on_error : {"raise", "skip"}, default="raise"
        "raise" looks at all files and then raises one error with the first ten problems. "skip"
        warns of them and leaves out the files, and bags that have no instance or no label.
    n_jobs : int, default=None
        Number of threads that read images.
    verbose : int, default=0
        1 shows a progress bar over the images.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (n_bags,)
            Instances of shape (3, rows, columns) or (1, rows, columns), uint8, with ``names``,
            ``groups`` and ``covariates``. Bags of a folder are in natural order of their names
            ("p2" before "p10"), those of a table in its order. ``instance_data`` has ``"image"``
            (index into ``image_paths``) and ``"box"`` (row_min, col_min, row_max, col_max in
            pixels of the upright original image; the last two are exclusive).
        target : ndarray of shape (n_bags,) or None
            Labels of the bags.
        target_names : ndarray of shape (n_classes,) or None
            The different labels, sorted.
        image_paths : list of str
            The images that instances come from.
        report : DataFrame of shape (n_remarks, 4)
            What was noticed, with the columns ``path``, ``bag``, ``kind`` and ``problem``.
        DESCR : str
            What the data are.
    (X, y) : tuple of BagArray and ndarray or None
        Only if ``return_X_y`` is True.

    Raises
    ------
    ValueError
        With ``on_error="raise"`` if a file cannot be read or is truncated, has several pages,
        floats or an unlikely number of pixels, or is a link to nothing, if instances differ in
        size, an image lies in no bag, a bag has no instance, no label or no row. The ``report`` of
        the exception lists everything. In any case if there are no images, if a bag has two
        labels, or if no bag of
        the table is among the images.
    FileNotFoundError
        If ``source`` or ``table`` does not exist.
    ImportError
        If Pillow is not installed; it comes with ``pip install milkit[image]``.

    Warns
    -----
    UserWarning
        If images of different groups (of different bags, where there are no groups) have the
        same content, so that a patient's image may be in training and test data; bags of the
        table have no images; ``extract`` finds nothing on an image of a bag that has others;
        images are of unusual size or proportions, grey among coloured ones, use less than 12 of
        16 bits, or are listed twice; a bag has images of formats that are not read beside those
        that are; two folders have the same name but for spaces or accents; a link leads in a
        circle.

    See Also
    --------
    extract_cells : Finds cells, to be passed as ``extract``.
    ColorStatisticsMatcher : Brings the colours of all bags together.
    milkit.datasets.save_bags : Keeps the result in one file.

    Notes
    -----
    - Images of 16 bits are divided by 257, so that 65 535 becomes 255; of 16 bits in each of three
      channels Pillow gives the upper eight. Floats and integers of 32 bits are refused.
    - What is transparent becomes white. Palettes and CMYK become RGB, without colour profiles.
    - Images are turned as their EXIF orientation says.
    - Hidden files, ``Thumbs.db`` and the like are passed over. Links are followed, but not in
      circles.
    - Names of bags, labels and groups are compared without regard to spaces around them and to how
      accents are encoded.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from milkit.image import load_image_bags
    >>> rng = np.random.default_rng(0)
    >>> clinic = pd.DataFrame({"patient": ["ann", "bob"], "sick": [1, 0], "age": [61, 54]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for patient in clinic["patient"]:
    ...         os.mkdir(os.path.join(folder, patient))
    ...         for i in range(3):
    ...             pixels = rng.integers(256, size=(48, 64, 3), dtype=np.uint8)
    ...             Image.fromarray(pixels).save(os.path.join(folder, patient, f"{i}.png"))
    ...     smears = load_image_bags(
    ...         folder, table=clinic, bag="patient", label="sick", covariates=["age"],
    ...         image_size=(24, 32),
    ...     )
    >>> smears.data
    BagArray(2 bags, 6 instances, sizes 3/3/3 (min/median/max), instance shape (3, 24, 32), uint8)
    >>> smears.target, smears.data.names
    (array([1, 0]), array(['ann', 'bob'], dtype='<U3'))
    """
    require_pillow()
    image_size = _checked_size(image_size)
    report = Report()
    stock = take_stock(
        source,
        table,
        levels=levels,
        path=path,
        bag=bag,
        label=label,
        group=group,
        covariates=covariates,
        root=root,
        report=report,
    )
    if on_error == "skip":  # what is left out need not be read
        stock.images = [image for image in stock.images if image[1] in stock.facts.index]
    decoded = _read_all(stock.images, image_size, color_mode, extract, n_jobs, verbose)
    report_images(stock, decoded, report)
    refuse_other_shapes(stock, decoded, extract, report)
    if image_size is not None or extract is not None:
        mention_proportions(stock, decoded, report)
    mention_copies(stock, decoded, report)
    mention_unread(stock, report)
    sizes = bag_sizes(stock, decoded, report)
    report.settle(on_error)
    return _result(source, stock, decoded, sizes, report, return_X_y)


def _checked_size(size):
    if size is None:
        return None
    if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
        raise ValueError(
            "The 'image_size' parameter must be None or two positive integers, (rows, columns). "
            f"Got {size!r} instead."
        )
    return int(size[0]), int(size[1])


def _read_all(images, image_size, color_mode, extract, n_jobs, verbose):
    tasks = (delayed(read_image)(path, image_size, color_mode, extract) for path, _ in images)
    # Pillow lets other threads run while it decodes.
    decoded = Parallel(n_jobs, prefer="threads", return_as="generator")(tasks)
    if verbose:
        from tqdm import tqdm

        decoded = tqdm(decoded, "load_image_bags, images", len(images), leave=False)
    with warnings.catch_warnings(), whole_images():  # the warning becomes a problem
        warnings.simplefilter("ignore", bomb_warning())
        return list(decoded)


def _result(source, stock, decoded, sizes, report, return_X_y):
    if not sizes:
        raise ValueError(
            f"No bag is left to load: of {len(stock.bags)} none has a usable image."
            f"{report.summary()}"
        )
    bags = [bag for bag in stock.bags if bag in sizes]
    used = [
        i
        for i, (_, bag) in enumerate(stock.images)
        if bag in sizes and decoded[i].pixels is not None
    ]
    counts = [len(decoded[i].pixels) for i in used]
    boxes = np.concatenate([decoded[i].boxes for i in used])
    parts = [decoded[i].pixels for i in used]
    decoded.clear()
    facts = stock.facts.loc[bags]
    X = BagArray(
        _stacked(parts),
        offsets_of([sizes[bag] for bag in bags]),
        names=np.array(bags),
        groups=None if stock.group is None else plain_values(facts[stock.group]),
        covariates=facts[stock.covariates] if stock.covariates else None,
        instance_data={"image": np.repeat(np.arange(len(used)), counts), "box": boxes},
    )
    y = None if stock.label is None else plain_values(facts[stock.label])
    name = "a table" if hasattr(source, "columns") else os.fspath(source)
    return as_result(
        X,
        y,
        return_X_y,
        target_names=None if y is None else np.unique(y),
        image_paths=[stock.images[i][0] for i in used],
        report=report.frame(),
        DESCR=f"Images of {name}\n\n{X!r}\n",
    )


def _stacked(parts):
    """The parts behind each other; each is let go once it is copied."""
    stack = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=np.uint8)
    stop = len(stack)
    while parts:
        part = parts.pop()
        stack[stop - len(part) : stop] = part
        stop -= len(part)
    return stack
