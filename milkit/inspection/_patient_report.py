"""patient_report: what a model says of one patient, and why, on one page."""

from html import escape
from numbers import Integral
from pathlib import Path

from milkit.exceptions import BagShapeError
from milkit.inspection._report._content import report_content
from milkit.inspection._report._prediction import check_estimator
from milkit.inspection._report._style import document
from milkit.inspection._report._subject import find_bags
from milkit.inspection._values import as_bags
from milkit.utils.validation import reads_as_table

__all__ = ["PatientReport", "patient_report"]


class PatientReport:
    """A report as HTML; :func:`patient_report` makes it.

    In a notebook it shows itself, in a frame of its own in which no script runs.

    Parameters
    ----------
    html : str
        The whole document.
    title : str
        Its title.

    Examples
    --------
    >>> from milkit.inspection import PatientReport
    >>> PatientReport("<!DOCTYPE html>…", "Report for ann")
    PatientReport('Report for ann', 16 characters)
    """

    def __init__(self, html, title):
        self.html = html
        self.title = title

    def save(self, path):
        """Write the document to a file.

        Parameters
        ----------
        path : str or path-like
            A file that exists is replaced. Its folder must exist.

        Returns
        -------
        path : Path
        """
        path = Path(path)
        path.write_bytes(self.html.encode("utf-8"))
        return path

    def __repr__(self):
        return f"PatientReport({self.title!r}, {len(self.html):,} characters)"

    def _repr_html_(self):
        # Without a base of its own a link inside may load the page around the frame, as was
        # usual before browsers agreed on what a srcdoc's links are relative to.
        inside = self.html.replace("base-uri 'none'; ", "", 1).replace(
            '<meta charset="utf-8">', '<meta charset="utf-8"><base href="about:srcdoc">', 1
        )
        return (
            f'<iframe srcdoc="{escape(inside)}" title="{escape(self.title)}" sandbox="" '
            'loading="lazy" style="width: 100%; height: 48rem; border: 1px solid #888"></iframe>'
        )


def patient_report(
    estimator,
    X,
    index,
    *,
    images=None,
    path=None,
    n_instances=12,
    title=None,
    label=None,
    covariates=None,
    reference=None,
    image_paths=None,
    noun="instance",
    date=None,
):
    """What a model says of one patient, and why, as one HTML page.

    The prediction and how far the members of the model agree on it, the patient's covariates, the
    instances with the highest and the lowest evidence as pictures, the evidence of all in a curve,
    and how to read all this. The page is one file with everything in it; it loads nothing and runs
    no script. The same input gives the same bytes.

    Parameters
    ----------
    estimator : fitted estimator, or list of fitted estimators
        A classifier or regressor, in any nesting of pipelines, searches and wrappers. Members
        are those of a list, such as ``cross_validate(..., return_estimator=True)["estimator"]``,
        of CalibratedClassifierCV, VotingClassifier, VotingRegressor and of networks with
        ``n_estimators`` above 1. Of a list the label is what most of the models predict (of a tie
        the one with the larger mean), and the mean of their numbers is reported, also of the
        evidence, so that all should count in the same units. If the list comes from
        cross-validation, all its models but one have seen this patient.
    X : container of n_bags bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes. Covariates, groups,
        names and ``instance_data["image"]`` of a BagArray are shown; in a DataFrame the columns
        beside the bags are covariates.
    index : int or str
        An int is the position of a bag in X. A str is the name of a bag, or a group; then all
        bags of the group follow each other on the page.
    images : array of shape (n, channels, height, width), (n, height, width, channels) or \
            (n, height, width), BagArray, list of arrays, str, or False, default=None
        A picture for each instance that is reported on, or for each instance of X; a str is the
        name of an ``instance_data`` column. None takes the instances themselves where they are
        pictures; False shows none. Without pictures the
        features are listed in which an instance differs most from its bag.
    path : str or path-like, default=None
        Where to write the page, too.
    n_instances : int, default=12
        How many instances to show at each end.
    title : str, default=None
        None is "Report for" and the name.
    label : object, default=None
        The class that evidence is shown for. None is the one that is predicted.
    covariates : list of str, default=None
        Which covariates to show. None shows all.
    reference : container of bags, default=None
        Bags with covariates. Each covariate gets its place among theirs.
    image_paths : sequence of str, default=None
        File names that ``instance_data["image"]`` counts, as
        :func:`milkit.image.load_image_bags` gives them.
    noun : str, default="instance"
        What an instance is called, such as "cell". Its plural ends in s.
    date : str or date, default=None
        Printed as it is. None prints none.

    Returns
    -------
    report : PatientReport
        With the page in ``html`` and a method ``save(path)``. Notebooks show it.

    Raises
    ------
    IndexError, KeyError
        If X has no such bag or group.
    ValueError
        If ``index`` may mean several bags, ``images`` do not fit the instances, or ``label`` is no
        class.
    TypeError
        If ``estimator`` is none or has several targets, or parameters have a wrong type.
    NotFittedError
        If an estimator is not fitted.
    ImportError
        If there are pictures to show and Pillow is missing.

    See Also
    --------
    score_instances : The evidence.
    instance_occlusion : What is shown for estimators that give no evidence, if the bag is small.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import MISVM, BagArray
    >>> from milkit.inspection import patient_report
    >>> rng = np.random.default_rng(0)
    >>> X = BagArray.from_list(
    ...     [rng.normal(size=(30, 4)) + 2 * (i % 2) for i in range(20)],
    ...     names=[f"patient-{i}" for i in range(20)])
    >>> model = MISVM().fit(X[:18], ["healthy", "sick"] * 9)
    >>> report = patient_report(model, X, "patient-19", date="2026-05-04")
    >>> report.title
    'Report for patient-19'
    >>> "<strong><bdi>sick</bdi></strong>" in report.html
    True
    """
    check_estimator(estimator)
    if reads_as_table(X):
        raise BagShapeError(
            "patient_report needs bags, but got one 2-D table, which may be a single bag. Pass "
            "[bag] for one bag, or a list of bags."
        )
    if isinstance(n_instances, bool) or not isinstance(n_instances, Integral) or n_instances < 1:
        raise ValueError(f"n_instances must be an int of at least 1. Got {n_instances!r} instead.")
    if not isinstance(noun, str) or not noun.strip():
        raise ValueError(f"noun must be a word, such as 'cell'. Got {noun!r} instead.")
    if isinstance(image_paths, (str, Path)):
        raise TypeError(
            "image_paths must hold the name of each image that instance_data['image'] counts. Got "
            f"the single name {str(image_paths)!r}; pass a list, [{str(image_paths)!r}]."
        )
    if path is not None and not Path(path).parent.is_dir():
        raise FileNotFoundError(f"The folder of path={str(path)!r} does not exist. Make it first.")
    bags = as_bags(X)
    rows, group = find_bags(bags, index)
    if title is None:
        names = bags.names
        what = group if group is not None else f"bag {rows[0]}" if names is None else names[rows[0]]
        title = f"Report for {what}"
    content = report_content(
        estimator,
        X,
        bags,
        rows,
        group=group,
        images=images,
        n_instances=int(n_instances),
        title=str(title),
        label=label,
        covariates=covariates,
        reference=reference,
        image_paths=image_paths,
        noun=noun.strip(),
        date=date,
    )
    report = PatientReport(str(document(str(title), *content)), str(title))
    if path is not None:
        report.save(path)
    return report
