"""The Musk data: the first problem of multiple instance learning."""

import io

import numpy as np
from sklearn.utils._param_validation import validate_params

from milkit.bags import BagArray
from milkit.datasets._base import as_result
from milkit.datasets._uci import BASE_URL, FETCH_CONSTRAINTS, fetch_member

__all__ = ["fetch_musk1", "fetch_musk2"]

_N_FEATURES = 166
_FEATURE_NAMES = [f"f{j}" for j in range(1, _N_FEATURES + 1)]

_DESCR = """Musk (version {version})
==================

A bag is a molecule, an instance one of its low-energy shapes (conformations), described by
{n_features} integers: distances from the middle of the molecule to its surface along 162 rays,
and four of an oxygen atom. A bag is positive if experts found that the molecule smells of musk,
which it does if at least one of its shapes fits the receptor.

Molecules: {n_bags} ({n_positive} musk). Conformations: {n_instances}.

The file lists musks first: shuffle. Names of molecules may begin with MUSK or NON-MUSK.

Source: UCI Machine Learning Repository, doi {doi}, CC BY 4.0.
T. G. Dietterich, R. H. Lathrop and T. Lozano-Perez, "Solving the multiple instance problem with
axis-parallel rectangles", Artificial Intelligence 89, 1997, doi 10.1016/S0004-3702(96)00034-3.
"""


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_musk1(*, data_home=None, download_if_missing=True, base_url=BASE_URL, return_X_y=False):
    """Fetch Musk 1 from the UCI archive: 92 molecules, 476 conformations.

    The 47 musks and 45 other molecules have 2 to 40 conformations, described by 166
    integers [1]_. The file is downloaded once and kept.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that keeps the file ``musk+version+1.zip``. None takes the environment
        variable ``MILKIT_DATA_HOME``, or else the user's cache folder. A file that lies
        there already is read without a download.
    download_if_missing : bool, default=True
        False raises an OSError where the file is not in the folder.
    base_url : str, default="https://archive.ics.uci.edu/static/public"
        Where to download from, such as a mirror; ``/74/musk+version+1.zip`` is appended.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (92,)
            ``names`` are the molecules and may spell the label; ``instance_data["name"]``
            are the conformations.
        target : ndarray of int, shape (92,)
            1 for musk, else 0.
        target_names : ndarray of str, shape (2,)
            Names of the two labels.
        feature_names : list of str
            f1 to f166.
        DESCR : str
            What the data are.
    (X, y) : tuple of BagArray and ndarray
        Only if ``return_X_y`` is True.

    Raises
    ------
    OSError
        If the download fails, with what to do instead.
    ValueError
        If the file has another layout than expected.

    Notes
    -----
    No checksum is compared, because the archive publishes none; columns, classes and
    values are checked when the file is read.

    References
    ----------
    .. [1] T. G. Dietterich, R. H. Lathrop and T. Lozano-Perez, "Solving the multiple instance
       problem with axis-parallel rectangles", Artificial Intelligence 89, 1997,
       doi:10.1016/S0004-3702(96)00034-3.

    Examples
    --------
    >>> from milkit.datasets import fetch_musk1
    >>> X, y = fetch_musk1(return_X_y=True)  # doctest: +SKIP
    >>> X  # doctest: +SKIP
    BagArray(92 bags, 476 instances, sizes 2/4/40 (min/median/max), 166 features, float64)
    """
    return _fetch(1, 74, "10.24432/C5ZK5B", data_home, download_if_missing, base_url, return_X_y)


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_musk2(*, data_home=None, download_if_missing=True, base_url=BASE_URL, return_X_y=False):
    """Fetch Musk 2 from the UCI archive: 102 molecules, 6,598 conformations.

    The 39 musks and 63 other molecules have 1 to 1,044 conformations, described by 166
    integers [1]_; one molecule holds 16 % of all. The file is downloaded once and kept.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that keeps the file ``musk+version+2.zip``. None takes the environment
        variable ``MILKIT_DATA_HOME``, or else the user's cache folder. A file that lies
        there already is read without a download.
    download_if_missing : bool, default=True
        False raises an OSError where the file is not in the folder.
    base_url : str, default="https://archive.ics.uci.edu/static/public"
        Where to download from, such as a mirror; ``/75/musk+version+2.zip`` is appended.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (102,)
            ``names`` are the molecules and may spell the label; ``instance_data["name"]``
            are the conformations.
        target : ndarray of int, shape (102,)
            1 for musk, else 0.
        target_names : ndarray of str, shape (2,)
            Names of the two labels.
        feature_names : list of str
            f1 to f166.
        DESCR : str
            What the data are.
    (X, y) : tuple of BagArray and ndarray
        Only if ``return_X_y`` is True.

    Raises
    ------
    OSError
        If the download fails, with what to do instead.
    ValueError
        If the file has another layout than expected.

    Notes
    -----
    No checksum is compared, because the archive publishes none; columns, classes and
    values are checked when the file is read.

    References
    ----------
    .. [1] T. G. Dietterich, R. H. Lathrop and T. Lozano-Perez, "Solving the multiple instance
       problem with axis-parallel rectangles", Artificial Intelligence 89, 1997,
       doi:10.1016/S0004-3702(96)00034-3.

    Examples
    --------
    >>> from milkit.datasets import fetch_musk2
    >>> X, y = fetch_musk2(return_X_y=True)  # doctest: +SKIP
    >>> X  # doctest: +SKIP
    BagArray(102 bags, 6598 instances, sizes 1/12/1044 (min/median/max), 166 features, float64)
    """
    return _fetch(2, 75, "10.24432/C51608", data_home, download_if_missing, base_url, return_X_y)


def _fetch(version, number, doi, data_home, download_if_missing, base_url, return_X_y):
    content = fetch_member(
        number,
        f"musk+version+{version}.zip",
        f"clean{version}.data",
        data_home=data_home,
        download_if_missing=download_if_missing,
        base_url=base_url,
    )
    X, y = _parse(content, f"clean{version}.data")
    return as_result(
        X,
        y,
        return_X_y,
        target_names=np.array(["non-musk", "musk"]),
        feature_names=list(_FEATURE_NAMES),
        DESCR=_DESCR.format(
            version=version,
            n_features=_N_FEATURES,
            n_bags=len(X),
            n_positive=int(y.sum()),
            n_instances=X.n_instances,
            doi=doi,
        ),
    )


def _parse(content, name):
    """One line per conformation: molecule, conformation, 166 integers, class ("0." or "1.")."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(content), header=None, dtype={0: str, 1: str})
    columns = ["molecule", "conformation", *_FEATURE_NAMES, "musk"]
    if table.shape[1] != len(columns):
        raise ValueError(
            f"{name} must have {len(columns)} columns: molecule, conformation, {_N_FEATURES} "
            f"features and class. Got {table.shape[1]}; the file has another layout."
        )
    table.columns = columns
    text = [name for name in columns[2:] if table[name].dtype.kind not in "iuf"]
    if text or table.isna().any(axis=None):
        raise ValueError(
            f"{name} must hold numbers, none missing, besides the two names. Columns that do "
            f"not: {text or table.columns[table.isna().any()].tolist()}; the file is damaged."
        )
    if not table["musk"].isin([0, 1]).all():
        raise ValueError(
            f"{name} must have the classes 0 and 1. Got {sorted(table['musk'].unique())}."
        )
    table = table.astype({**dict.fromkeys(_FEATURE_NAMES, np.float64), "musk": np.int64})
    X, y = BagArray.from_dataframe(table, "molecule", label="musk", features=_FEATURE_NAMES)
    # Rows of a bag may lie apart in the table; the same stable order as above brings the names
    # of the conformations to the rows of the bags.
    order = np.argsort(pd.factorize(table["molecule"])[0], kind="stable")
    return X.with_columns(
        names=X.names.astype(str),
        instance_data={"name": table["conformation"].to_numpy(dtype=str)[order]},
    ), y
