"""Bags in npz files: plain arrays, no pickles."""

import os
import zipfile

import numpy as np
from sklearn.utils._param_validation import validate_params

from milkit.bags import BagArray
from milkit.datasets._base import as_result
from milkit.exceptions import BagShapeError

__all__ = ["load_bags", "save_bags"]

_REQUIRED = ("instances", "bag_offsets", "bag_labels")
# Arrays of a file and where they come to lie in ``instance_data``; any other
# ``instance_<key>`` becomes ``<key>``.
_INSTANCE_KEYS = {"labels": "label", "boxes": "box", "names": "name"}
_NOT_ENTRIES = {*_REQUIRED, "bag_names", "groups", "covariates", "covariate_names"}


@validate_params(
    {"path": [str, os.PathLike], "return_X_y": ["boolean"]}, prefer_skip_nested_validation=True
)
def load_bags(path, *, return_X_y=False):
    """Load bags from an npz file of plain arrays.

    Nothing in the file is ever executed: arrays of Python objects are refused.

    Parameters
    ----------
    path : str or path-like
        The file. It must hold ``instances`` of shape (N, d) for vectors, (N, H, W) for grey
        pictures or (N, H, W, C) for pictures with channels; ``bag_offsets`` of shape
        (n_bags + 1,), where bag ``i`` is ``instances[bag_offsets[i]:bag_offsets[i + 1]]``;
        and ``bag_labels``, integers of shape (n_bags,). It may hold ``bag_names``,
        ``groups``, ``feature_names``, ``class_names``, ``covariates`` with
        ``covariate_names``, ``instance_labels`` (-1 = not annotated), ``instance_boxes``,
        ``instance_xy``, ``bag_targets``, ``bag_labels_multi`` and more.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (n_bags,)
            Pictures have their channels first, (N, 1, H, W) or (N, C, H, W).
            ``instance_data`` has ``"label"``, ``"box"``, ``"xy"``, ``"name"``, as far as
            the file knows them. Names of bags may spell the label; they are no features.
        target : ndarray of int, shape (n_bags,)
            Class of each bag.
        target_names : ndarray of str
            Name of each bag class.
        feature_names : list of str or None
            Names of the features, where the file has them.
        DESCR : str
            What the data are.
        filename : str
            Path of the file.

        Besides, every other array of the file under its own name, such as
        ``class_names``, ``bag_targets`` or ``bag_labels_multi``.
    (X, y) : tuple of BagArray and ndarray
        Only if ``return_X_y`` is True.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no npz file, an array is missing, holds objects or has another length.
    BagShapeError
        If the offsets fall, overrun the instances, or leave a bag empty.

    See Also
    --------
    save_bags : Write such a file.

    Notes
    -----
    ``class_names`` name the bag classes if the bag labels can be read with them. Where the
    file also has labels of instances, or several labels per bag, they name those, and are
    taken for the bags only if there is one for each bag class.

    Examples
    --------
    >>> import tempfile, os
    >>> from milkit.datasets import load_bags, make_mil_classification, save_bags
    >>> X, y = make_mil_classification(n_bags=4, bag_size=3, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bags(os.path.join(folder, "bags.npz"), X, y)
    ...     bags = load_bags(os.path.join(folder, "bags.npz"))
    >>> bags.data
    BagArray(4 bags, 12 instances, sizes 3/3/3 (min/median/max), 20 features, float64)
    """
    path = os.fspath(path)
    arrays = _read_arrays(path)
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        raise ValueError(
            f"{path!r} lacks the arrays {missing}; it has {sorted(arrays)}. A file of bags needs "
            f"{list(_REQUIRED)}; write it with milkit.datasets.save_bags."
        )
    y = _check_labels(path, arrays["bag_labels"], len(arrays["bag_offsets"]) - 1)
    feature_names = arrays.get("feature_names")
    try:
        X = BagArray(
            _channels_first(arrays["instances"]),
            arrays["bag_offsets"],
            names=arrays.get("bag_names"),
            groups=arrays.get("groups"),
            covariates=_covariates(arrays),
            instance_data=_instance_data(arrays),
            feature_names=feature_names,
        )
    except BagShapeError as error:
        raise BagShapeError(f"{path!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from error
    others = {key: value for key, value in arrays.items() if _is_entry(key)}
    others["feature_names"] = None if feature_names is None else feature_names.tolist()
    return as_result(
        X,
        y,
        return_X_y,
        target_names=_target_names(arrays, y),
        DESCR=f"{os.path.basename(path)}\n\n{X!r}\nOther arrays: {sorted(others)}\n",
        filename=path,
        **others,
    )


def _read_arrays(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no file {path!r}. Expected an npz file of bags; look at the path."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path!r} is not an npz file. Write bags with milkit.datasets.save_bags or "
            "numpy.savez_compressed."
        )
    arrays = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            try:
                arrays[key] = file[key]
            except ValueError as error:
                raise ValueError(
                    f"The array {key!r} of {path!r} cannot be read without pickle, which is "
                    "never used here because a pickle can run code. Save it as numbers or "
                    f"fixed-width text, for example array.astype(str). ({error})"
                ) from error
    return arrays


def _check_labels(path, labels, n_bags):
    if labels.shape != (n_bags,) or labels.dtype.kind not in "iub":
        raise ValueError(
            f"{path!r}: bag_labels must be {n_bags} integers, one for each bag. Got dtype "
            f"{labels.dtype} and shape {labels.shape}. Text labels go into class_names and their "
            "numbers into bag_labels."
        )
    return labels.astype(np.int64)


def _channels_first(instances):
    if instances.ndim == 3:
        return instances[:, np.newaxis]
    if instances.ndim == 4:
        return np.ascontiguousarray(np.moveaxis(instances, -1, 1))
    return instances


def _covariates(arrays):
    if "covariates" not in arrays:
        return None
    import pandas as pd

    values = arrays["covariates"]
    names = arrays.get("covariate_names")
    if names is None:
        return values
    if values.ndim != 2 or names.shape != values.shape[1:]:
        raise ValueError(
            "covariate_names must name each column of covariates. Got "
            f"{names.size} names for shape {values.shape}."
        )
    return pd.DataFrame(values, columns=names.tolist())


def _instance_data(arrays):
    stems = [key.removeprefix("instance_") for key in arrays if key.startswith("instance_")]
    return {_INSTANCE_KEYS.get(stem, stem): arrays[f"instance_{stem}"] for stem in stems}


def _is_entry(key):
    return key not in _NOT_ENTRIES and not key.startswith("instance_")


def _target_names(arrays, y):
    n_classes = int(y.max()) + 1
    class_names = arrays.get("class_names")
    if class_names is not None and len(class_names) >= n_classes:
        names_bags = not {"instance_labels", "bag_labels_multi"} & set(arrays)
        if names_bags or len(class_names) == n_classes:
            return class_names
    if n_classes <= 2:
        return np.array(["negative", "positive"])
    return np.array([str(c) for c in range(n_classes)])


@validate_params({"path": [str, os.PathLike]}, prefer_skip_nested_validation=True)
def save_bags(path, X, y, *, class_names=None, **arrays):
    """Write bags to an npz file that :func:`load_bags` reads.

    Parameters
    ----------
    path : str or path-like
        The file; numpy appends ".npz" if the name has no such ending.
    X : BagArray of shape (n_bags,)
        Vectors, or pictures with their channels first. Names, groups, covariates, feature
        names and instance data are written along; covariates must be numbers. A view writes
        only its own bags.
    y : array-like of shape (n_bags,)
        Integers from 0 on, or labels of any kind, which are numbered in sorted order and
        kept as ``class_names``.
    class_names : array-like of str, shape (n_classes,), default=None
        Names of the classes, if ``y`` are integers.
    **arrays : array-like of any shape
        Further arrays, such as ``bag_targets`` of shape (n_bags,) or ``bag_labels_multi`` of
        shape (n_bags, n_labels).

    Raises
    ------
    ValueError
        If labels and bags differ in number, covariates are not numbers, instances are
        neither vectors nor pictures, or an array holds Python objects.

    See Also
    --------
    load_bags : Read such a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.datasets import load_bags, save_bags
    >>> X = BagArray.from_list([np.ones((2, 3)), np.zeros((4, 3))], groups=["ann", "bob"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bags(Path(folder) / "bags.npz", X, ["sick", "well"])
    ...     data = load_bags(Path(folder) / "bags.npz")
    >>> data.data.groups, data.target, data.target_names
    (array(['ann', 'bob'], dtype='<U3'), array([0, 1]), array(['sick', 'well'], dtype='<U4'))
    """
    if not isinstance(X, BagArray):
        raise ValueError(
            f"X must be a BagArray. Got {type(X).__name__}; make one with BagArray.from_list."
        )
    instances, offsets = X.flat()
    if instances.ndim not in (2, 4):
        raise ValueError(
            "Instances must be vectors, (n_instances, n_features), or pictures with channels "
            f"first, (n_instances, C, H, W). Got shape {instances.shape}."
        )
    y = np.asarray(y)
    if y.shape != (len(X),):
        raise ValueError(f"y must have one label for each of the {len(X)} bags. Got {y.shape}.")
    if y.dtype.kind not in "iu" or y.min() < 0:
        if class_names is not None:
            raise ValueError("class_names need labels that are integers from 0 on.")
        class_names, y = np.unique(y, return_inverse=True)
    out = {
        "instances": _channels_last(instances),
        "bag_offsets": offsets,
        "bag_labels": y.astype(np.int64),
        "bag_names": X.names,
        "groups": X.groups,
        "feature_names": X.feature_names,
        "class_names": class_names,
        **_numeric_covariates(X.covariates),
    }
    names = {stem: key for key, stem in _INSTANCE_KEYS.items()}
    for key, value in X.instance_data.items():
        out[f"instance_{names.get(key, key)}"] = value
    if doubled := sorted(set(out) & set(arrays)):
        raise ValueError(f"The arrays {doubled} come from X and y and cannot be given again.")
    out.update(arrays)
    np.savez_compressed(
        path, **{key: _plain(key, value) for key, value in out.items() if value is not None}
    )


def _channels_last(instances):
    if instances.ndim != 4:
        return instances
    return instances[:, 0] if instances.shape[1] == 1 else np.moveaxis(instances, 1, -1)


def _numeric_covariates(table):
    if table is None:
        return {}
    text = [column for column in table if table[column].dtype.kind not in "iufb"]
    if text:
        raise ValueError(
            f"The covariates {text} are not numbers, and the file holds one table of numbers. "
            "Encode them first, for example sex_female = (sex == 'F')."
        )
    return {
        "covariates": table.to_numpy(dtype=np.float64, na_value=np.nan),
        "covariate_names": np.array([str(column) for column in table.columns]),
    }


def _plain(key, value):
    """An array without Python objects; objects that are all text become fixed-width text."""
    value = np.asarray(value)
    if value.dtype.kind == "T" or (
        value.dtype == object and all(isinstance(item, str) for item in value.flat)
    ):
        return value.astype(np.str_)
    if value.dtype == object:
        raise ValueError(
            f"The array {key!r} holds Python objects, which only a pickle could store. Turn it "
            "into numbers or text, for example array.astype(str)."
        )
    return value
