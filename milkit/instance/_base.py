"""What a classifier of instances says of bags."""

from abc import ABCMeta
from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagClassifierMixin, BagMixin, split_by_bag
from milkit.instance._instance_fit import (
    instance_evidence,
    instance_outputs,
    instance_probabilities,
    instance_votes,
)
from milkit.instance._votes import VOTES, bag_log_odds
from milkit.utils._containers import read_only
from milkit.utils._segments import segment_sum
from milkit.utils.validation import resolve_groups, validate_bags


class BaseInstanceClassifier(
    BagClassifierMixin, BagMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Predict bags by a vote of their instances; subclasses fit ``estimator_`` on instances."""

    # Groups travel to inner splits under metadata routing.
    __metadata_request__fit = {"groups": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "voting": [StrOptions({*VOTES, "noisy_or"})],
        "threshold": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0.0, 1.0, closed="neither"),
        ],
        "random_state": ["random_state"],
    }

    def _classifier(self):
        """The classifier of instances as the user gave it, or the default."""
        if self.estimator is None:
            return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        return self.estimator

    def _validated(self, X, y="no_validation", *, reset):
        allow_nan = get_tags(self).input_tags.allow_nan
        return validate_bags(
            self,
            X,
            y,
            reset=reset,
            tensors=True,
            instance_data=False,
            ensure_all_finite="allow-nan" if allow_nan else True,
        )

    def _instance_groups(self, X, bags, groups):
        """The group of each instance; without groups each bag is one."""
        groups = resolve_groups(X, groups)
        return np.repeat(np.arange(len(bags)) if groups is None else groups, bags.sizes)

    def _check_votes(self, classifier):
        if not is_classifier(classifier):
            raise TypeError(f"estimator must be a classifier. Got {type(classifier).__name__}.")
        needs = self.voting in ("mean", "max", "noisy_or", "threshold")
        if needs and not hasattr(classifier, "predict_proba"):
            raise ValueError(
                f"voting={self.voting!r} needs probabilities, and {type(classifier).__name__} has "
                "no predict_proba. Use voting='majority', or put CalibratedClassifierCV around it."
            )

    def _read(self, X):
        check_is_fitted(self)
        bags = self._validated(X, reset=False)
        flat, offsets = bags.flat()
        return bags, read_only(flat), offsets

    def _log_odds(self, X):
        """Of each bag, shape (n_bags,) for two classes, else (n_bags, n_classes)."""
        _, flat, offsets = self._read(X)
        if self.voting == "majority":
            p = instance_votes(self.estimator_, flat)
        else:
            p = instance_probabilities(self.estimator_, flat)
        p = p[:, 1:] if len(self.classes_) == 2 else p
        odds = bag_log_odds(p, offsets, self.voting, self.threshold)
        return odds[:, 0] if len(self.classes_) == 2 else odds

    def decision_function(self, X):
        """Log-odds of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        scores : ndarray of shape (n_bags,) or (n_bags, n_classes)
            For two classes the log-odds of ``classes_[1]``, else of each class against the rest.
            A probability of 0 or 1 counts as a little more or less, so that they are finite.
        """
        return self._log_odds(X)

    def predict_proba(self, X):
        """Probability of each class, as the vote puts those of the instances together.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        probability : ndarray of shape (n_bags, n_classes)
            With more than two classes each is voted on against the rest, and the results are
            divided by their sum.
        """
        share = expit(self._log_odds(X))
        if share.ndim == 1:
            return np.column_stack([1 - share, share])
        return share / share.sum(axis=1, keepdims=True)

    def predict(self, X):
        """Label of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        y : ndarray of shape (n_bags,)
            Of equal votes the first class in ``classes_``.
        """
        return self._decode_scores(self._log_odds(X))

    def score_instances(self, X):
        """Evidence of each instance: what the classifier of instances says of it.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        evidence : list of ndarray, each of shape (n_i,) or (n_i, n_classes)
            Its probability (for two classes that of ``classes_[1]``); without ``predict_proba``
            the decision value, and without that either 1 for the predicted class. Comparable
            across bags.
        """
        bags, flat, _ = self._read(X)
        return split_by_bag(instance_evidence(self.estimator_, flat), bags)

    def predict_instances(self, X):
        """Label of each instance.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        labels : list of ndarray, each of shape (n_i,)
        """
        bags, flat, _ = self._read(X)
        predicted = instance_outputs(self.estimator_, "predict", flat)
        return split_by_bag(self.classes_[predicted.astype(np.intp)], bags)

    def transform(self, X):
        """How many instances of each bag are predicted to be of each class.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : ndarray of shape (n_bags, 2 * n_classes)
            Counts for each class, then rates: the counts divided by the size of the bag. Those of
            the bags that ``fit`` saw are too sure to train a second classifier on:
            :class:`milkit.ClinicalFusion` counts out of fold.
        """
        bags, flat, offsets = self._read(X)
        counts = segment_sum(instance_votes(self.estimator_, flat), offsets)
        return np.hstack([counts, counts / bags.sizes[:, None]])

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features_in_,), default=None
            Not used; the columns do not depend on the features.

        Returns
        -------
        names : ndarray of str objects, shape (2 * n_classes,)
            ``count_<label>``, then ``rate_<label>``.
        """
        check_is_fitted(self)
        labels = self.classes_.tolist()
        return np.array(
            [f"{what}_{label}" for what in ("count", "rate") for label in labels], object
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._classifier())
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.positive_only = inner.input_tags.positive_only
        tags.non_deterministic = inner.non_deterministic
        return tags
