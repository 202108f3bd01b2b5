"""OneClassInstanceFilter: keep the instances that look least like those of negative bags."""

import warnings
from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin, BagsToBagsMixin, encode_labels, split_by_bag
from milkit.exceptions import describe_bag
from milkit.preprocessing._outlyingness import check_detector, in_units_of, outlyingness
from milkit.utils._containers import read_only
from milkit.utils._inner_fit import fit_inside, weight_names
from milkit.utils._random import seeded_clone, seeds_from
from milkit.utils._segments import segment_top
from milkit.utils.validation import check_bag_weight, resolve_groups, validate_bags

__all__ = ["OneClassInstanceFilter"]


# Where a detector takes no sample_weight.
_WITHOUT_WEIGHTS = "Use a detector that takes it, or no sample_weight."


def _fit_and_score(detector, instances, rows, weight, scored):
    """The detector fitted on some rows, and its scores of others."""
    weight = None if weight is None else weight[rows]
    fit_inside(detector, instances[rows], weight=weight, instead=_WITHOUT_WEIGHTS)
    return detector, outlyingness(detector, instances, scored) if len(scored) else np.empty(0)


class OneClassInstanceFilter(OneToOneFeatureMixin, BagMixin, BagsToBagsMixin, BaseEstimator):
    """Keep the instances that look least like the instances of negative bags.

    An outlier detector is fitted on the instances of negative bags only, all of which are
    normal under the standard assumption of multiple instance learning. What it finds outlying
    may carry the label of a positive bag; the rest is dropped in front of another estimator.
    Outlying is not the same as relevant: check with cross-validation that the filter helps.

    Parameters
    ----------
    estimator : outlier detector, default=None
        Anything with ``fit(X)`` and ``score_samples``, or else ``decision_function``, where less
        is more outlying: ``IsolationForest``, ``LocalOutlierFactor(novelty=True)``,
        ``KernelDensity``, ``GaussianMixture``. ``NearestNeighbors`` scores by the distance to the
        last of its neighbours. A pipeline that ends in one is a detector, too. None is
        ``OneClassSVM(nu=0.1)`` behind a ``StandardScaler``.
    keep : {"outliers", "threshold"}, default="outliers"
        "outliers" keeps the share ``fraction`` of each bag, the most outlying ones. "threshold"
        keeps what is more outlying than all but the share ``fraction`` of the instances of
        negative bags, wherever it lies.
    fraction : float in (0, 1], default=0.5
        See ``keep``. A share of a bag is rounded up.
    min_instances : int, default=1
        So many of each bag are kept in any case, the most outlying ones; all of a smaller bag.
    negative_class : label, default=None
        Label of the bags whose instances are normal. None is the first in sorted order.
    max_samples : int or None, default=10_000
        A detector is fitted on at most so many instances, drawn at random. None draws none.
    n_splits : int, default=5
        Number of folds of the cross-fitted scores, see the notes. Fewer where there are fewer
        groups of negative bags.
    n_jobs : int, default=None
        Number of folds that are fitted at the same time.
    random_state : int, RandomState instance or None, default=None
        For the drawing of instances, and for detectors whose own ``random_state`` is None.
    verbose : int, default=0
        1 shows a progress bar over the folds.

    Attributes
    ----------
    estimator_ : outlier detector
        Fitted on the instances of all negative bags.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    negative_class_ : label
        The label whose bags count as normal.
    threshold_ : float
        With ``keep="threshold"``, the score that instances must exceed.
    n_features_in_ : int
        Number of features of an instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the bags have feature names that are strings.
    instance_shape_ : tuple
        Shape of one instance.
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, read as one instance per bag.

    See Also
    --------
    milkit.SelfTrainingMILClassifier : Can start from the most outlying instances.

    Notes
    -----
    Instances that a detector was fitted on look too normal to it. So ``fit_transform`` scores
    each bag whose group has negative bags by a detector that saw no bag of that group, and the
    threshold is learned on such scores too. ``fit_transform(X, y)`` hence differs from
    ``fit(X, y).transform(X)``, as it does for scikit-learn's ``TargetEncoder``. A ``Pipeline``
    calls ``fit_transform`` on the training fold.

    Which of equally outlying instances of a bag are kept follows from a hash of their features,
    so that their order means nothing.

    Scores against the instances of negative bags serve a pooling in [1]_. The default detector is
    that of [2]_.

    References
    ----------
    .. [1] S. Kazeminia et al., "Anomaly-aware multiple instance learning for rare anemia disorder
           classification", MICCAI 2022, arXiv:2207.01742.
    .. [2] B. Schölkopf et al., "Estimating the support of a high-dimensional distribution",
           Neural Computation 13, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import OneClassInstanceFilter
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(10, 2)) for _ in range(8)]
    >>> y = [0, 1] * 4
    >>> X[1][3] = [9.0, 9.0]  # a witness
    >>> step = OneClassInstanceFilter(fraction=0.2).fit(X, y)
    >>> kept = step.support_mask(X)[1]
    >>> int(kept.sum()), bool(kept[3])
    (2, True)
    >>> step.transform(X).sizes
    array([2, 2, 2, 2, 2, 2, 2, 2])
    """

    # Groups travel to the folds under metadata routing.
    __metadata_request__fit = {"groups": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "keep": [StrOptions({"outliers", "threshold"})],
        "fraction": [Interval(Real, 0.0, 1.0, closed="right")],
        "min_instances": [Interval(Integral, 1, None, closed="left")],
        "negative_class": "no_validation",
        "max_samples": [Interval(Integral, 1, None, closed="left"), None],
        "n_splits": [Interval(Integral, 2, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        keep="outliers",
        fraction=0.5,
        min_instances=1,
        negative_class=None,
        max_samples=10_000,
        n_splits=5,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.keep = keep
        self.fraction = fraction
        self.min_instances = min_instances
        self.negative_class = negative_class
        self.max_samples = max_samples
        self.n_splits = n_splits
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit the detector on the instances of negative bags.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag, handed on if the detector's ``fit`` takes ``sample_weight``. A bag
            of weight 0 is left out.
        groups : array-like of shape (n_bags,), default=None
            What the folds must not divide, such as patients; None takes those of ``X``, and
            without any each bag is a group.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no negative bag, or bags, labels or the detector are not usable.
        TypeError
            If the detector cannot score new instances.
        """
        self._fit(X, y, sample_weight, groups, cross_fit=self.keep == "threshold")
        return self

    def fit_transform(self, X, y, sample_weight=None, groups=None):
        """Fit the detector, and filter by scores of detectors that did not see the bag.

        Parameters
        ----------
        X : container of n_bags bags
        y : array-like of shape (n_bags,)
            Labels of the bags.
        sample_weight : array-like of shape (n_bags,), default=None
            See :meth:`fit`.
        groups : array-like of shape (n_bags,), default=None
            See :meth:`fit`.

        Returns
        -------
        Xt : BagArray of shape (n_bags,), or ndarray of shape (n_samples, n_features)
            Bags for bags; a 2-D array for what was read as 2-D.

        Raises
        ------
        ValueError, TypeError
            See :meth:`fit`.
        """
        bags, scores = self._fit(X, y, sample_weight, groups, cross_fit=True)
        return self._like_input(X, bags.select_instances(self._mask(scores, bags)))

    def _fit(self, X, y, sample_weight, groups, *, cross_fit):
        self._validate_params()
        given = self.estimator
        if given is None:
            given = make_pipeline(StandardScaler(), OneClassSVM(nu=0.1))
        check_detector(given)
        bags, y = self._validated(X, y, reset=True)
        self.classes_, encoded = encode_labels(y)
        normal = encoded == self._index_of_negative_class()
        groups = resolve_groups(X, groups)
        weight = None
        if sample_weight is not None:
            weight_names(given, _WITHOUT_WEIGHTS)
            bag_weight = check_bag_weight(sample_weight, bags)
            normal &= bag_weight > 0
            if not normal.any():
                label = np.asarray(self.negative_class_).tolist()
                raise ValueError(
                    f"No bag of class {label!r} has a positive weight, so that there are no normal "
                    "instances."
                )
            weight = np.repeat(bag_weight, bags.sizes)
        flat, _ = bags.flat()
        rows = np.flatnonzero(np.repeat(normal, bags.sizes))
        folds = self._folds(bags, rows, groups) if cross_fit else []
        others = np.full(len(flat), cross_fit)
        for _, scored in folds:
            others[scored] = False
        # The first job gives the detector itself; it scores the bags that it did not see.
        jobs = [(rows, np.flatnonzero(others)), *folds]
        fitted = list(self._run(given, flat, weight, jobs))
        self.estimator_ = fitted[0][0]
        scores = np.empty(len(flat))
        for (_, scored), (detector, part) in zip(jobs, fitted, strict=True):
            if self.keep == "threshold":  # one number for the scores of all detectors
                part = in_units_of(self.estimator_, detector, part)
            scores[scored] = part
        if cross_fit:
            self._refuse_nan(scores, bags)
        if self.keep == "threshold":
            self.threshold_ = self._threshold(
                scores[rows], None if weight is None else weight[rows]
            )
        elif hasattr(self, "threshold_"):
            del self.threshold_  # of an earlier fit
        return bags, scores

    def _validated(self, X, y="no_validation", *, reset):
        allow_nan = get_tags(self).input_tags.allow_nan
        return validate_bags(
            self, X, y, reset=reset, ensure_all_finite="allow-nan" if allow_nan else True
        )

    def _index_of_negative_class(self):
        labels = self.classes_.tolist()
        if self.negative_class is None:
            if len(labels) < 2:
                raise ValueError(
                    f"y has only one class, {labels[0]!r}; {type(self).__name__} needs to be told "
                    f"with negative_class={labels[0]!r} that these bags are the normal ones."
                )
            self.negative_class_ = self.classes_[0]
            return 0
        if self.negative_class not in labels:
            raise ValueError(
                f"There is no negative bag: negative_class={self.negative_class!r} is none of the "
                f"labels {labels}."
            )
        index = labels.index(self.negative_class)
        self.negative_class_ = self.classes_[index]
        return index

    def _folds(self, bags, rows, groups):
        """Rows that a detector is fitted on, and rows of groups that it does not see."""
        codes = np.arange(len(bags))
        if groups is not None:
            codes = np.unique(groups, return_inverse=True)[1]
        group = np.repeat(codes, bags.sizes)
        n_groups = len(np.unique(group[rows]))
        if n_groups < 2:
            warnings.warn(
                "All negative bags belong to one group, and cannot be scored by a detector that "
                "did not see the group: their instances are divided among the folds, and look "
                "more normal than those of a new patient.",
                UserWarning,
                stacklevel=4,
            )
            group, n_groups = np.arange(len(group)), len(rows)
        n_folds = min(self.n_splits, n_groups)
        if n_folds < 2:
            return []
        return [
            (rows[train], np.flatnonzero(np.isin(group, group[rows[test]])))
            for train, test in GroupKFold(n_folds).split(rows, groups=group[rows])
        ]

    def _threshold(self, scores, weight):
        """What the share ``fraction`` of normal instances exceeds."""
        if self.fraction == 1:
            return -np.inf
        # 1 - 0.7 is a little more than 0.3, which may be one instance more.
        level = np.round(1 - self.fraction, 12)
        threshold = np.quantile(scores, level, weights=weight, method="inverted_cdf")
        tied = scores == threshold
        if threshold == np.inf or (threshold == scores.max() and tied.sum() > 1):
            share = np.average(tied, weights=weight)
            raise ValueError(
                f"The most outlying {share:.0%} of the instances of negative bags have the same "
                f"score, {threshold:g}, so that no threshold lets {self.fraction:.0%} of them "
                "through. Use a detector with finer scores (a larger bandwidth or radius), or "
                "keep='outliers'."
            )
        return threshold

    def _run(self, given, flat, weight, jobs):
        """Fitted detectors and their scores, in the order of the jobs."""
        tasks = []
        for (rows, scored), seed in zip(
            jobs, seeds_from(self.random_state, len(jobs)), strict=True
        ):
            rng = np.random.default_rng(seed)
            if self.max_samples is not None and len(rows) > self.max_samples:
                rows = np.sort(rng.choice(rows, self.max_samples, replace=False))
            detector = seeded_clone(given, int(seed))
            tasks.append(delayed(_fit_and_score)(detector, flat, rows, weight, scored))
        results = Parallel(self.n_jobs, return_as="generator")(tasks)
        if self.verbose:
            from tqdm import tqdm

            results = tqdm(results, type(self).__name__ + ", detectors", len(tasks), leave=False)
        return results

    def _refuse_nan(self, scores, bags):
        if np.isnan(scores).any():
            row = int(np.argmax(np.isnan(scores)))
            bag = int(np.searchsorted(np.cumsum(bags.sizes), row, side="right"))
            raise ValueError(
                f"{type(self.estimator_).__name__} gave NaN for an instance of "
                f"{describe_bag(bag, bags.names)}; it must give a number for each instance."
            )

    def _scored(self, X):
        check_is_fitted(self)
        bags = self._validated(X, reset=False)
        scores = outlyingness(self.estimator_, read_only(bags.flat()[0]))
        self._refuse_nan(scores, bags)
        return bags, scores

    def _mask(self, scores, bags):
        flat, offsets = bags.flat()
        if self.keep == "threshold":
            counts = np.add.reduceat(scores > self.threshold_, offsets[:-1], dtype=np.int64)
        else:  # 0.07 · 100 is 7, and not a little more
            counts = np.ceil(np.round(self.fraction * bags.sizes, 9)).astype(np.int64)
        counts = np.minimum(np.maximum(counts, self.min_instances), bags.sizes)
        # A product of matrices rounds otherwise in another batch: ranks in single precision, but
        # over the whole range of doubles.
        mantissa, exponent = np.frexp(scores)
        rounded = np.ldexp(np.round(np.ldexp(mantissa, 24)), exponent - 24)
        return segment_top(rounded, offsets, counts, flat)

    def transform(self, X):
        """Drop the instances that look most like those of negative bags.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,), or ndarray of shape (n_samples, n_features)
            The instances that are kept, in their order, with names, groups, covariates and
            instance data. No bag is emptied. A 2-D array for what was read as 2-D.
        """
        bags, scores = self._scored(X)
        return self._like_input(X, bags.select_instances(self._mask(scores, bags)))

    def support_mask(self, X):
        """Which instances :meth:`transform` keeps.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        masks : list of ndarray of bool, each of shape (n_i,)
        """
        bags, scores = self._scored(X)
        return split_by_bag(self._mask(scores, bags), bags)

    def score_instances(self, X):
        """How little each instance looks like those of negative bags.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        scores : list of ndarray, each of shape (n_i,)
            More is more outlying; comparable across bags. On bags of the training set they are
            not cross-fitted, so that negative bags look too normal.
        """
        bags, scores = self._scored(X)
        return split_by_bag(scores, bags)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.estimator is not None:
            inner = get_tags(self.estimator)
            tags.input_tags.allow_nan = inner.input_tags.allow_nan
            tags.non_deterministic = inner.non_deterministic
        return tags
