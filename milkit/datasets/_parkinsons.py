"""Voice recordings of patients with Parkinson's disease, several days each."""

import io

import numpy as np
from sklearn.utils._param_validation import validate_params

from milkit.bags import BagArray
from milkit.datasets._base import as_result
from milkit.datasets._uci import BASE_URL, FETCH_CONSTRAINTS, fetch_member
from milkit.utils._packing import offsets_of

__all__ = ["fetch_parkinsons_telemonitoring"]

_ABOUT = ["subject#", "age", "sex", "test_time", "motor_UPDRS", "total_UPDRS"]
_N_FEATURES = 16

_DESCR = """Parkinsons telemonitoring
=========================

A bag is one day of one patient, an instance one voice recording of that day, described by
{n_features} measures of dysphonia. Groups are the patients: their voices can be told apart, so
random folds promise too much. The label says whether the UPDRS score (total, interpolated
between visits, mean of the day) is above the median of all bags.

Patients: {n_groups}. Bags: {n_bags}. Recordings: {n_instances}.

Source: UCI Machine Learning Repository, doi 10.24432/C5ZS3N, CC BY 4.0.
A. Tsanas, M. A. Little, P. E. McSharry and L. O. Ramig, "Accurate telemonitoring of Parkinson's
disease progression by noninvasive speech tests", IEEE Transactions on Biomedical Engineering
57(4), 2010, doi 10.1109/TBME.2009.2036000.
"""


@validate_params(FETCH_CONSTRAINTS, prefer_skip_nested_validation=True)
def fetch_parkinsons_telemonitoring(
    *, data_home=None, download_if_missing=True, base_url=BASE_URL, return_X_y=False
):
    """Fetch Parkinsons telemonitoring from the UCI archive: 990 bags of 42 patients.

    A bag is one day of one patient, with about six voice recordings of 16 features each
    (5,875 in all) [1]_. Use it to see what a split that ignores patients promises. The file
    is downloaded once and kept.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that keeps the file ``parkinsons+telemonitoring.zip``. None takes the
        environment variable ``MILKIT_DATA_HOME``, or else the user's cache folder. A file
        that lies there already is read without a download.
    download_if_missing : bool, default=True
        False raises an OSError where the file is not in the folder.
    base_url : str, default="https://archive.ics.uci.edu/static/public"
        Where to download from, such as a mirror; ``/189/parkinsons+telemonitoring.zip`` is
        appended.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (990,)
            ``groups`` are the patients; ``covariates`` are ``age`` (years), ``sex`` ("F",
            "M") and ``day`` (whole days since the patient was recruited; a few are
            negative). Days are cut off downwards from the time in the file.
        target : ndarray of int, shape (990,)
            1 where ``total_updrs`` is above its median over the bags.
        target_names : ndarray of str, shape (2,)
            Names of the two labels.
        total_updrs, motor_updrs : ndarray of shape (990,)
            Mean score of the day, in points, for regression.
        feature_names : list of str
            Names of the 16 measures.
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
    No checksum is compared, because the archive publishes none; columns and values are
    checked when the file is read.

    References
    ----------
    .. [1] A. Tsanas, M. A. Little, P. E. McSharry and L. O. Ramig, "Accurate telemonitoring of
       Parkinson's disease progression by noninvasive speech tests", IEEE Transactions on
       Biomedical Engineering 57(4), 2010, doi:10.1109/TBME.2009.2036000.

    Examples
    --------
    >>> from milkit.datasets import fetch_parkinsons_telemonitoring
    >>> voices = fetch_parkinsons_telemonitoring()  # doctest: +SKIP
    >>> voices.data.shape  # doctest: +SKIP
    (990,)
    """
    content = fetch_member(
        189,
        "parkinsons+telemonitoring.zip",
        "parkinsons_updrs.data",
        data_home=data_home,
        download_if_missing=download_if_missing,
        base_url=base_url,
    )
    X, total, motor = _parse(content)
    return as_result(
        X,
        (total > np.median(total)).astype(np.int64),
        return_X_y,
        target_names=np.array(["UPDRS at or below the median", "UPDRS above the median"]),
        total_updrs=total,
        motor_updrs=motor,
        feature_names=X.feature_names.tolist(),
        DESCR=_DESCR.format(
            n_features=X.n_features,
            n_groups=len(np.unique(X.groups)),
            n_bags=len(X),
            n_instances=X.n_instances,
        ),
    )


def _parse(content):
    """A table with a header line: six columns about the recording, then 16 features."""
    import pandas as pd

    name = "parkinsons_updrs.data"
    table = pd.read_csv(io.BytesIO(content))
    missing = [column for column in _ABOUT if column not in table.columns]
    features = [column for column in table.columns if column not in _ABOUT]
    if missing or len(features) != _N_FEATURES:
        raise ValueError(
            f"{name} must have the columns {_ABOUT} and {_N_FEATURES} features. Got "
            f"{list(table.columns)}; the file has another layout."
        )
    text = [column for column in table if table[column].dtype.kind not in "iuf"]
    if text or table.isna().any(axis=None):
        raise ValueError(f"{name} must hold numbers, none missing; the file is damaged.")

    # Cutting downwards, not towards zero, keeps the days before the recruitment apart from
    # the first day after it.
    table["day"] = np.floor(table["test_time"]).astype(np.int64)
    bag_of = table.groupby(["subject#", "day"], sort=False).ngroup().to_numpy()
    table = table.iloc[np.argsort(bag_of, kind="stable")]
    bag_of = np.sort(bag_of)
    bags = table.groupby(bag_of)
    first = bags[["subject#", "age", "sex", "day"]].first()
    scores = bags[["total_UPDRS", "motor_UPDRS"]].mean()
    patients = np.array([f"S{number:02d}" for number in first["subject#"]])
    X = BagArray(
        table[features].to_numpy(dtype=np.float64),
        offsets_of(np.bincount(bag_of)),
        names=np.array([f"{p}_day{d}" for p, d in zip(patients, first["day"], strict=True)]),
        groups=patients,
        covariates=pd.DataFrame(
            {
                "age": first["age"].astype(np.float64),
                "sex": np.where(first["sex"] == 1, "F", "M"),
                "day": first["day"].astype(np.float64),
            }
        ),
        feature_names=features,
    )
    return X, scores["total_UPDRS"].to_numpy(), scores["motor_UPDRS"].to_numpy()
