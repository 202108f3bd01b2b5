"""instance_occlusion: what the decision loses without an instance."""

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_params

from milkit.base import split_by_bag
from milkit.inspection._decisions import RESPONSES, Decisions
from milkit.utils._columns import flat_instance_column

__all__ = ["instance_occlusion"]


@validate_params(
    {
        "response_method": [StrOptions(set(RESPONSES))],
        "instances": ["array-like", None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=False,
)
def instance_occlusion(estimator, X, *, response_method="auto", instances=None, verbose=0):
    """Change of the decision when an instance leaves its bag.

    For instance k of a bag it is decision(bag) − decision(bag without k): positive where the
    instance speaks for the class, negative where it speaks against it. It asks for nothing but
    decisions, so that it explains any estimator, and shows what the model does and not what it is
    said to do. [1]_ calls it "one removed".

    Parameters
    ----------
    estimator : fitted estimator
        A classifier with ``decision_function`` or ``predict_proba``, a regressor, or an outlier
        detector with ``decision_function``. It may be any nesting of pipelines, searches, filters
        and wrappers, ClinicalFusion, or an estimator of scikit-learn behind bag statistics.
    X : container of n_bags bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes. Names, groups,
        covariates, instance data and the other columns of a DataFrame stay with a bag when an
        instance leaves it.
    response_method : {"auto", "decision_function", "predict_proba", "predict"}, default="auto"
        What counts as the decision. "auto" takes ``decision_function``, then ``predict_proba``,
        for regressors ``predict``. Probabilities near 0 and 1 hardly move.
    instances : list of array of bool, each of shape (n_i,), or one of shape (n_instances,), \
            default=None
        The instances to leave out, one at a time; the others get NaN. None takes all.
    verbose : int, default=0
        1 shows a progress bar over the instances.

    Returns
    -------
    occlusion : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
        Aligned with X, in the unit of the decision. One number for two classes (for
        ``classes_[1]``) and for regressors, else one column for each class. NaN for the only
        instance of a bag, because there is no bag without it.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it has no decision, or not the one that is asked for.
    ValueError
        If X is one 2-D table, or ``instances`` does not fit the bags; the bag is named.

    See Also
    --------
    score_instances : The model's own evidence, for much less work.
    deletion_curve : Does an explanation name the instances that the decision rests on?

    Notes
    -----
    A bag of n instances is decided n more times on n − 1 instances: time grows with the sum of the
    squared sizes. Memory does not, because bags are made and decided in batches. For bags of
    thousands name the instances of interest, such as the hundred with the strongest evidence.

    The numbers need not add up to anything. Of two instances with the same message neither is
    missed, and a bag that rests on many equal ones shows next to nothing for each. Where the
    decision is the mean of an evidence s, it is (s_k − mean s) / (n − 1); where it is a maximum,
    it is zero for all but the largest.

    References
    ----------
    .. [1] J. Early, C. Evers and S. Ramchurn, "Model agnostic interpretability for multiple
           instance learning", ICLR 2022, arXiv:2201.11701.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import MISVM
    >>> from milkit.inspection import instance_occlusion
    >>> X = [np.array([[0.0], [4.0]]), np.array([[0.0], [1.0]])] * 2
    >>> model = MISVM(kernel="linear").fit(X, [1, 0, 1, 0])
    >>> occlusion = instance_occlusion(model, X)
    >>> bool(occlusion[0][0] == 0 < occlusion[0][1])  # the largest decides, and it alone
    True
    """
    decisions = Decisions(estimator, X, response_method, "instance_occlusion")
    bags = decisions.bags
    sizes = bags.sizes
    asked = _asked(instances, bags)
    bag = np.repeat(np.arange(len(bags)), sizes)
    left_out = np.flatnonzero(asked & (sizes[bag] > 1))
    rows = bag[left_out]
    whole = decisions.whole
    without = decisions.of_parts(
        rows,
        lambda part, instance: instance != left_out[part],
        verbose,
        "instance_occlusion, instances",
    )
    values = np.full((bags.n_instances, *whole.shape[1:]), np.nan)
    if len(rows):
        values[left_out] = whole[rows] - without
    return split_by_bag(values, bags)


def _asked(instances, bags):
    """Which instances are to be left out, shape (n_instances,)."""
    if instances is None:
        return np.ones(bags.n_instances, dtype=bool)
    if isinstance(instances, np.ndarray) and instances.dtype == object and instances.ndim == 1:
        instances = list(instances)
    mask = flat_instance_column("instances", instances, bags.sizes, bags.names)
    if mask.dtype != bool or mask.shape != (bags.n_instances,):
        raise ValueError(
            "instances must say True or False of each instance: a list with one boolean array for "
            f"each of the {len(bags)} bags, or one array of shape ({bags.n_instances},). Got "
            f"dtype {mask.dtype} and shape {mask.shape} instead."
        )
    return mask
