"""BagArray: the one inner form of a collection of bags."""

from operator import index

import numpy as np

from milkit.exceptions import BagShapeError, describe_bag
from milkit.utils._columns import (
    check_column,
    check_feature_names,
    check_instance_columns,
    covariate_table,
    flat_instance_column,
    instance_columns,
    refuse_missing_groups,
    shared_columns,
    string_names,
)
from milkit.utils._long_table import read_long_table, write_long_table
from milkit.utils._packing import (
    as_bag,
    check_offsets,
    gather_as,
    integers,
    numbers,
    offsets_of,
    pack,
    refuse_empty,
    refuse_masked,
    refuse_named,
    refuse_other_shapes,
)

__all__ = ["BagArray"]


class BagArray:
    """A one-dimensional array of bags on one shared store of instances.

    The instances of all bags lie behind each other in one array, ``offsets`` says
    where a bag begins and ends. Slicing gives another ``BagArray`` on the *same*
    store: no instance is copied. Everything that belongs to a bag (name, group,
    covariates) or to an instance (``instance_data``) is cut along.

    Parameters
    ----------
    instances : array of shape (n_instances, n_features) or (n_instances, ...)
        The instances of all bags; rows of a bag are contiguous. The data type is
        kept. The array is not copied and never written to.
    offsets : array-like of int, shape (n_bags + 1,)
        Bag ``i`` is ``instances[offsets[i]:offsets[i + 1]]``. Begins with 0, ends with
        ``n_instances`` and rises strictly, because a bag is never empty.
    names : array-like of shape (n_bags,), default=None
        Names of the bags, used in messages and tables, never as features.
    groups : array-like of shape (n_bags,), default=None
        What must not be split across folds, such as the patient of each bag.
    covariates : DataFrame, dict or array-like of shape (n_bags, n_covariates), default=None
        Tabular data of each bag (age, sex, a count), attached by position: the first
        row belongs to the first bag. Kept as a DataFrame; the columns of a bare array
        are named ``covariate0``, ``covariate1``, ...
    instance_data : dict of str to array-like of shape (n_instances, ...), default=None
        What is known of each instance beside its features: a box, a position, the
        image that it came from, its label where it is annotated.
    feature_names : sequence of str, default=None
        Names of the features, for vectors. None takes the columns of a DataFrame.

    Attributes
    ----------
    instances : ndarray of shape (n_store_instances, ...)
        The store, shared between views.
    offsets : ndarray of shape (n_store_bags + 1,)
        The offsets into the store, shared between views.
    rows : ndarray of shape (n_bags,)
        Which bags of the store this view holds, in order.

    Raises
    ------
    BagShapeError
        If offsets fall or overrun the instances, or a bag is empty; the bag is named.
    ValueError
        If names, groups, covariates or instance data have another length, or the index
        of the covariates holds the names or groups of the bags in another order.

    See Also
    --------
    milkit.utils.validation.as_bag_array : Reads any supported container.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> X = BagArray(np.arange(10.0).reshape(5, 2), [0, 2, 5], groups=["ann", "bob"])
    >>> X
    BagArray(2 bags, 5 instances, sizes 2/2.5/3 (min/median/max), 2 features, float64)
    >>> X[1]
    array([[4., 5.],
           [6., 7.],
           [8., 9.]])
    >>> X[[1]].groups
    array(['bob'], dtype='<U3')
    >>> np.shares_memory(X[[1]].instances, X.instances)
    True
    """

    # A view carries the store's whole columns and cuts them when asked.
    __slots__ = (
        "_covariates",
        "_feature_names",
        "_groups",
        "_instance_data",
        "_names",
        "_rows",
        "instances",
        "offsets",
    )
    # numpy must not try to spread a BagArray over its operators.
    __array_ufunc__ = None
    __hash__ = None

    def __init__(
        self,
        instances,
        offsets,
        *,
        names=None,
        groups=None,
        covariates=None,
        instance_data=None,
        feature_names=None,
    ):
        refuse_masked(instances, "instances")
        if feature_names is None and hasattr(instances, "columns"):
            feature_names = string_names(list(instances.columns))
        instances = numbers(np.asarray(instances), "instances")
        if instances.ndim < 2:
            raise BagShapeError(
                "instances must be an array of shape (n_instances, n_features) or "
                f"(n_instances, ...). Got shape {instances.shape} instead."
            )
        offsets = integers(offsets)
        n_bags = len(offsets) - 1
        self._names = check_column(names, n_bags, "names")
        check_offsets(offsets, len(instances), self._names)
        self.instances = instances
        self.offsets = offsets
        self._rows = None
        self._groups = check_column(groups, n_bags, "groups")
        refuse_missing_groups(self._groups, self._names)
        self._covariates = covariate_table(covariates, n_bags, self._names, self._groups)
        self._instance_data = check_instance_columns(instance_data, len(instances))
        self._feature_names = check_feature_names(feature_names, instances.shape)

    @classmethod
    def from_list(cls, bags, *, dtype=None, **columns):
        """Pack a list of arrays into one store.

        Parameters
        ----------
        bags : sequence of array-like, each of shape (n_i, n_features) or (n_i, ...)
            One array a bag; the number of instances may differ, the rest may not. If
            bags are DataFrames, their columns must agree and give the feature names.
        dtype : dtype, default=None
            Type to convert the instances to while they are packed. None keeps theirs.
        **columns
            ``names``, ``groups``, ``covariates``, ``instance_data``, ``feature_names``
            as in the constructor. In ``instance_data`` a list with one array a bag is
            taken as well as one flat array.

        Returns
        -------
        X : BagArray of shape (n_bags,)

        Raises
        ------
        BagShapeError
            If there is no bag, a bag is empty, or a bag's shape differs; it is named.
        TypeError
            If a bag is sparse, or ``bags`` is a dict or holds pairs of a name and a bag.

        Examples
        --------
        >>> import numpy as np
        >>> from milkit import BagArray
        >>> BagArray.from_list([np.ones((2, 3)), np.ones((4, 3))]).sizes
        array([2, 4])
        """
        refuse_named(bags)
        bags = list(bags)
        refuse_named(bags)
        if not bags:
            raise BagShapeError(
                "Got no bags (an empty list); at least one bag, an array of shape "
                "(n_instances, n_features), is required."
            )
        names = columns["names"] = check_column(columns.get("names"), len(bags), "names")
        if columns.get("feature_names") is None:
            columns["feature_names"] = shared_columns(bags, names)
        arrays = [as_bag(bag, i, names) for i, bag in enumerate(bags)]
        sizes = np.array([len(array) for array in arrays])
        refuse_empty(sizes, names)
        refuse_other_shapes(arrays, names)
        data = instance_columns(columns.get("instance_data"))
        columns["instance_data"] = {
            key: flat_instance_column(key, value, sizes, names) for key, value in data.items()
        }
        return cls(pack(arrays, dtype), offsets_of(sizes), **columns)

    @classmethod
    def from_dataframe(
        cls, df, bag, *, label=None, group=None, covariates=(), features=None, instance_data=()
    ):
        """Read a long table with one row per instance.

        Parameters
        ----------
        df : DataFrame of shape (n_instances, n_columns)
            The rows of a bag may lie apart; their order inside the bag is kept.
        bag : str
            Column that says which bag a row belongs to. Bags come in the order in which
            they first appear, and the values become their names.
        label : str, default=None
            Column with the bag label. If given, ``(X, y)`` is returned.
        group : str, default=None
            Column with the group of each bag, such as the patient.
        covariates : list of str, default=()
            Columns with per-bag tabular data.
        features : list of str, default=None
            Columns with the instance features. None takes all columns not named
            otherwise; they must be numbers, and a column with one value per bag is
            refused, because it is a label or a patient number and not a feature.
        instance_data : list of str, default=()
            Columns to keep beside the features: a position, a known instance label.

        Returns
        -------
        X : BagArray of shape (n_bags,)
        y : ndarray of shape (n_bags,)
            Only if ``label`` is given.

        Raises
        ------
        ValueError
            If a column is unknown or has two roles, if a label, group or covariate
            varies inside a bag (which is named), or a bag identifier is missing.

        Examples
        --------
        >>> import pandas as pd
        >>> from milkit import BagArray
        >>> df = pd.DataFrame({"slide": ["a", "a", "b"], "sick": [1, 1, 0],
        ...                    "area": [3.0, 4.0, 5.0]})
        >>> X, y = BagArray.from_dataframe(df, "slide", label="sick")
        >>> X.sizes, y
        (array([2, 1]), array([1, 0]))
        """
        return read_long_table(cls, df, bag, label, group, covariates, features, instance_data)

    # -- shape ---------------------------------------------------------------------

    def __len__(self):
        return len(self.offsets) - 1 if self._rows is None else len(self._rows)

    @property
    def shape(self):
        """tuple : ``(n_bags,)``."""
        return (len(self),)

    @property
    def ndim(self):
        """int : 1, because a sample is a bag."""
        return 1

    @property
    def dtype(self):
        """numpy.dtype : The data type of the instances."""
        return self.instances.dtype

    @property
    def rows(self):
        """ndarray of shape (n_bags,) : Which bags of the store this view holds."""
        return np.arange(len(self)) if self._rows is None else self._rows

    @property
    def sizes(self):
        """ndarray of shape (n_bags,) : Number of instances in each bag."""
        sizes = np.diff(self.offsets)
        return sizes if self._rows is None else sizes[self._rows]

    @property
    def n_instances(self):
        """int : Number of instances in the bags of this view."""
        return int(self.sizes.sum())

    @property
    def instance_shape(self):
        """tuple : Shape of one instance, ``(n_features,)`` for vectors."""
        return self.instances.shape[1:]

    @property
    def n_features(self):
        """int : How many numbers one instance has."""
        return int(np.prod(self.instance_shape))

    # -- columns, cut to this view --------------------------------------------------

    @property
    def names(self):
        """ndarray of shape (n_bags,) or None : Names of the bags."""
        return self._cut(self._names)

    @property
    def groups(self):
        """ndarray of shape (n_bags,) or None : Groups of the bags."""
        return self._cut(self._groups)

    @property
    def covariates(self):
        """DataFrame of shape (n_bags, n_covariates) or None : Per-bag tabular data."""
        if self._covariates is None:
            return None
        return self._covariates.iloc[self.rows].reset_index(drop=True)

    @property
    def feature_names(self):
        """ndarray of shape (n_features,) or None : Names of the features."""
        return self._feature_names

    @property
    def instance_data(self):
        """dict of str to ndarray of shape (n_instances, ...) : In the order of ``flat()``."""
        if not self._instance_data:
            return {}
        index = self._instance_index()
        return {key: value[index] for key, value in self._instance_data.items()}

    def _cut(self, column):
        return column if column is None or self._rows is None else column[self._rows]

    # -- access ----------------------------------------------------------------------

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn asks X[key, ...]
        if isinstance(key, slice):
            return self._view(self.rows[key])
        if (number := _as_integer(key)) is not None:
            n_bags = len(self)
            if not -n_bags <= number < n_bags:
                raise IndexError(f"Bag {number} is out of range: there are {n_bags} bags.")
            row = number % n_bags if self._rows is None else self._rows[number]
            return self._bag(self.offsets[row], self.offsets[row + 1])
        return self._view(self.rows[_as_index(key, len(self))])

    def __iter__(self):
        starts, stops = self.offsets[:-1][self.rows], self.offsets[1:][self.rows]
        for start, stop in zip(starts, stops, strict=True):
            yield self._bag(start, stop)

    def _bag(self, start, stop):
        """One bag as a view; writing to it would change every fold on this store."""
        bag = self.instances[start:stop]
        bag.flags.writeable = False
        return bag

    def _view(self, rows):
        view = object.__new__(type(self))
        for slot in BagArray.__slots__:
            setattr(view, slot, getattr(self, slot))
        view._rows = rows
        return view

    def _instance_index(self):
        """Where this view's instances lie in the store: a slice if it can be one."""
        rows = self._rows
        if rows is None:
            return slice(0, len(self.instances))
        if len(rows) == 0:
            return slice(0, 0)
        if np.all(np.diff(rows) == 1):
            return slice(self.offsets[rows[0]], self.offsets[rows[-1] + 1])
        starts, sizes = self.offsets[rows], self.sizes
        shift = starts - (np.cumsum(sizes) - sizes)
        return np.arange(sizes.sum()) + np.repeat(shift, sizes)

    def flat(self, dtype=None):
        """Instances and offsets of this view.

        Parameters
        ----------
        dtype : dtype, default=None
            Type to convert the instances to, in the same copy. None keeps theirs.

        Returns
        -------
        instances : ndarray of shape (n_instances, ...)
            A view of the store where the bags of this view lie behind each other in it,
            else a copy of just these bags.
        offsets : ndarray of shape (n_bags + 1,)
            Bag ``i`` is ``instances[offsets[i]:offsets[i + 1]]``.
        """
        rows = self._instance_index()
        if dtype is None or self.instances.dtype == dtype:
            return self.instances[rows], offsets_of(self.sizes)
        return gather_as(self.instances, rows, dtype), offsets_of(self.sizes)

    # -- bags to bags -----------------------------------------------------------------

    def with_instances(self, instances, *, feature_names=None):
        """The same bags with other features, one new row for each instance.

        Parameters
        ----------
        instances : array of shape (n_instances, ...)
            In the order of ``flat()``.
        feature_names : sequence of str, default=None
            Names of the new features.

        Returns
        -------
        X : BagArray of shape (n_bags,)
            With this view's names, groups, covariates and instance data.
        """
        instances = np.asarray(instances)
        if instances.ndim < 2 or len(instances) != self.n_instances:
            raise BagShapeError(
                "One new row for each instance is expected: shape "
                f"({self.n_instances}, ...). Got shape {instances.shape} instead."
            )
        return self._rebuild(instances, self.sizes, self.instance_data, feature_names)

    def map(self, function):
        """Apply a function to every bag, keeping its number of instances.

        Parameters
        ----------
        function : callable
            Gets one bag, an array of shape (n_i, ...), as a read-only view, and returns an
            array of shape (n_i, ...).

        Returns
        -------
        X : BagArray of shape (n_bags,)
        """
        if len(self) == 0:
            raise BagShapeError("There are no bags to apply the function to.")
        parts, names = [], self.names
        for i, bag in enumerate(self):
            part = np.asarray(function(bag))
            if part.ndim < 2 or len(part) != len(bag):
                raise BagShapeError(
                    f"{describe_bag(i, names)} has {len(bag)} instances, but the function "
                    f"returned shape {part.shape}; it must return one row for each instance. "
                    "To drop instances use select_instances(mask)."
                )
            parts.append(part)
        refuse_other_shapes(parts, names)
        return self.with_instances(pack(parts))

    def select_instances(self, mask):
        """Keep some instances of every bag.

        Parameters
        ----------
        mask : array of bool, shape (n_instances,), or list of arrays of bool
            True for the instances that stay, in the order of ``flat()``, or one array
            for each bag.

        Returns
        -------
        X : BagArray of shape (n_bags,)
            The order of the instances is unchanged.

        Raises
        ------
        BagShapeError
            If a bag would be left empty; it is named.
        """
        mask = flat_instance_column("mask", mask, self.sizes, self.names)
        if mask.dtype != bool or mask.shape != (self.n_instances,):
            raise ValueError(
                f"mask must be boolean with one entry for each of the {self.n_instances} "
                f"instances. Got dtype {mask.dtype} and shape {mask.shape} instead."
            )
        instances, offsets = self.flat()
        sizes = np.add.reduceat(mask.astype(np.int64), offsets[:-1])
        refuse_empty(sizes, self.names, " after the selection")
        data = {key: value[mask] for key, value in self.instance_data.items()}
        return self._rebuild(instances[mask], sizes, data, self._feature_names)

    def compact(self):
        """An own copy of just these bags, so that a pickle does not drag the store along.

        Returns
        -------
        X : BagArray of shape (n_bags,)
        """
        rows = self._instance_index()
        # Indexing by an array has copied already; a slice has not.
        copied = np.array if isinstance(rows, slice) else np.asarray
        data = {key: copied(value[rows]) for key, value in self._instance_data.items()}
        return self._rebuild(copied(self.instances[rows]), self.sizes, data, self._feature_names)

    def _rebuild(self, instances, sizes, instance_data, feature_names):
        return type(self)(
            instances,
            offsets_of(sizes),
            names=self.names,
            groups=self.groups,
            covariates=self.covariates,
            instance_data=instance_data,
            feature_names=feature_names,
        )

    def with_columns(self, **columns):
        """The same bags with other names, groups, covariates or instance data.

        Parameters
        ----------
        **columns
            Any of ``names``, ``groups``, ``covariates``, ``instance_data`` and
            ``feature_names``, as in the constructor: by position, one entry or row for
            each bag in the order of the bags. What is not named is kept.

        Returns
        -------
        X : BagArray of shape (n_bags,)
            On this view's instances; they are not copied where they lie together.

        Examples
        --------
        >>> import numpy as np
        >>> from milkit import BagArray
        >>> X = BagArray.from_list([np.ones((2, 3)), np.ones((4, 3))])
        >>> X.with_columns(groups=["ann", "ann"]).groups
        array(['ann', 'ann'], dtype='<U3')
        """
        known = ("names", "groups", "covariates", "instance_data", "feature_names")
        if unknown := set(columns) - set(known):
            raise TypeError(f"Unknown columns {sorted(unknown)}; expected any of {list(known)}.")
        for name in known:
            if name not in columns:  # cut only what is kept
                columns[name] = getattr(self, name)
        return type(self)(*self.flat(), **columns)

    # -- out -------------------------------------------------------------------------

    def to_list(self):
        """A list with one array of shape (n_i, ...) for each bag, read-only views of the store."""
        return list(self)

    def to_dataframe(self):
        """The long table, one row per instance, as ``from_dataframe`` reads it.

        Returns
        -------
        df : DataFrame of shape (n_instances, n_columns)
            Columns ``bag`` (name or number), ``group`` and the covariates where there
            are any, one-dimensional instance data, then the features.

        Raises
        ------
        ValueError
            If instances are not vectors, or two columns would have the same name.
        """
        return write_long_table(self)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "A BagArray is ragged and cannot become one numpy array. Use X.flat() for "
            "(instances, offsets), X.to_list() for a list of arrays, or put "
            "milkit.BagStatistics() in front of an estimator that takes one row per sample."
        )

    def __repr__(self):
        def count(number, noun):
            return f"{number} {noun}{'s' * (number != 1)}"

        parts = [count(len(self), "bag")]
        if len(self):
            sizes = self.sizes
            parts.append(count(self.n_instances, "instance"))
            middle = f"{np.median(sizes):.10g}"
            parts.append(f"sizes {sizes.min()}/{middle}/{sizes.max()} (min/median/max)")
        if len(self.instance_shape) == 1:
            parts.append(count(self.n_features, "feature"))
        else:
            parts.append(f"instance shape {self.instance_shape}")
        return f"BagArray({', '.join(parts)}, {self.dtype})"


def _as_integer(key):
    """The key as an int if it is one integer, else None."""
    if isinstance(key, (bool, np.bool_)):
        return None
    try:
        return index(key)
    except TypeError:
        return None


def _as_index(key, n_bags):
    """A mask, list or array of integers as an index array."""
    array = np.asarray(key) if not isinstance(key, tuple) else np.empty((0, 0))
    if array.ndim == 1 and array.size == 0 and array.dtype != bool:
        return array.astype(np.intp)
    if array.ndim != 1 or not (array.dtype == bool or np.issubdtype(array.dtype, np.integer)):
        raise IndexError(
            "A BagArray has one dimension, the bags: index it with an integer, a slice, a "
            "boolean mask or a 1-D list of integers, and one bag with X[i][rows, columns]. "
            f"Got {key!r}."
        )
    if array.dtype == bool and len(array) != n_bags:
        raise IndexError(f"The mask has {len(array)} entries for {n_bags} bags.")
    return array
