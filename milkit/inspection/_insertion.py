"""insertion_curve: the decision while the most important instances enter the bag."""

from sklearn.utils._param_validation import validate_params

from milkit.inspection._curves import PARAMETERS, explanation_curve

__all__ = ["insertion_curve"]


@validate_params(PARAMETERS, prefer_skip_nested_validation=False)
def insertion_curve(
    estimator,
    X,
    values=None,
    *,
    kind="evidence",
    signed=None,
    class_label=None,
    n_steps=20,
    response_method="auto",
    random_state=None,
    verbose=0,
):
    """Decision of bags that are built up from their most important instances.

    If an explanation names the instances that a decision rests on, a few of them are enough for
    it, and the decision rises fast: **a higher AUC is better**. The method is that of [1]_ for
    pixels; a bag needs no grey or blurred background to begin with, it begins small.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier with ``decision_function`` or ``predict_proba``, a regressor, or an outlier
        detector with ``decision_function``, alone or inside pipelines, searches and wrappers.
    X : container of n_bags bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes. Names, groups,
        covariates and the other columns of a DataFrame stay with the part of the bag.
    values : list of ndarray, each of shape (n_i,) or (n_i, n_classes), default=None
        The explanation: the larger, the more important. Of several columns the one of the class
        that is explained is taken; several heads of attention are no classes, and must be averaged
        first. NaN comes last, equal values are ordered at random. None computes values of the
        given ``kind``.
    kind : {"evidence", "attention", "occlusion", "random"}, default="evidence"
        What to compute where ``values`` is None: :func:`score_instances`,
        :func:`attention_weights` (the mean over heads), :func:`instance_occlusion`, or an order
        drawn by lot, which any explanation should beat. Not with ``values``.
    signed : bool, default=None
        Needed for ``values`` of shape (n_i,) with two classes. True: a positive number speaks for
        ``classes_[1]``, a negative one for ``classes_[0]``, as evidence and occlusion do. False:
        it is importance for either class, as attention is. Not without ``values``.
    class_label : label or array-like of shape (n_bags,), default=None
        The class whose decision is followed, one for all bags or one for each. None takes the
        class that the estimator predicts for the whole bag. Not for regressors, whose prediction
        is followed.
    n_steps : int, default=20
        Number of steps from the one end to the other. A bag is decided at most ``n_steps`` + 2
        times, whatever its size, and predicted at most twice.
    response_method : {"auto", "decision_function", "predict_proba", "predict"}, default="auto"
        What counts as the decision, as in :func:`instance_occlusion`. For ``classes_[0]`` of two
        classes it is the negative, or one minus the probability.
    random_state : int, RandomState instance or None, default=None
        For the order of equal values.
    verbose : int, default=0
        1 shows a progress bar over the parts of bags.

    Returns
    -------
    curve : Bunch
        Dictionary-like, with the entries

        fractions : ndarray of shape (n_steps + 1,)
            From 0, where the most important instance is alone, to 1, the whole bag.
        decisions : ndarray of shape (n_bags, n_steps + 1)
            The decision for the class that is followed. At fraction f of a bag of n instances
            f · (n − 1) have joined the first one, rounded.
        auc : ndarray of shape (n_bags,)
            Area under the curve of each bag by the trapezoid rule, which is its mean height, in
            the unit of the decision. Higher is better.
        mean_auc : float
            Mean of ``auc`` over the bags.
        class_labels : ndarray of shape (n_bags,) or None
            The class that is followed in each bag. None for regressors.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it has no decision, or not the instance outputs of ``kind``, or ``values`` is no list.
    ValueError
        If X is one 2-D table, ``values`` does not fit the bags (the bag is named), ``signed`` is
        missing, ``class_label`` is unknown, or ``values`` and ``kind`` are both given.

    See Also
    --------
    deletion_curve : The same from the other end, lower is better.
    instance_occlusion : Removes one instance at a time.
    milkit.metrics.instance_roc_auc_score : Judges by labels of instances instead.

    Notes
    -----
    Where there are no equal values and no NaN, it is the deletion curve of the opposite
    explanation, read backwards: what was removed first there enters last here. The two still
    differ in what they ask. Insertion asks whether the first instances are *enough* for the
    decision, deletion whether they are *needed*, and an explanation may pass one and not the
    other: of two equal witnesses one is enough, and none is needed.

    See the notes of :func:`deletion_curve` on what can be compared. A bag with one instance has a
    flat curve.

    References
    ----------
    .. [1] V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized input sampling for explanation of
           black-box models", BMVC 2018, arXiv:1806.07421.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import MISVM
    >>> from milkit.inspection import insertion_curve
    >>> rng = np.random.default_rng(0)
    >>> X, y = [rng.normal(size=(8, 2)) for _ in range(40)], np.arange(40) % 2
    >>> for bag in X[1::2]:
    ...     bag[:3] += 4  # three witnesses in each positive bag
    >>> model = MISVM(kernel="linear").fit(X, y)
    >>> positive = X[1::2]
    >>> by_evidence = insertion_curve(model, positive, class_label=1)
    >>> at_random = insertion_curve(model, positive, class_label=1, kind="random", random_state=0)
    >>> by_evidence.mean_auc > at_random.mean_auc
    True
    """
    return explanation_curve(
        estimator,
        X,
        values,
        insertion=True,
        kind=kind,
        signed=signed,
        class_label=class_label,
        n_steps=n_steps,
        response_method=response_method,
        random_state=random_state,
        verbose=verbose,
    )
