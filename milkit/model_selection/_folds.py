"""Folds from a number or a splitter, checked to keep groups whole."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv

from milkit.model_selection._groups import encode_groups, refuse_leak


def whole_group_folds(cv, X, y, groups, seed):
    """Split bags so that no group is on both sides.

    Parameters
    ----------
    cv : int, cross-validator, iterable of splits or None
        A number (None is 5) gives stratified, shuffled folds that keep groups whole.
    X : container of n_bags bags
    y : ndarray of shape (n_bags,)
    groups : ndarray of shape (n_bags,) or None
        None counts every bag as a group.
    seed : int
        For the shuffle.

    Returns
    -------
    codes : ndarray of int, shape (n_bags,)
        Number of the group of each bag.
    folds : list of (ndarray, ndarray)
        Training and test bags.
    """
    codes, names = (np.arange(len(y)),) * 2 if groups is None else encode_groups(groups)
    if cv is None or isinstance(cv, Integral):
        n_splits = 5 if cv is None else cv
        if len(names) < n_splits:
            what = "bags" if groups is None else "groups"
            raise ValueError(
                f"cv={n_splits} folds were asked for, and there are {len(names)} {what}. Use "
                f"cv={len(names)} or less, down to 2."
            )
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        cv = kind(n_splits, shuffle=True, random_state=seed)
    cv = check_cv(cv)
    with warnings.catch_warnings():  # whether groups are divided is checked below
        warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
        splits = cv.split(X, y, groups)
        folds = [(np.asarray(train), np.asarray(test)) for train, test in splits]
    for train, test in folds:
        refuse_leak(train, test, codes, names, cv)
    return codes, folds
