"""Simulated cohorts of blood smears, with the structure of two published ones."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from milkit.bags import BagArray
from milkit.datasets._base import as_result, draw_counts, shuffled_within_bags
from milkit.datasets._smear import render_cohort
from milkit.utils._packing import offsets_of

__all__ = ["age_from_birth_date", "make_blood_smear_cohort"]

# Class: number of patients, number of samples.
_RED_CELL = {
    "healthy": (26, 137),
    "piezo1": (8, 44),
    "sickle_cell": (9, 56),
    "spherocytosis": (13, 89),
    "thalassemia": (3, 25),
}
# One sample per patient.
_LYMPHOCYTOSIS = {"malignant": (113, 113), "reactive": (50, 50)}

_DESCR = """Simulated cohort of blood smears ({cohort})
===========================================

{n_patients} patients, {n_bags} samples, {n_instances} cells. A bag is one sample, an instance
{instance} of one cell, a group one patient. The numbers of patients and
samples follow a published cohort; every {what} and every covariate is simulated, and no
biological conclusion can be drawn from them. Made by make_blood_smear_cohort.
"""


@validate_params(
    {
        "cohort": [StrOptions({"red_cell", "lymphocytosis"})],
        "n_features": [Interval(Integral, 2, None, closed="left")],
        "scale": [Interval(Real, 0, 1, closed="right")],
        "bag_scale": [Interval(Real, 0, 1, closed="right")],
        "witness_rate": [Interval(Real, 0, 1, closed="both")],
        "class_sep": [Interval(Real, 0, None, closed="left")],
        "patient_effect": [Interval(Real, 0, None, closed="left")],
        "clinical_signal": [Interval(Real, 0, None, closed="left")],
        "missing_rate": [Interval(Real, 0, 1, closed="left")],
        "render": ["boolean"],
        "crop_size": [Interval(Integral, 16, None, closed="left")],
        "return_X_y": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_blood_smear_cohort(
    cohort="red_cell",
    *,
    n_features=16,
    scale=1.0,
    bag_scale=1.0,
    witness_rate=0.2,
    class_sep=3.0,
    patient_effect=0.4,
    clinical_signal=1.0,
    missing_rate=0.05,
    render=False,
    crop_size=32,
    return_X_y=False,
    random_state=None,
):
    """Simulate patients, their blood samples and the cells on them.

    "red_cell" has the classes, patients and samples of [1]_: hereditary anaemias told by
    their red cells, several samples a patient, 4 to 12 images a sample and 12 to 45 cells an
    image. "lymphocytosis" has those of the task of [2]_: 113 malignant and 50 reactive
    patients, one bag each, told by images *and* clinical attributes.

    Cells of a patient share a shift (the patient effect). Where a patient has several
    samples, folds that are not kept apart by patient therefore promise too much.

    Parameters
    ----------
    cohort : {"red_cell", "lymphocytosis"}, default="red_cell"
        Which cohort to imitate.
    n_features : int, default=16
        Number of features of a cell. Not used with ``render=True``.
    scale : float, default=1.0
        Fraction of the patients and samples, in (0, 1]. Each class keeps at least three
        patients, so that three grouped folds are possible.
    bag_scale : float, default=1.0
        Fraction of the cells of a bag, in (0, 1].
    witness_rate : float, default=0.2
        Expected share of characteristic cells in a diseased (or malignant) sample, which
        has at least one. Healthy and reactive samples have none.
    class_sep : float, default=3.0
        Distance between characteristic and ordinary cells, in standard deviations of a
        cell's feature, along one direction per disease. In images: how far characteristic cells
        differ in shape, from not at all (0) to clearly (3).
    patient_effect : float, default=0.4
        Standard deviation of the shift of a patient's cells, in every feature. 0 = none. In
        images: how much stain, light and size of cells differ between patients.
    clinical_signal : float, default=1.0
        How far age and lymphocyte count depend on the class; 0 = not at all.
    missing_rate : float, default=0.05
        Probability that a covariate is missing: age and sex by patient, the lymphocyte
        count by sample.
    render : bool, default=False
        Draw images of the cells instead of features, see the notes. Patients, labels, groups,
        covariates and the kinds of cells are the same.
    crop_size : int, default=32
        Height and width of a rendered instance in pixels.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Decides everything that is drawn.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (n_bags,)
            ``groups`` are the patients; ``covariates`` has the columns ``age`` (years),
            ``sex`` ("F", "M") and ``lymphocyte_count`` (10^9 cells per litre), each with
            missing values; ``instance_data`` has ``"image"`` (number of the image inside
            the sample) and ``"label"`` (0 for ordinary cells, else 1 + the index in
            ``cell_names`` of the kind of cell). With ``render=True``, instances are images of
            shape (3, crop_size, crop_size), uint8; ``"image"`` is the index in ``images``, and
            ``"box"`` the true box of the cell on it, (row_min, col_min, row_max, col_max).
        target : ndarray of str, shape (n_bags,)
            The diagnosis.
        target_names : ndarray of str, shape (n_classes,)
            Sorted, as estimators have them in ``classes_``.
        cell_names : ndarray of str
            The disease that each kind of characteristic cell belongs to.
        images : list of ndarray of uint8, each of shape (height, width, 3)
            Only with ``render=True``: all images of all samples.
        boxes : list of ndarray of int, each of shape (n_cells, 4)
            Only with ``render=True``: the boxes of the sample's cells on each image.
        DESCR : str
            What the data are.
    (X, y) : tuple of BagArray and ndarray
        Only if ``return_X_y`` is True.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

    See Also
    --------
    age_from_birth_date : Age in years, where a table holds dates of birth.

    Notes
    -----
    Number of classes, patients, samples, images and cells per image are those of the
    papers. Simulated without a source: the features, the spread of the samples over
    patients, the number of lymphocytes per patient (log-normal, 10 to 200), and the
    covariates (the lymphocyte count is log-normal, hence heavily skewed).

    Images are drawn at the size that suits ``crop_size`` and ``bag_scale``; all of them at once
    take about half a GB with the defaults. An image of "red_cell" shows the cells of the sample,
    which lie inside and may touch, and some more that are cut by its border. Ordinary cells are
    round with a pale middle, those of sickle cell disease sickled, of spherocytosis small, dense
    and without the pale middle; of "piezo1" the middle is a slit, of thalassemia a target. An
    instance is the window around a cell, not resized. An image of "lymphocytosis" is an instance:
    one lymphocyte among red cells, small with a dense nucleus or, in malignant samples, at times
    large with a loose, dented one.

    References
    ----------
    .. [1] A. Sadafi et al., "Attention Based Multiple Instance Learning for Classification of
       Blood Cell Disorders", MICCAI 2020, arXiv:2007.11641.
    .. [2] M. Sahasrabudhe et al., "Deep Multi-Instance Learning Using Multi-Modal Data for
       Diagnosis of Lymphocytosis", IEEE Journal of Biomedical and Health Informatics 25(6),
       2021, doi:10.1109/JBHI.2020.3038889.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.datasets import make_blood_smear_cohort
    >>> smears = make_blood_smear_cohort(bag_scale=0.1, random_state=0)
    >>> smears.data.shape, len(np.unique(smears.data.groups))
    ((351,), 59)
    >>> list(smears.data.covariates.columns)
    ['age', 'sex', 'lymphocyte_count']
    >>> drawn = make_blood_smear_cohort(scale=0.01, bag_scale=0.1, render=True, random_state=0)
    >>> drawn.data.instance_shape, len(drawn.boxes) == len(drawn.images)
    ((3, 32, 32), True)
    """
    rng = check_random_state(random_state)
    table = _RED_CELL if cohort == "red_cell" else _LYMPHOCYTOSIS
    target_names = np.array(list(table))
    cell_names = np.array([name for name in table if name not in ("healthy", "reactive")])

    patient_class, patient = _patients(rng, table, scale, samples=cohort == "red_cell")
    order = rng.permutation(len(patient))  # files in label order are a trap
    patient = patient[order]
    klass = patient_class[patient]
    n_patients, n_bags = len(patient_class), len(patient)

    if cohort == "red_cell":
        sizes, image = _red_cell_images(rng, n_bags, bag_scale)
        age, count = _red_cell_clinic(rng, patient_class, klass, clinical_signal)
    else:
        sizes = np.maximum(1, np.rint(bag_scale * draw_counts(rng, 10, 200, n_bags, "lognormal")))
        sizes = sizes.astype(np.int64)
        # An image of this cohort shows one lymphocyte.
        image = np.arange(sizes.sum()) - np.repeat(offsets_of(sizes)[:-1], sizes)
        malignant = target_names == "malignant"
        age, count = _lymphocytosis_clinic(
            rng, malignant[patient_class], malignant[klass], clinical_signal
        )

    # Number of the characteristic cell of each class, 0 where a class has none.
    cell_of_class = np.zeros(len(target_names), dtype=np.int64)
    cell_of_class[np.isin(target_names, cell_names)] = 1 + np.arange(len(cell_names))
    label = _cell_labels(rng, cell_of_class[klass], sizes, witness_rate)
    bag_of = np.repeat(np.arange(n_bags), sizes)
    effect = patient_effect * rng.standard_normal((n_patients, n_features))
    instances = rng.standard_normal((len(label), n_features))
    instances += effect[patient[bag_of]]
    directions = rng.standard_normal((len(cell_names), n_features))
    directions *= class_sep / np.linalg.norm(directions, axis=1, keepdims=True)
    instances[label > 0] += directions[label[label > 0] - 1]

    groups = np.array([f"patient-{p:03d}" for p in rng.permutation(n_patients)])[patient]
    covariates = _covariates(rng, patient, age, count, n_patients, missing_rate)
    instance_data, pictures = {"image": image, "label": label}, {}
    if render:  # last, so that all other draws are those of the features
        seed = rng.randint(np.iinfo(np.int32).max)
        kind = np.array(["", *cell_names])[label] if cohort == "red_cell" else "lymphocyte"
        image = _number_of_image(image, bag_of)
        first = np.unique(image, return_index=True)[1]
        instances, boxes, images = render_cohort(
            np.random.default_rng(seed),
            kind=np.broadcast_to(kind, len(label)),
            ill=label > 0,
            class_sep=class_sep,
            smear=image,
            patient=patient[bag_of[first]],
            patient_effect=patient_effect,
            crop_size=crop_size,
        )
        instance_data |= {"image": image, "box": boxes}
        pictures = {"images": images, "boxes": np.split(boxes, first[1:])}

    X = BagArray(
        instances,
        offsets_of(sizes),
        names=np.array([f"sample-{i:03d}" for i in range(n_bags)]),
        groups=groups,
        covariates=covariates,
        instance_data=instance_data,
    )
    return as_result(
        X,
        target_names[klass],
        return_X_y,
        target_names=target_names,
        cell_names=cell_names,
        **pictures,
        DESCR=_DESCR.format(
            cohort=cohort,
            n_patients=n_patients,
            n_bags=n_bags,
            n_instances=len(label),
            instance="an image" if render else f"a vector of {n_features} features",
            what="image" if render else "feature",
        ),
    )


def _patients(rng, table, scale, samples):
    """Class of each patient, and patient of each sample (at least one a patient)."""
    patient_class, patient = [], []
    for klass, (n_patients, n_samples) in enumerate(table.values()):
        n_patients = max(3, round(scale * n_patients))
        first = len(patient_class)
        patient_class += [klass] * n_patients
        own = np.arange(first, first + n_patients)
        patient.append(own)
        if samples:
            extra = max(n_patients, round(scale * n_samples)) - n_patients
            patient.append(rng.choice(own, size=extra))
    return np.array(patient_class), np.concatenate(patient)


def _red_cell_images(rng, n_bags, bag_scale):
    """Cells per sample, and the image of each cell: 4-12 images with 12-45 cells each."""
    n_images = rng.randint(4, 13, size=n_bags)
    cells = rng.randint(12, 46, size=n_images.sum())
    cells = np.maximum(1, np.rint(bag_scale * cells)).astype(np.int64)
    offsets = offsets_of(n_images)
    number = np.arange(len(cells)) - np.repeat(offsets[:-1], n_images)
    return np.add.reduceat(cells, offsets[:-1]), np.repeat(number, cells)


def _number_of_image(image, bag_of):
    """Which of all images each cell is on, from its number inside the sample."""
    return np.cumsum(np.r_[False, (np.diff(bag_of) != 0) | (np.diff(image) != 0)])


def _cell_labels(rng, cell, sizes, witness_rate):
    """Label of each cell; ``cell`` is the characteristic cell of each bag, 0 for none."""
    count = np.maximum(rng.binomial(sizes, witness_rate), 1)
    bag_of = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(bag_of)) - np.repeat(offsets_of(sizes)[:-1], sizes)
    label = np.where(place < count[bag_of], cell[bag_of], 0)
    return label[shuffled_within_bags(rng, bag_of)]


def _red_cell_clinic(rng, patient_class, klass, signal):
    """Ages of patients and lymphocyte counts of samples; anaemic patients are younger."""
    age = 42 - 3 * signal * patient_class + 16 * rng.standard_normal(len(patient_class))
    count = np.exp(np.log(2.0) + 0.1 * signal * klass + 0.35 * rng.standard_normal(len(klass)))
    return np.clip(age, 1, 95), count


def _lymphocytosis_clinic(rng, patient_is_malignant, is_malignant, signal):
    """Malignant patients are older and have more, and more widely spread, lymphocytes."""
    age = 68 + 10 * signal * patient_is_malignant
    age = age + 13 * rng.standard_normal(len(patient_is_malignant))
    center = np.log(5.5) + 0.8 * signal * is_malignant
    width = 0.5 + 0.4 * signal * is_malignant
    return np.clip(age, 18, 102), np.exp(center + width * rng.standard_normal(len(is_malignant)))


def _covariates(rng, patient, age, count, n_patients, missing_rate):
    import pandas as pd

    age_missing, sex_missing = rng.random_sample((2, n_patients)) < missing_rate
    sex = np.where(rng.random_sample(n_patients) < 0.5, "F", "M").astype(object)
    sex[sex_missing] = np.nan
    age = np.where(age_missing, np.nan, np.round(age))
    count = np.where(rng.random_sample(len(count)) < missing_rate, np.nan, np.round(count, 2))
    return pd.DataFrame({"age": age[patient], "sex": sex[patient], "lymphocyte_count": count})


def age_from_birth_date(birth, at):
    """Age in years at a date.

    Parameters
    ----------
    birth : date-like or array-like of shape (n,)
        Dates of birth, as :func:`pandas.to_datetime` reads them. Write the month as a word
        or use ISO dates: "03/04/1950" is read as the fourth of March.
    at : date-like or array-like of shape (n,)
        Date of the examination, one for all or one each.

    Returns
    -------
    age : float or ndarray of shape (n,)
        Age in years of 365.2425 days; NaN where a date is missing.

    Raises
    ------
    ValueError
        If somebody is born after the examination.

    Examples
    --------
    >>> from milkit.datasets import age_from_birth_date
    >>> age_from_birth_date(["1950-06-01", None], "2020-06-01").round(1)
    array([70., nan])
    """
    import pandas as pd

    scalar = np.ndim(birth) == 0 and np.ndim(at) == 0
    birth, at = (pd.DatetimeIndex(np.atleast_1d(pd.to_datetime(date))) for date in (birth, at))
    if len(birth) != len(at) and 1 not in (len(birth), len(at)):
        raise ValueError(
            f"birth and at must have the same length, or one of them a single date. Got "
            f"{len(birth)} and {len(at)} dates."
        )
    days = (at.to_numpy() - birth.to_numpy()) / np.timedelta64(1, "D")
    if np.any(days < 0):
        i = int(np.argmax(days < 0))
        raise ValueError(
            f"Entry {i} is born {-days[i]:.0f} days after the examination. Look whether day and "
            "month, or a two-digit year, were read the wrong way."
        )
    age = days / 365.2425
    return float(age[0]) if scalar else age
