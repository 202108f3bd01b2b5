"""InstanceTransformer: any scikit-learn transformer on the instances of bags."""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectFdr, SelectFpr, SelectFwe
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from milkit.base import BagMixin, BagsToBagsMixin
from milkit.utils._containers import read_only
from milkit.utils.validation import as_bag_array, check_bag_weight, validate_bags

__all__ = ["InstanceTransformer"]


# What trusts that samples are independent, so that weak labels of instances mislead it.
_REFUSED = (SelectFdr, SelectFpr, SelectFwe, TargetEncoder)


def _entrances(transformer):
    """The transformers that see the input, because their wrappers do not say what they take."""
    if isinstance(transformer, Pipeline):
        members = [step for _, step in transformer.steps if hasattr(step, "fit")][:1]
    elif isinstance(transformer, FeatureUnion):
        members = [member for _, member in transformer.transformer_list]
    elif isinstance(transformer, ColumnTransformer):
        members = [member for _, member, _ in transformer.transformers]
    else:
        return [transformer]
    members = [member for member in members if hasattr(member, "fit")]
    return [entrance for member in members for entrance in _entrances(member)]


def _inner_has(name):
    def check(self):
        return hasattr(getattr(self, "transformer_", self.transformer), name)

    return check


class InstanceTransformer(BagMixin, BagsToBagsMixin, BaseEstimator):
    """Fit a scikit-learn transformer on the instances of all bags, and apply it to them.

    ``InstanceTransformer(StandardScaler())`` in front of an estimator scales the features
    inside each training fold. Names, groups, covariates and instance data are kept.

    Parameters
    ----------
    transformer : transformer
        Any scikit-learn transformer that gives one dense row per instance, such as
        ``StandardScaler()``, ``PCA(100)`` or a pipeline of them.
    weight : {"instance", "bag"}, default="instance"
        "instance" counts every instance the same, so that large bags dominate. "bag" gives
        every bag the same weight, divided among its instances; the transformer's ``fit``
        must take ``sample_weight``, which that of a pipeline does not.
    flatten : bool, default=False
        Whether tensor instances of shape (C, H, W) are flattened to vectors first. Without
        it they are refused.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.
    n_features_in_ : int
        Number of numbers in an instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the bags have feature names that are strings.
    instance_shape_ : tuple
        Shape of one instance.
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, read as one instance per bag.

    See Also
    --------
    milkit.BagStatistics : Bags to one row each.

    Notes
    -----
    If y is given, the transformer is fitted with each instance carrying its bag's label,
    which lets ``SelectKBest`` rank features. The instances of a bag are not independent, so
    p-values are far too small: ``SelectFpr``, ``SelectFdr`` and ``SelectFwe`` are refused.
    ``TargetEncoder`` is refused as well, because its own cross-fitting would split bags.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from milkit import InstanceTransformer
    >>> X = [np.array([[0.0], [2.0]]), np.array([[4.0]])]
    >>> Xt = InstanceTransformer(StandardScaler()).fit_transform(X)
    >>> Xt
    BagArray(2 bags, 3 instances, sizes 1/1.5/2 (min/median/max), 1 feature, float64)
    >>> Xt.flat()[0].mean().round(6)
    np.float64(0.0)
    """

    _parameter_constraints: dict = {
        "transformer": [HasMethods(["fit", "transform"])],
        "weight": [StrOptions({"instance", "bag"})],
        "flatten": ["boolean"],
    }

    def __init__(self, transformer, *, weight="instance", flatten=False):
        self.transformer = transformer
        self.weight = weight
        self.flatten = flatten

    def fit(self, X, y=None, sample_weight=None):
        """Fit the transformer on the instances of all bags.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : array-like of shape (n_bags,), default=None
            Bag labels, handed to the transformer once per instance.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag, handed on if the transformer's ``fit`` takes
            ``sample_weight``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the transformer is one that the notes name as refused, or a weight is asked for
            and the transformer's ``fit`` takes none.
        """
        self._validate_params()
        if isinstance(self.transformer, _REFUSED):
            raise ValueError(
                f"{type(self.transformer).__name__} takes instances for independent samples, and "
                "those of one bag are not: its choice would look far better than it is. Use "
                "SelectKBest, or select features after BagStatistics, where a row is a bag."
            )
        bags = self._validate(X, reset=True)
        flat = read_only(bags.flat()[0])
        fit_params = {}
        if self.weight == "bag" or sample_weight is not None:
            if not has_fit_parameter(self.transformer, "sample_weight"):
                raise ValueError(
                    f"{type(self.transformer).__name__}.fit takes no sample_weight, so bags "
                    "cannot be weighted. Use weight='instance' and no sample_weight, or a "
                    "transformer that takes it."
                )
            fit_params["sample_weight"] = self._instance_weight(bags, sample_weight)
        if y is not None:
            y = np.asarray(y)
            if len(y) != len(bags):
                raise ValueError(
                    f"y has {len(y)} labels, but X has {len(bags)} bags; y must have one label per "
                    "bag, not per instance."
                )
            y = np.repeat(y, bags.sizes, axis=0)
        self.transformer_ = clone(self.transformer).fit(flat, y, **fit_params)
        return self

    def _validate(self, X, *, reset):
        # float16 and integers are left to the transformer; it converts what it must.
        bags = validate_bags(
            self,
            X,
            reset=reset,
            tensors=self.flatten,
            instance_data=True,
            ensure_all_finite="allow-nan" if get_tags(self).input_tags.allow_nan else True,
        )
        if len(bags.instance_shape) == 1:
            return bags
        return bags.with_instances(bags.instances.reshape(len(bags.instances), -1))

    def _instance_weight(self, bags, sample_weight):
        weight = check_bag_weight(sample_weight, bags)
        if self.weight == "bag":
            weight = weight / bags.sizes * (bags.n_instances / len(bags))
        return np.repeat(weight, bags.sizes)

    def transform(self, X):
        """Transform the instances of all bags.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,), or ndarray of shape (n_samples, n_features_out)
            Bags for bags; a 2-D array for what was read as 2-D.
        """
        check_is_fitted(self)
        bags = self._validate(X, reset=False)
        flat = self.transformer_.transform(read_only(bags.flat()[0]))
        if hasattr(flat, "tocsr"):
            raise TypeError(
                f"{type(self.transformer_).__name__} gave a sparse matrix; bags are dense. Ask it "
                "for dense output, for example with sparse_output=False."
            )
        return self._like_input(X, bags.with_instances(flat, feature_names=self._names_out(bags)))

    def _names_out(self, bags):
        if bags.feature_names is None:
            return None
        try:
            return self.get_feature_names_out()
        except AttributeError:  # a pipeline finds out only now that a step knows no names
            return None

    @available_if(_inner_has("inverse_transform"))
    def inverse_transform(self, X):
        """Undo the transformation, if the transformer can.

        Parameters
        ----------
        X : container of n_bags bags
            Transformed bags.

        Returns
        -------
        Xt : BagArray of shape (n_bags,), or ndarray of shape (n_samples, n_features_in_)
        """
        check_is_fitted(self)
        bags = as_bag_array(X)
        flat = self.transformer_.inverse_transform(read_only(bags.flat()[0]))
        names = getattr(self, "feature_names_in_", None)
        if len(self.instance_shape_) > 1:
            flat = np.reshape(flat, (len(flat), *self.instance_shape_))
        return self._like_input(X, bags.with_instances(flat, feature_names=names))

    @available_if(_inner_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Names of the output features, as the transformer gives them.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features_in_,), default=None
            Names of the input features; None takes those seen in ``fit``.

        Returns
        -------
        names : ndarray of str objects, shape (n_features_out,)
        """
        check_is_fitted(self)
        if input_features is None:
            input_features = getattr(self, "feature_names_in_", None)
        if input_features is None:
            input_features = [f"x{j}" for j in range(self.n_features_in_)]
        return self.transformer_.get_feature_names_out(input_features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.transformer)
        entrances = [get_tags(step).input_tags for step in _entrances(self.transformer)]
        tags.input_tags.allow_nan = all(entrance.allow_nan for entrance in entrances)
        tags.input_tags.positive_only = any(entrance.positive_only for entrance in entrances)
        tags.target_tags.required = inner.target_tags.required
        tags.transformer_tags.preserves_dtype = list(inner.transformer_tags.preserves_dtype)
        tags.non_deterministic = inner.non_deterministic
        return tags
