"""MISVM: support vector machines for multiple instance learning."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagClassifierMixin, BagMixin, split_by_bag
from milkit.kernels._instance_kernels import resolve_gamma
from milkit.svm._alternation import BinaryBags, bag_margin, instance_margin
from milkit.svm._kernels import KernelFunction, LinearStore, RowStore
from milkit.svm._qp import SOLVERS
from milkit.utils._segments import segment_max, segment_sum
from milkit.utils._weights import class_weight_per_bag
from milkit.utils.validation import check_bag_weight, validate_bags

__all__ = ["MISVM"]

# Entries of the kernel between new instances and support vectors held at a time (32 MB).
_BLOCK_ENTRIES = 4_000_000


class MISVM(BagMixin, BagClassifierMixin, BaseEstimator):
    r"""MI-SVM and mi-SVM: support vector machines for bags, after Andrews et al.

    A bag is as positive as its most positive instance, the *witness*. With ``margin="bag"``
    (MI-SVM) the machine looks for the witnesses and the widest margin together,

    .. math:: \min_{w, b, \xi, s} \tfrac12 \|w\|^2 + \sum_I C_I \xi_I, \quad \xi_I \ge 0,

    .. math:: \langle w, x_{s(I)} \rangle + b \ge 1 - \xi_I \text{ (positive bags)},

    .. math:: -\langle w, x_i \rangle - b \ge 1 - \xi_I \ \forall i \in I \text{ (negative bags)},

    by solving the quadratic programme for fixed witnesses and choosing them anew, until none
    changes. With ``margin="instance"`` (mi-SVM) every instance of a positive bag gets a label,
    at least one of them positive, and each instance has its own margin.

    Parameters
    ----------
    C : float, default=3.0
        Cost of a unit of slack of one bag (``margin="bag"``) or one instance
        (``margin="instance"``), as in :class:`sklearn.svm.SVC`: not divided by anything.
    margin : {"bag", "instance"}, default="bag"
        "bag" is MI-SVM, "instance" is mi-SVM. See the guide on which to take.
    kernel : {"linear", "rbf", "poly", "sigmoid"} or callable, default="rbf"
        Kernel between instances. A callable gets two matrices of instances, of shapes
        (n, n_features) and (m, n_features), and returns shape (n, m).
    gamma : {"scale", "auto"} or float, default="scale"
        As in :class:`sklearn.svm.SVC`, computed on all training instances.
    degree : int, default=3
        Degree of "poly".
    coef0 : float, default=0.0
        Constant of "poly" and "sigmoid".
    negative_slack : {"bag", "instance"}, default="bag"
        For ``margin="bag"``: one slack shared by all instances of a negative bag, as in the
        paper, or one for each of them.
    init : {"density", "mean", "random"}, default="density"
        For ``margin="bag"``: where each positive bag's witness begins. "density" takes the
        instance at which the mean kernel with positive bags exceeds that with negative bags
        most, over at most 1000 instances of each side. "mean" begins at the mean of the bag, as
        in the paper, which goes astray where witnesses are rare; "random" at a random instance.
    n_init : int, default=1
        Number of random beginnings; the run with the smallest primal objective is kept. More
        than one needs ``init="random"``.
    solver : {"auto", "working_set", "interior", "libsvm", "cvxopt"}, default="auto"
        Solver of the quadratic programmes; all reach the same optimum. "working_set" keeps the
        instances that matter and begins each outer step at the last solution; "interior" takes
        all instances at once; "libsvm" is for problems in which every instance has a slack of
        its own; "cvxopt" is the dense reference. "auto" takes "working_set", which was the
        fastest in every measurement.
    max_iter : int, default=50
        Most outer steps.
    tol : float, default=1e-4
        Relative duality gap up to which a quadratic programme counts as solved.
    class_weight : dict, "balanced" or None, default=None
        Multiplies C for the bags of each class; "balanced" is n_bags / (n_classes · n_bags of
        the class), for each one-vs-rest problem with its two classes.
    random_state : int, RandomState instance or None, default=None
        For ``init="random"``.
    verbose : int, default=0
        1 shows a progress bar over the outer steps.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    witnesses_ : ndarray of shape (n_positive_bags,) or list of them
        Position of each positive bag's witness inside its bag, in the order of the bags. With
        more than two classes a list with one array for each class.
    support_vectors_ : ndarray of shape (n_support, n_features)
        Support vectors of all one-vs-rest problems behind each other.
    dual_coef_ : ndarray of shape (n_problems, n_support)
        Label times multiplier of each support vector; one problem for two classes.
    intercept_ : ndarray of shape (n_problems,)
        The one that makes the objective smallest, and where a range of them does, the middle of
        it.
    coef_ : ndarray of shape (n_problems, n_features)
        Weights of the features; linear kernel only.
    objective_ : ndarray of shape (n_problems,)
        Primal objective.
    relative_gap_ : ndarray of shape (n_problems,)
        Relative duality gap of the last quadratic programme.
    n_iter_ : int
        Most outer steps over the problems.
    solver_ : str
        The solver used.
    gamma_ : float
        The number used for gamma.
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
    milkit.SetKernel : Compares whole bags instead of looking for witnesses.
    milkit.AttentionMILClassifier : Learns features and weighs all instances.

    Notes
    -----
    More than two classes are taken one against the rest. The features should be on one scale:
    put ``InstanceTransformer(StandardScaler())`` in front.

    References
    ----------
    .. [1] S. Andrews, I. Tsochantaridis, T. Hofmann, "Support vector machines for
           multiple-instance learning", NeurIPS 2002: mi-SVM is eq. 4, MI-SVM eq. 7.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import MISVM
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(6, 2)) for _ in range(30)]
    >>> y = np.arange(30) % 2
    >>> for bag in X[1::2]:
    ...     bag[0] += 5  # one witness in each positive bag
    >>> model = MISVM().fit(X, y)
    >>> model.score(X, y)
    1.0
    >>> model.witnesses_
    array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    """

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0.0, None, closed="neither")],
        "margin": [StrOptions({"bag", "instance"})],
        "kernel": [StrOptions({"linear", "rbf", "poly", "sigmoid"}), callable],
        "gamma": [StrOptions({"scale", "auto"}), Interval(Real, 0.0, None, closed="left")],
        "degree": [Interval(Integral, 0, None, closed="left")],
        "coef0": [Interval(Real, None, None, closed="neither")],
        "negative_slack": [StrOptions({"bag", "instance"})],
        "init": [StrOptions({"density", "mean", "random"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"auto", *SOLVERS})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        C=3.0,
        *,
        margin="bag",
        kernel="rbf",
        gamma="scale",
        degree=3,
        coef0=0.0,
        negative_slack="bag",
        init="density",
        n_init=1,
        solver="auto",
        max_iter=50,
        tol=1e-4,
        class_weight=None,
        random_state=None,
        verbose=0,
    ):
        self.C = C
        self.margin = margin
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.negative_slack = negative_slack
        self.init = init
        self.n_init = n_init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None):
        """Find witnesses and margin.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags. For two classes ``classes_[1]`` is the positive one.
        sample_weight : array-like of shape (n_bags,), default=None
            Multiplies C for each bag; a bag of weight 0 is left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the bags or labels are not usable; the bag is named.
        RuntimeError
            If the solver fails.
        MemoryError
            If the instances that the solver holds at a time do not fit into the machine's memory.

        Warns
        -----
        ConvergenceWarning
            If the witnesses still change after ``max_iter`` steps, a quadratic programme was not
            solved to ``tol``, or the kernel is not positive semi-definite.
        """
        self._validate_params()
        if self.n_init > 1 and (self.init != "random" or self.margin != "bag"):
            raise ValueError(
                f"n_init={self.n_init} repeats the same run with init={self.init!r} and "
                f"margin={self.margin!r}; use init='random' and margin='bag', or n_init=1."
            )
        bags, y = validate_bags(self, X, y, dtype=np.float64, instance_data=False)
        encoded = self._encode_labels(y)
        weight = check_bag_weight(sample_weight, bags)
        flat, offsets = bags.flat()
        self.gamma_ = resolve_gamma(self.gamma, flat, np.repeat(weight, bags.sizes))
        self.solver_ = "working_set" if self.solver == "auto" else self.solver
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))

        n_classes = len(self.classes_)
        positive_classes = [1] if n_classes == 2 else range(n_classes)
        store, means = self._store(flat, offsets, np.isin(encoded, positive_classes))
        models = []
        for positive_class in positive_classes:
            positive = encoded == positive_class
            caps = (self.C * weight) * class_weight_per_bag(
                self.class_weight, self.classes_, encoded, positive, weight
            )
            for side, what in [(positive, "positive"), (~positive, "negative")]:
                if not np.any(caps[side]):
                    raise ValueError(
                        f"No {what} bag is left: all bags of one class have weight 0. Both sides "
                        "of each two-class problem need a bag with a positive weight."
                    )
            models.append(self._fit_binary(BinaryBags(store, offsets, positive, caps, means), rng))
        self._keep(models)
        return self

    def _store(self, flat, offsets, positive):
        """All vectors of the fit, shared by restarts and classes, and where the means stand."""
        means = None
        if self.margin == "bag" and self.init == "mean":
            means = len(flat) + np.cumsum(positive) - 1
            every = segment_sum(flat, offsets) / np.diff(offsets)[:, None]
            flat = np.vstack([flat, every[positive]])
        if self.kernel == "linear":
            return LinearStore(flat), means
        return RowStore(flat, self._kernel), means

    def _fit_binary(self, bags, rng):
        shared = {
            "max_iter": self.max_iter,
            "tol": self.tol,
            "solver": self.solver_,
            "progress": self._progress,
        }
        if self.margin == "instance":
            return instance_margin(bags, **shared)
        runs = [
            bag_margin(bags, negative_slack=self.negative_slack, init=self.init, rng=rng, **shared)
            for _ in range(self.n_init)
        ]
        return min(runs, key=lambda run: run.objectives[-1])

    @property
    def _fit_needs_all_pairs(self):
        """bool : Whether fit holds the kernel between all instances; the bag checks ask."""
        return self.margin == "instance"

    def _progress(self, steps):
        if not self.verbose:
            return steps
        from tqdm import tqdm

        return tqdm(steps, desc="MISVM, outer steps", leave=False)

    @property
    def _kernel(self):
        return KernelFunction(self.kernel, gamma=self.gamma_, degree=self.degree, coef0=self.coef0)

    def _keep(self, models):
        for model in models:
            if not model.converged:
                warnings.warn(
                    f"The witnesses still changed after max_iter={self.max_iter} outer steps. "
                    "Increase max_iter.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            if not model.convex:
                warnings.warn(
                    f"The kernel ({self.kernel!r}) is not positive semi-definite on these "
                    "instances, so that the solution is a stationary point and need not be the "
                    "best one. Use kernel='rbf', 'linear' or 'poly' with coef0 >= 0.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            if not abs(model.relative_gap) <= self.tol:
                warnings.warn(
                    f"A quadratic programme was solved to a relative duality gap of "
                    f"{model.relative_gap:.1e} only, more than tol={self.tol:g}. Put the features "
                    "on one scale (InstanceTransformer(StandardScaler())), or lower C.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            self._warn_of_rounding(model)
        counts = [len(model.coef) for model in models]
        self.support_vectors_ = np.vstack([model.support_vectors for model in models])
        self.dual_coef_ = np.zeros((len(models), sum(counts)))
        ends = np.cumsum(counts)
        for row, model, end in zip(self.dual_coef_, models, ends, strict=True):
            row[end - len(model.coef) : end] = model.coef
        self.intercept_ = np.array([model.intercept for model in models])
        self.objective_ = np.array([model.objectives[-1] for model in models])
        self.relative_gap_ = np.array([model.relative_gap for model in models])
        self.n_iter_ = max(len(model.objectives) for model in models)
        witnesses = [model.witnesses for model in models]
        self.witnesses_ = witnesses[0] if len(models) == 1 else witnesses
        if self.kernel == "linear":
            self.coef_ = self.dual_coef_ @ self.support_vectors_
        elif hasattr(self, "coef_"):
            del self.coef_  # of an earlier fit with another kernel

    def _warn_of_rounding(self, model):
        """Warn where sums of products of features lose what the duality gap is made of."""
        if self.kernel != "linear" or not len(model.coef):
            return
        largest = np.einsum("ij,ij->i", model.support_vectors, model.support_vectors).max()
        lost = np.finfo(np.float64).eps * np.abs(model.coef).sum() ** 2 * largest
        if lost > self.tol * abs(model.objectives[-1]):
            warnings.warn(
                f"The features are so large (a support vector has length {largest**0.5:.1e}) that "
                f"rounding may hide a duality gap above tol={self.tol:g}. Put the features on one "
                "scale (InstanceTransformer(StandardScaler())), or lower C.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _instance_scores(self, bags):
        """Decision value of each instance, shape (n_instances, n_problems)."""
        flat, _ = bags.flat()
        if self.kernel == "linear":
            return flat @ self.coef_.T + self.intercept_
        scores = np.empty((len(flat), len(self.intercept_)))
        rows = max(1, _BLOCK_ENTRIES // max(1, len(self.support_vectors_)))
        for start in range(0, len(flat), rows):
            block = slice(start, start + rows)
            scores[block] = self._kernel(flat[block], self.support_vectors_) @ self.dual_coef_.T
        return scores + self.intercept_

    def _scores(self, X):
        check_is_fitted(self)
        bags = validate_bags(self, X, reset=False, dtype=np.float64, instance_data=False)
        return bags, self._instance_scores(bags)

    def decision_function(self, X):
        """Score of each bag, the largest over its instances.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        scores : ndarray of shape (n_bags,) or (n_bags, n_classes)
            For two classes positive where ``classes_[1]`` is predicted.
        """
        bags, scores = self._scores(X)
        decision = segment_max(scores, bags.flat()[1])
        return decision[:, 0] if len(self.classes_) == 2 else decision

    def predict(self, X):
        """Label of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        y : ndarray of shape (n_bags,)
        """
        return self._decode_scores(self.decision_function(X))

    def score_instances(self, X):
        """Evidence of each instance; its largest value over a bag is the bag's decision.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
            For two classes evidence for ``classes_[1]``; comparable across bags.
        """
        bags, scores = self._scores(X)
        return split_by_bag(scores[:, 0] if len(self.classes_) == 2 else scores, bags)

    def predict_instances(self, X):
        """Label of each instance.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        labels : list of ndarray, each of shape (n_i,)
        """
        bags, scores = self._scores(X)
        return split_by_bag(
            self._decode_scores(scores[:, 0] if len(self.classes_) == 2 else scores), bags
        )
