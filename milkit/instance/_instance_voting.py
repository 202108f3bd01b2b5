"""InstanceVotingClassifier: give every instance its bag's label, and let them vote."""

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions

from milkit.instance._base import BaseInstanceClassifier
from milkit.instance._instance_fit import fit_on_instances
from milkit.utils._containers import read_only
from milkit.utils._random import seeded_clone
from milkit.utils._weights import class_weight_per_bag
from milkit.utils.validation import check_bag_weight

__all__ = ["InstanceVotingClassifier"]


class InstanceVotingClassifier(BaseInstanceClassifier):
    """Train a classifier on instances that carry their bag's label, and let instances vote.

    The simplest way from instances to bags and back, known as single-instance learning: the
    labels are wrong for most instances of a positive bag where witnesses are rare. It does well
    where every instance shows a little of the label.

    Parameters
    ----------
    estimator : classifier, default=None
        Any scikit-learn classifier, or a classifier of milkit, which gets bags of one instance
        each. Images, which no array of samples holds, need one of those. None is a
        ``LogisticRegression(C=0.1)`` behind a ``StandardScaler``.
    voting : {"majority", "mean", "max", "noisy_or", "threshold"}, default="majority"
        How a bag's probability comes about. "majority" is the share of its instances that are
        predicted to be of the class, "mean" and "max" are those of their probabilities.
        "noisy_or" is the probability that at least one is of the class if they were independent,
        1 − Π(1 − p). "threshold" is the probability that ``threshold`` instances reach, so
        that a bag is positive where so many are.
    threshold : int or float in (0, 1), default=1
        For ``voting="threshold"``: how many instances must be positive, or which share.
    weight : {"bag", "instance"}, default="bag"
        "bag" gives every bag the same weight in training, divided among its instances; the
        classifier's ``fit`` must take ``sample_weight``. "instance" counts every instance the
        same, so that large bags dominate.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by which that of its bags is multiplied. "balanced" counts bags.
    random_state : int, RandomState instance or None, default=None
        For classifiers whose own ``random_state`` is None.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all instances, with the numbers of the classes as labels.
    classes_ : ndarray of shape (n_classes,)
        The labels.
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
    SelfTrainingMILClassifier : Picks the instances that carry the label.
    milkit.AttentionMILClassifier : Learns from bags, and says which instances decided.

    Notes
    -----
    Instances of one bag, and of one group, must not be divided by a split inside the classifier:
    a classifier whose ``fit`` takes ``groups`` (such as one of milkit with early stopping) gets
    them, and one whose ``cv`` is a number or None (such as ``CalibratedClassifierCV``) gets folds
    by group; a splitter, such as ``GroupKFold()``, gets the groups. This reaches the steps of a
    pipeline. Other inner splits, such as the early stopping of
    ``HistGradientBoostingClassifier``, are made by instance.

    With an :class:`~milkit.AttentionMILClassifier` inside it is the instance classifier that [1]_
    compares with; set its ``batch_size`` to some hundred instances.

    References
    ----------
    .. [1] A. Sadafi et al., "Attention based multiple instance learning for classification of
           blood cell disorders", MICCAI 2020, arXiv:2007.11641.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import InstanceVotingClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["healthy", "sick"], 10)
    >>> X = [rng.normal(9.0 * (label == "sick"), size=(5, 2)) for label in y]
    >>> model = InstanceVotingClassifier().fit(X, y)
    >>> model.predict(X[9:11])
    array(['healthy', 'sick'], dtype='<U7')
    >>> model.get_feature_names_out().tolist()
    ['count_healthy', 'count_sick', 'rate_healthy', 'rate_sick']
    >>> model.transform(X[:1])
    array([[5., 0., 1., 0.]])
    """

    _parameter_constraints: dict = {
        **BaseInstanceClassifier._parameter_constraints,
        "weight": [StrOptions({"bag", "instance"})],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        voting="majority",
        threshold=1,
        weight="bag",
        class_weight=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.voting = voting
        self.threshold = threshold
        self.weight = weight
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit the classifier on all instances.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,)
            Labels of the bags.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag. A bag of weight 0 is left out.
        groups : array-like of shape (n_bags,), default=None
            What a split inside the classifier must not divide, such as patients; None takes those
            of ``X``, and without any each bag is a group.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If bags or labels are not usable, or the classifier takes no weights or has no
            probabilities where they are needed.
        """
        self._validate_params()
        bags, y = self._validated(X, y, reset=True)
        encoded = self._encode_labels(y)
        classifier = seeded_clone(self._classifier(), self.random_state)
        self._check_votes(classifier)
        groups = self._instance_groups(X, bags, groups)
        weight = self._instance_weight(bags, encoded, sample_weight)
        flat, labels = read_only(bags.flat()[0]), np.repeat(encoded, bags.sizes)
        if not np.all(weight):
            used = weight > 0
            flat, labels, groups, weight = flat[used], labels[used], groups[used], weight[used]
        weight = None if np.all(weight == 1) else weight
        self.estimator_ = fit_on_instances(classifier, flat, labels, weight=weight, groups=groups)
        return self

    def _instance_weight(self, bags, encoded, sample_weight):
        """Weight of each instance, 1 on average where nothing is given."""
        weight = check_bag_weight(sample_weight, bags)
        weight = weight * class_weight_per_bag(
            self.class_weight, self.classes_, encoded, sample_weight=weight
        )
        left = np.unique(encoded[weight > 0])
        if len(left) < len(self.classes_):
            lost = np.delete(self.classes_, left).tolist()
            raise ValueError(f"All bags of class {lost} have weight 0; leave them out of X and y.")
        if self.weight == "bag":
            mean_size = np.average(bags.sizes, weights=weight)
            weight = weight * mean_size / bags.sizes
        return np.repeat(weight, bags.sizes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._classifier())
        if inner.classifier_tags is not None:
            tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags
