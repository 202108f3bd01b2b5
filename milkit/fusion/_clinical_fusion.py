"""ClinicalFusion: bag scores and clinical columns in one second-level classifier."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import TransformerMixin, is_classifier
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from milkit import inspection
from milkit.bags import BagArray
from milkit.base import BagClassifierMixin, BagMixin
from milkit.exceptions import GroupLeakageError
from milkit.fusion._bag_features import BAG_FEATURES, BagFeatures, chosen
from milkit.fusion._covariates import CovariateEncoder
from milkit.model_selection._folds import whole_group_folds
from milkit.utils._containers import is_frame
from milkit.utils._inner_fit import fit_inside, split_by_group
from milkit.utils._random import seeded_clone, seeds_from
from milkit.utils.validation import check_bag_weight, resolve_groups, validate_bags

__all__ = ["ClinicalFusion"]


_WITHOUT_WEIGHTS = "Use an estimator that takes it, or no sample_weight."


def _fit_member(estimator, X, y, weight, train, test, kinds):
    """A fitted clone, its features for the training bags' scale, and those of the test bags."""
    own = X[train].with_columns()  # gathered once, for the fit and for the scale
    weight = None if weight is None else weight[train]
    fit_inside(estimator, own, y[train], weight=weight, instead=_WITHOUT_WEIGHTS)
    features = BagFeatures(estimator, own, chosen(estimator, own, kinds))
    return features, features(X[test]) if len(test) else None


def _reasons_for_lack(estimator, X):
    """Of the outputs for instances those that an estimator does not give, and why not."""
    reasons = {}
    for method in ("score_instances", "predict_instances", "attention_weights"):
        try:
            getattr(inspection, method)(estimator, X)
        except TypeError as error:
            reasons[method] = str(error)
    return reasons


def _first_level_has(method):
    def check(self):
        check_is_fitted(self, "final_estimator_")
        if len(self.estimators_) != 1:
            raise AttributeError(
                f"{method} is that of the one estimator of the first level, and here there are "
                f"{len(self.estimators_)}. Ask one of several with "
                f"milkit.inspection.{method}(fusion.estimators_[k], X)."
            )
        if method in self._lacks:
            raise AttributeError(self._lacks[method])
        return True

    return check


def _final_has(name):
    def check(self):
        if hasattr(self, "final_estimator_"):
            return hasattr(self.final_estimator_, name)
        if self.final_estimator is None:
            return name == "predict_proba"
        return hasattr(self.final_estimator, name)

    return check


class ClinicalFusion(BagClassifierMixin, BagMixin, TransformerMixin, _BaseComposition):
    """Classify bags by what estimators say of them and by their clinical covariates.

    The first level is one or several estimators on bags. What they say of each training bag is
    computed out of fold, by models that saw neither the bag nor another one of its group [2]_. The
    second level is a classifier of rows, each with these columns and the covariates of the bag.

    Parameters
    ----------
    estimator : classifier of bags, or list of (str, classifier)
        Estimators of milkit, alone or as the last step of a pipeline. An empty list leaves the
        covariates alone.
    final_estimator : classifier, default=None
        Any scikit-learn classifier; it gets the numbers of the classes, as in
        ``StackingClassifier``. None is ``xgboost.XGBClassifier`` with 100 trees and a learning
        rate of 0.1, in which both classes weigh the same [1]_. Splits inside it keep groups whole
        where its ``cv`` is None, a number or a splitter that takes groups.
    covariates : list of str, default=None
        Which covariates to use; estimators of the first level that look at covariates see no
        others. None is all that are attached to a BagArray; of a DataFrame only those that are
        named are used. An empty list is none.
    group : str, default=None
        The column that holds the groups where X is a DataFrame with a column of arrays. Where it
        is named, bags without groups are refused.
    bag_features : "auto" or list of str, default="auto"
        What is asked of the estimators: "probability", "decision" (standardised for each model),
        "rate" and "count" of the instances that are predicted to be of a class, "quantiles" (the
        median, the upper tenth and the largest) of the instances' evidence, standardised for each
        model, and "spread" (the deviation of the probability over the members of an ensemble).
        "auto" takes what the estimator gives, of the first two the probability. Embeddings are
        not offered: those of different folds have different coordinates.
    cv : int or cross-validator, default=5
        Folds of the first level. With a number they are stratified, shuffled and keep groups
        whole.
    passthrough : bool, default=True
        Whether the covariates go to the second level; without them it gets what the estimators
        say, and nothing else.
    n_jobs : int, default=None
        Number of models that are fitted at the same time.
    random_state : int, RandomState instance or None, default=None
        For the folds, and estimators whose own ``random_state`` is None.
    verbose : int, default=0
        1 shows a progress bar over the models of the first level.

    Attributes
    ----------
    estimators_ : list of classifiers
        The first level, fitted on all bags.
    final_estimator_ : classifier
        The second level.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    bag_features_ : list of tuple of str
        What each estimator is asked for.
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
    milkit.model_selection.fusion_ablation : What the bags add to the covariates, and vice versa.
    sklearn.ensemble.StackingClassifier : The same without covariates and groups.

    Notes
    -----
    A score of a bag from a model that was fitted on it is too sure, and a second level that is
    trained on such scores trusts them too much: it does worse than the covariates alone. So
    :meth:`fit_transform` gives the out-of-fold table, and differs from ``fit(X, y).transform(X)``.

    What a fitted fusion needs of a bag lies inside X. Covariates are found by name, in any order.

    References
    ----------
    .. [1] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, section 5.1.
    .. [2] D. H. Wolpert, "Stacked generalization", Neural Networks 5, 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray, ClinicalFusion, InstanceVotingClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> bags = [rng.normal(0.5 * label, size=(8, 3)) for label in y]
    >>> X = BagArray.from_list(bags, covariates={"age": 60 + 9 * y + rng.normal(0, 9, 40)})
    >>> model = ClinicalFusion(InstanceVotingClassifier(), bag_features=["rate"], random_state=0)
    >>> model.fit(X, y).get_feature_names_out()
    array(['bags__rate_1', 'age'], dtype=object)
    >>> model.predict_proba(X).shape
    (40, 2)
    """

    # Groups travel to the folds under metadata routing.
    __metadata_request__fit = {"groups": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), list],
        "final_estimator": [HasMethods(["fit", "predict"]), None],
        "covariates": ["array-like", None],
        "group": [str, None],
        "bag_features": [StrOptions({"auto"}), "array-like"],
        "cv": ["cv_object"],
        "passthrough": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator,
        final_estimator=None,
        *,
        covariates=None,
        group=None,
        bag_features="auto",
        cv=5,
        passthrough=True,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.final_estimator = final_estimator
        self.covariates = covariates
        self.group = group
        self.bag_features = bag_features
        self.cv = cv
        self.passthrough = passthrough
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def get_params(self, deep=True):
        """Parameters, and with ``deep`` those of the estimators, also of a list of them.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        params : dict
        """
        if isinstance(self.estimator, list):
            return self._get_params("estimator", deep=deep)
        return super().get_params(deep=deep)

    def set_params(self, **params):
        """Set parameters, of a list of estimators as ``<name>__<parameter>``.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        if isinstance(self.estimator, list):
            return self._set_params("estimator", **params)
        return super().set_params(**params)

    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit both levels.

        Parameters
        ----------
        X : container of n_bags bags
            A BagArray with covariates, or a DataFrame of which ``covariates`` names columns.
        y : array-like of shape (n_bags,)
            Labels of the bags.
        sample_weight : array-like of shape (n_bags,), default=None
            Weight of each bag, in both levels.
        groups : array-like of shape (n_bags,), default=None
            What the folds must not divide, such as patients; None takes those of ``X``.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If bags, labels, covariates or folds are not usable.
        TypeError
            If an estimator gives neither probabilities nor decisions.

        Warns
        -----
        UserWarning
            If there are no covariates, or one is constant.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def fit_transform(self, X, y, sample_weight=None, groups=None):
        """Fit both levels, and give the table that the second was fitted on.

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
        Xt : ndarray of shape (n_bags, n_columns)
            Out of fold, where :meth:`transform` asks the models that saw all training bags.

        Raises
        ------
        ValueError, TypeError
            See :meth:`fit`.
        """
        return self._fit(X, y, sample_weight, groups)

    def _fit(self, X, y, sample_weight, groups):
        self._validate_params()
        for name in ("final_estimator_", "estimators_"):  # a fit that fails leaves no mixture
            vars(self).pop(name, None)
        if self.final_estimator is not None and not is_classifier(self.final_estimator):
            raise TypeError(f"final_estimator must be a classifier. Got {self.final_estimator!r}.")
        members = self._members()
        kinds = self._kinds()
        bags, y = self._validated(X, y, reset=True)
        encoded = self._encode_labels(y)
        groups = resolve_groups(bags, groups)
        if self.group is not None and groups is None:
            raise GroupLeakageError(
                f"group={self.group!r} names a column of a DataFrame, and what came here has no "
                "groups: folds could divide a patient. Pass the DataFrame itself (a step in front "
                "hands on the bags alone), X.with_columns(groups=...) or groups= in fit."
            )
        if groups is not None and bags.groups is None:
            bags = bags.with_columns(groups=groups)  # for splits inside the estimators
        weight = None if sample_weight is None else check_bag_weight(sample_weight, bags)
        fold_seed, final_seed, *seeds = seeds_from(self.random_state, 2 + len(members)).tolist()
        counted = np.ones(len(bags), dtype=bool) if weight is None else weight > 0
        folds = self._folds(bags, encoded, groups, fold_seed, counted) if members else []
        self._covariates = self._encoder(bags)
        columns = self._first_level(members, kinds, bags, y, weight, folds, seeds)
        self._lacks = _reasons_for_lack(self.estimators_[0], bags[:1]) if members else {}
        table = self._table(columns, bags)
        self._refuse_names_twice()
        final = self._final(encoded, weight, final_seed)
        params = {} if groups is None else split_by_group(final, encoded, np.asarray(groups))
        fit_inside(final, table, encoded, weight=weight, instead=_WITHOUT_WEIGHTS, **params)
        self.final_estimator_ = final
        return table

    def _refuse_names_twice(self):
        names, counts = np.unique(self._names_out(), return_counts=True)
        if np.any(counts > 1):
            raise ValueError(
                f"The columns {names[counts > 1].tolist()} would have the same name. Rename a "
                "covariate."
            )

    def _members(self):
        pairs = self.estimator if isinstance(self.estimator, list) else [("bags", self.estimator)]
        if any(
            not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str))
            for pair in pairs
        ):
            raise ValueError(
                "estimator must be a classifier of bags or a list of (name, classifier). Got "
                f"{self.estimator!r}."
            )
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"The names of the estimators must differ. Got {names}.")
        for name, member in pairs:
            if not (hasattr(member, "predict_proba") or hasattr(member, "decision_function")):
                raise TypeError(
                    f"Estimator {name!r} ({type(member).__name__}) has neither predict_proba nor "
                    "decision_function. Fusion takes what a classifier says of a bag; embeddings "
                    "are not taken, because those of different folds have different coordinates."
                )
        return pairs

    def _kinds(self):
        if isinstance(self.bag_features, str):
            return "auto"
        kinds = list(self.bag_features)
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"bag_features names a kind twice: {kinds}.")
        unknown = [kind for kind in kinds if kind not in BAG_FEATURES]
        if unknown or not kinds:
            hint = " Embeddings are refused: each fold has its own coordinates." * bool(unknown)
            raise ValueError(
                f"bag_features must be 'auto' or a list of some of {list(BAG_FEATURES)}. Got "
                f"{kinds}.{hint}"
            )
        return kinds

    def _validated(self, X, y="no_validation", *, reset):
        named = list(self.covariates) if self.covariates is not None else None
        if is_frame(X):
            # Only fit needs groups, but where they are they must not become a feature.
            group = self.group if reset or self.group in X.columns else None
            kwargs = {"group": group, "covariates": named}
        elif named and not isinstance(X, BagArray):
            raise ValueError(
                f"covariates={named} are named, but X is a {type(X).__name__} without columns. "
                "Pass a BagArray with covariates, or a DataFrame."
            )
        else:
            kwargs = {}
        checked = validate_bags(self, X, y, reset=reset, tensors=True, **kwargs)
        bags = checked[0] if isinstance(checked, tuple) else checked
        if named is not None and bags.covariates is not None:
            table = bags.covariates
            bags = bags.with_columns(covariates=table[[n for n in table if n in named]])
        return (bags, checked[1]) if isinstance(checked, tuple) else bags

    def _encoder(self, bags):
        """Fitted on the covariates that are used, or None."""
        table = bags.covariates
        if self.covariates is not None:
            named = list(self.covariates)
            if len(set(named)) < len(named):
                raise ValueError(f"covariates names a column twice: {named}.")
            absent = [n for n in named if table is None or n not in table.columns]
            if absent:
                raise ValueError(
                    f"covariates names {absent}, which X does not have. It has "
                    f"{[] if table is None else list(table.columns)}. Attach them to a BagArray, "
                    "X.with_columns(covariates=table); of a DataFrame a step in front of this one "
                    "gives only the bags."
                )
            table = table[named] if named else None
        elif table is None and self.passthrough:
            warnings.warn(
                "X has no covariates, so that only the bags decide. Attach a table with one row "
                "for each bag, X.with_columns(covariates=table); name columns of a DataFrame with "
                "covariates=[...]; or say covariates=[].",
                UserWarning,
                stacklevel=4,  # the line that called fit
            )
        if table is None or not self.passthrough:
            if self.estimator == []:
                raise ValueError(
                    "There are neither estimators nor covariates for the second level. Name an "
                    "estimator, or attach covariates."
                )
            return None
        return CovariateEncoder().fit(table)

    def _folds(self, bags, encoded, groups, seed, counted):
        _, folds = whole_group_folds(self.cv, bags, encoded, groups, seed)
        tested = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(bags))
        if np.any(tested != 1):
            raise ValueError(
                f"cv must test each bag once; bag {int(np.argmax(tested != 1))} is tested "
                f"{tested[tested != 1][0]} times. Use K folds, not shuffled splits or repetitions."
            )
        for train, _ in folds:
            absent = np.setdiff1d(encoded, encoded[train][counted[train]])
            if len(absent):
                raise ValueError(
                    f"Without one fold there is no bag of class {self.classes_[absent].tolist()} "
                    "with a weight above 0: it needs bags of at least two groups, in different "
                    "folds."
                )
        return [fold for fold in folds if len(fold[1])]

    def _first_level(self, members, kinds, bags, y, weight, folds, seeds):
        """Fit the estimators on all bags, and give their out-of-fold columns."""
        everything = np.arange(len(bags)), np.arange(0)
        tasks = [
            delayed(_fit_member)(seeded_clone(member, seed), bags, y, weight, *fold, kinds)
            for (_, member), seed in zip(members, seeds, strict=True)
            for fold in [everything, *folds]
        ]
        results = Parallel(self.n_jobs, return_as="generator")(tasks)
        if self.verbose:
            from tqdm import tqdm

            results = tqdm(results, type(self).__name__ + ", models", len(tasks), leave=False)
        results = iter(list(results))
        self._features, columns = [], []
        for _ in members:
            features, _ = next(results)
            own = np.empty((len(bags), len(features.names())))
            for _, test in folds:
                of_fold, own_of_fold = next(results)
                if of_fold.kinds != features.kinds:
                    raise ValueError(
                        f"Of {type(features.estimator).__name__} the model of one fold gives "
                        f"{list(of_fold.kinds)}, and that of all bags {list(features.kinds)}. Name "
                        "what all give, such as bag_features=['probability']."
                    )
                own[test] = own_of_fold
            self._features.append(features)
            columns.append(own)
        self.estimators_ = [features.estimator for features in self._features]
        self.bag_features_ = [features.kinds for features in self._features]
        self._names = [name for name, _ in members]
        return columns

    def _table(self, columns, bags):
        """The rows of the second level, from the columns of each estimator."""
        if self._covariates is not None:
            columns = [*columns, self._covariates.transform(bags.covariates)]
        return np.hstack(columns)

    def _final(self, encoded, weight, seed):
        if self.final_estimator is not None:
            return seeded_clone(self.final_estimator, seed)
        from xgboost import XGBClassifier

        final = XGBClassifier(n_estimators=100, learning_rate=0.1, random_state=seed, n_jobs=1)
        if len(self.classes_) == 2:
            counts = np.bincount(encoded, weights=weight)
            final.set_params(scale_pos_weight=counts[0] / counts[1])
        return final

    def _rows(self, X):
        check_is_fitted(self, "final_estimator_")
        bags = self._validated(X, reset=False)
        return self._table([features(bags) for features in self._features], bags)

    def transform(self, X):
        """The table of the second level.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : ndarray of shape (n_bags, n_columns)
            What the estimators that were fitted on all training bags say, then the covariates:
            numbers with their missing values, and one column for each category. On training bags
            use :meth:`fit_transform`, which is out of fold.
        """
        return self._rows(X)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features_in_,), default=None
            Not used.

        Returns
        -------
        names : ndarray of str objects, shape (n_columns,)
            ``<estimator>__<feature>_<label>``, then the covariates.
        """
        check_is_fitted(self, "final_estimator_")
        return self._names_out()

    def _names_out(self):
        names = [
            f"{name}__{column}"
            for name, features in zip(self._names, self._features, strict=True)
            for column in features.names()
        ]
        clinical = [] if self._covariates is None else self._covariates.names()
        return np.array([*names, *map(str, clinical)], dtype=object)

    def predict(self, X):
        """Label of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        y : ndarray of shape (n_bags,)
        """
        rows = self._rows(X)
        return self.classes_[np.asarray(self.final_estimator_.predict(rows), dtype=np.intp)]

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        probability : ndarray of shape (n_bags, n_classes)
        """
        rows = self._rows(X)
        return np.asarray(self.final_estimator_.predict_proba(rows), dtype=np.float64)

    @available_if(_final_has("decision_function"))
    def decision_function(self, X):
        """Decision value of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        scores : ndarray of shape (n_bags,) or (n_bags, n_classes)
        """
        rows = self._rows(X)
        return self.final_estimator_.decision_function(rows)

    @available_if(_first_level_has("score_instances"))
    def score_instances(self, X):
        """Evidence of each instance, as the first level sees it.

        It is that of the one estimator of the first level, as fitted on all training bags, and
        not of the final decision, which also knows the covariates.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
            See :func:`milkit.inspection.score_instances`.
        """
        return self._of_instances("score_instances", X)

    @available_if(_first_level_has("predict_instances"))
    def predict_instances(self, X):
        """Label of each instance, as the first level sees it.

        See :meth:`score_instances`: the final decision also knows the covariates.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        labels : list of ndarray, each of shape (n_i,)
            See :func:`milkit.inspection.predict_instances`.
        """
        return self._of_instances("predict_instances", X)

    @available_if(_first_level_has("attention_weights"))
    def attention_weights(self, X):
        """Attention weight of each instance, in the first level.

        See :meth:`score_instances`: the final decision also knows the covariates.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        weights : list of ndarray, each of shape (n_i,) or (n_i, n_heads)
            See :func:`milkit.inspection.attention_weights`.
        """
        return self._of_instances("attention_weights", X)

    def _of_instances(self, method, X):
        bags = self._validated(X, reset=False)
        return getattr(inspection, method)(self.estimators_[0], bags)

    @property
    def feature_importances_(self):
        """ndarray of shape (n_columns,) : Importance of each column to the second level."""
        check_is_fitted(self, "final_estimator_")
        return self.final_estimator_.feature_importances_
