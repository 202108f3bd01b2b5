"""SelfTrainingMILClassifier: move confident instances of positive bags into the training set."""

import warnings
from numbers import Real

import numpy as np
from scipy.special import expit
from sklearn.utils import check_array, column_or_1d, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import validate_data

from milkit.exceptions import BagShapeError
from milkit.instance._base import BaseInstanceClassifier
from milkit.instance._instance_fit import fit_on_instances, instance_evidence
from milkit.instance._pool import InstancePool
from milkit.preprocessing import OneClassInstanceFilter
from milkit.utils._containers import is_frame
from milkit.utils._packing import offsets_of
from milkit.utils._random import seeded_clone, seeds_from
from milkit.utils._segments import segment_argmax
from milkit.utils.validation import check_bag_weight, reads_as_table

__all__ = ["SelfTrainingMILClassifier"]


class SelfTrainingMILClassifier(BaseInstanceClassifier):
    """Find the positive instances of positive bags a few at a time, and learn from them.

    A classifier of instances starts from instances whose labels are known from elsewhere, or
    from the most outlying ones of positive bags. In each round it moves the instances of
    positive bags that it is surest of into the training set, together with as many instances of
    negative bags, and is fitted again. The last one is fitted on what was moved, without the
    start [1]_. Two classes only.

    Parameters
    ----------
    estimator : classifier, default=None
        Any classifier of single instances with ``predict_proba`` or ``decision_function``; one of
        milkit gets bags of one instance each. None is a ``LogisticRegression(C=0.1)`` behind a
        ``StandardScaler``.
    schedule : "auto" or list of (int, int), default="auto"
        Pairs (number of rounds, positive instances to move in each of them). ``[(5, 2), (18, 5)]``
        is that of [1]_, for a hundred positive bags. "auto" is the same in shares, 2 % and 5 % of
        the number of positive bags, rounded up, and ends where the instances do.
    min_confidence : float in [0, 1), default=0.5
        An instance is moved if its probability of being positive is more than this. Without
        ``predict_proba`` the logistic function of the decision value takes its place. The rounds
        end when no such instance is left.
    detector : outlier detector, default=None
        Finds the instances to start from where ``fit`` gets no ``seed_X``: the most outlying one
        of each positive bag, against as many random instances of negative bags; see
        :class:`~milkit.OneClassInstanceFilter`.
    voting : {"majority", "mean", "max", "noisy_or", "threshold"}, default="max"
        How instances decide on their bag; see :class:`InstanceVotingClassifier`.
    threshold : int or float in (0, 1), default=1
        For ``voting="threshold"``: how many instances must be positive, or which share.
    random_state : int, RandomState instance or None, default=None
        For the negative instances that are drawn, ties, and estimators whose own
        ``random_state`` is None.
    verbose : int, default=0
        1 shows a progress bar over the rounds.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the instances that were moved, with the numbers of the classes as labels.
    classes_ : ndarray of shape (2,)
        The labels.
    history_ : dict of str to ndarray of shape (n_moved,)
        What was moved when: ``"round"`` from 1, ``"bag"`` and ``"instance"`` (numbers in X and in
        the bag), ``"label"``, and ``"confidence"`` at that time, the probability of being
        positive, NaN for instances of negative bags, which are drawn at random.
    schedule_ : list of (int, int)
        The schedule, with numbers for "auto".
    n_iter_ : int
        Number of rounds that moved something.
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
    InstanceVotingClassifier : Trains on all instances, with their bag's label.
    milkit.OneClassInstanceFilter : Drops instances that look like those of negative bags.

    Notes
    -----
    The moved instances are the classifier's own guesses: where the start is wrong, so is the end.
    Compare with :class:`InstanceVotingClassifier` under cross-validation.

    A classifier is sure of what it was fitted on. Without ``seed_X`` the instances to start from
    are among those that may be moved, so that a flexible classifier, such as nearest neighbours or
    a forest, moves many of them first, witnesses or not. To judge them by classifiers that did not
    see their group was tried: bags came out worse with the default classifier and with forests.

    References
    ----------
    .. [1] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import SelfTrainingMILClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(20) % 2
    >>> X = [rng.normal(size=(10, 2)) for _ in y]
    >>> for bag, label in zip(X, y):
    ...     bag[:2] += 5 * label  # two witnesses
    >>> model = SelfTrainingMILClassifier(random_state=0).fit(X, y)
    >>> model.predict_instances(X)[1]
    array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    >>> positive = model.history_["label"] == 1
    >>> bool(np.all(model.history_["instance"][positive] < 2))
    True
    """

    _parameter_constraints: dict = {
        **BaseInstanceClassifier._parameter_constraints,
        "schedule": [StrOptions({"auto"}), "array-like"],
        "min_confidence": [Interval(Real, 0.0, 1.0, closed="left")],
        "detector": [HasMethods(["fit"]), None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        schedule="auto",
        min_confidence=0.5,
        detector=None,
        voting="max",
        threshold=1,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.schedule = schedule
        self.min_confidence = min_confidence
        self.detector = detector
        self.voting = voting
        self.threshold = threshold
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None, seed_X=None, seed_y=None):
        """Move instances round by round, and fit the classifier on them.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags, of two classes; ``classes_[1]`` is the positive one.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag, for the instances that are moved. A bag of weight 0 is left out.
        groups : array-like of shape (n_bags,), default=None
            What a split inside the classifier must not divide, such as patients; None takes those
            of ``X``, and without any each bag is a group.
        seed_X : array-like of shape (n_seeds, n_features) or (n_seeds, ...), default=None
            Instances with known labels from elsewhere, to start from. scikit-learn's
            cross-validation cuts every parameter of ``fit`` that is as long as X: pass one seed
            more or less where there are as many seeds as bags.
        seed_y : array-like of shape (n_seeds,), default=None
            Their labels, of both classes.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If bags, labels or seeds are not usable, or no instance is ever moved.

        Warns
        -----
        UserWarning
            If fewer instances were moved than the given schedule asks for.
        """
        self._validate_params()
        bags, y = self._validated(X, y, reset=True)
        positive = self._encode_labels(y) == 1
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass: "
                f"{self.classes_.tolist()}. Put OneVsRestClassifier around {type(self).__name__}."
            )
        self._check_votes(self._classifier())
        bag_weight = check_bag_weight(sample_weight, bags)
        for side, what in [(positive, "positive"), (~positive, "negative")]:
            if not np.any(bag_weight[side]):
                raise ValueError(f"One class is left: all {what} bags have weight 0.")
        self.schedule_ = self._check_schedule(int(np.sum(positive & (bag_weight > 0))))
        seeds = self._check_seeds(seed_X, seed_y, bags)
        groups = np.unique(self._instance_groups(X, bags, groups), return_inverse=True)[1]
        pool = InstancePool(bags, positive, bag_weight, groups)
        weighted = sample_weight is not None

        n_rounds = sum(rounds for rounds, _ in self.schedule_)
        start, draws, final, *states = seeds_from(self.random_state, n_rounds + 3).tolist()
        rng = np.random.default_rng(draws)
        if seeds is None:
            self._start_from_outlying(bags, y, pool, rng, start)
        used_up = self._run_rounds(seeds, pool, rng, states, weighted)
        if pool.n_moved == 0:
            raise ValueError(
                f"No instance of a positive bag reached min_confidence={self.min_confidence} in "
                "the first round, so that there is nothing to learn from. Lower it, or pass seeds "
                "(seed_X, seed_y) that resemble the instances of the bags."
            )
        self.estimator_ = self._train(pool.moved(), final, weighted)
        self.history_ = pool.history(self.classes_)
        self.n_iter_ = int(self.history_["round"][-1])
        asked = sum(rounds * n for rounds, n in self.schedule_)
        if pool.n_moved < asked and not isinstance(self.schedule, str):
            left = f"{len(pool.positives_left)} in positive bags and {len(pool.negatives_left)} in"
            reason = f"then there were too few instances left, {left} negative ones"
            if not used_up:
                reason = f"no others reached min_confidence={self.min_confidence}"
            warnings.warn(
                f"The schedule asks for {asked} positive instances and as many negative ones; "
                f"{pool.n_moved} of each were moved in {self.n_iter_} rounds: {reason}.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def _run_rounds(self, seeds, pool, rng, states, weighted):
        """Move instances into the pool's training set; whether it ended for lack of instances."""
        sizes = np.repeat(*reversed(np.transpose(self.schedule_)))
        progress = zip(sizes.tolist(), states, strict=True)
        if self.verbose:
            from tqdm import tqdm

            progress = tqdm(progress, type(self).__name__ + ", rounds", len(states), leave=False)
        for n, state in progress:
            n_left = min(len(pool.positives_left), len(pool.negatives_left))
            if n_left == 0:
                return True
            begin = pool.start() if seeds is None else seeds
            classifier = self._train([begin, *pool.moved()], state, weighted)
            confidence = self._confidence(classifier, pool.instances, pool.positives_left)
            if pool.move(n, confidence, self.min_confidence, rng) == 0:
                return False
            if n_left < n:
                return True
        return False

    def _train(self, parts, state, weighted):
        """A classifier fitted on parts of a training set."""
        instances, labels, weight, groups = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return fit_on_instances(
            seeded_clone(self._classifier(), state),
            instances,
            labels,
            weight=weight if weighted else None,
            groups=groups,
        )

    @staticmethod
    def _confidence(classifier, instances, rows):
        """How sure the classifier is that each of the rows is positive, between 0 and 1."""
        evidence = instance_evidence(classifier, instances, rows)
        return evidence if hasattr(classifier, "predict_proba") else expit(evidence)

    def _start_from_outlying(self, bags, y, pool, rng, state):
        """Start from the most outlying instance of each positive bag, and as many others."""
        if len(bags.instance_shape) > 1:
            raise BagShapeError(
                f"The instances have shape {bags.instance_shape}, and outlier detectors take "
                "vectors. Pass seeds (seed_X, seed_y) to start from, or extract features first."
            )
        step = OneClassInstanceFilter(
            self.detector, negative_class=self.classes_[0], random_state=state
        )
        usable = np.unique(pool.bag[np.append(pool.positives_left, pool.negatives_left)])
        step.fit(bags[usable], y[usable])
        own = bags[np.unique(pool.bag[pool.positives_left])]
        scores = np.concatenate(step.score_instances(own))
        top = pool.positives_left[segment_argmax(scores, offsets_of(own.sizes))]
        others = pool.draw_negatives(min(len(top), len(pool.negatives_left)), rng)
        pool.start_from(top, others)

    def _check_schedule(self, n_positive):
        if isinstance(self.schedule, str):
            return [(5, -(-n_positive // 50)), (18, -(-n_positive // 20))]
        try:
            pairs = np.asarray(self.schedule)
        except ValueError:  # pairs of unequal length
            pairs = np.empty(0)
        of_counts = pairs.dtype.kind in "iu" and np.all(pairs > 0)
        if pairs.shape[1:] != (2,) or not of_counts:
            raise ValueError(
                "schedule must be 'auto' or a list of pairs of positive integers (rounds, "
                f"instances to move in each), such as [(5, 2), (18, 5)]. Got {self.schedule!r}."
            )
        return [tuple(pair) for pair in pairs.tolist()]

    def _check_seeds(self, seed_X, seed_y, bags):
        """External instances as a part of the training set, or None."""
        if (seed_X is None) != (seed_y is None):
            missing = "seed_X" if seed_X is None else "seed_y"
            raise ValueError(f"seed_X and seed_y belong together; {missing} is missing.")
        if seed_X is None:
            return None
        is_array = isinstance(seed_X, np.ndarray)
        if not (seed_X.ndim > 1 if is_array else reads_as_table(seed_X)):
            raise ValueError(
                "seed_X must be one array of instances, of shape (n_seeds, n_features) or "
                f"(n_seeds, ...), and no bags. Got a {type(seed_X).__name__}."
            )
        allow_nan = "allow-nan" if get_tags(self).input_tags.allow_nan else True
        if is_frame(seed_X):  # its columns are those of the bags
            seed_X = validate_data(self, seed_X, reset=False, ensure_all_finite=allow_nan)
        seed_X = check_array(
            seed_X, allow_nd=True, ensure_all_finite=allow_nan, input_name="seed_X"
        )
        dtypes = bags.dtype, seed_X.dtype
        if len(bags.instance_shape) > 1 and sum(dtype == np.uint8 for dtype in dtypes) == 1:
            raise ValueError(
                f"The images of the bags are {dtypes[0]} and those of seed_X {dtypes[1]}; bytes "
                "are divided by 255 and floats are not. Convert seed_X to the same type."
            )
        if seed_X.shape[1:] != bags.instance_shape:
            raise BagShapeError(
                f"The instances of seed_X have shape {seed_X.shape[1:]}, and those of the bags "
                f"{bags.instance_shape}; both must have the same features."
            )
        seed_y = column_or_1d(seed_y)
        if len(seed_y) != len(seed_X):
            raise ValueError(
                f"seed_y has {len(seed_y)} labels, but seed_X has {len(seed_X)} instances."
            )
        labels = self.classes_.tolist()
        unknown = set(seed_y.tolist()) - set(labels)
        if unknown or len(set(seed_y.tolist())) < 2:
            raise ValueError(
                f"seed_y must have labels of both classes, {labels}, and no others. Got "
                f"{sorted(set(seed_y.tolist()), key=str)}."
            )
        encoded = np.searchsorted(self.classes_, seed_y)
        # A group of its own each, behind those of the bags.
        groups = bags.n_instances + np.arange(len(seed_X))
        return seed_X, encoded, np.ones(len(seed_X)), groups

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
