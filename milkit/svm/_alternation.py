"""The outer loops of MI-SVM and mi-SVM: a quadratic programme, then new witnesses or labels."""

from dataclasses import dataclass

import numpy as np

from milkit.svm._qp import QPProblem, solve
from milkit.utils._packing import offsets_of
from milkit.utils._segments import segment_argmax

__all__ = ["BinaryBags", "BinaryModel", "bag_margin", "instance_margin"]


# Instances of each side that the beginning looks at.
_SAMPLE = 1000


class BinaryBags:
    """One binary problem: which vectors of a store belong to positive bags and which to negative.

    Parameters
    ----------
    store : RowStore or LinearStore
        Instances of all bags, and after them the mean of each positive bag if the fit begins there.
    offsets : ndarray of shape (n_bags + 1,)
        Of the bags' instances in the store.
    positive : ndarray of bool, shape (n_bags,)
    caps : ndarray of shape (n_bags,)
        C times class weight times sample weight of each bag; bags with 0 are left out.
    means : ndarray of int, shape (n_bags,), default=None
        Where the mean of each bag stands in the store; read for positive bags only.
    """

    def __init__(self, store, offsets, positive, caps, means=None):
        self.store = store
        sizes = np.diff(offsets)
        bag_of = np.repeat(np.arange(len(sizes)), sizes)
        one, other = positive & (caps > 0), ~positive & (caps > 0)
        self.p_ids, self.n_ids = np.flatnonzero(one[bag_of]), np.flatnonzero(other[bag_of])
        self.p_offsets = offsets_of(sizes[one])
        self.n_sizes = sizes[other]
        self.p_caps, self.n_caps = caps[one], caps[other]
        self.means = None if means is None else means[one]


@dataclass(frozen=True)
class BinaryModel:
    """f(x) = sum of coef times k(x, support vector), plus the intercept.

    ``objectives`` are the primal objectives of the outer steps, ``witnesses`` the position of
    each positive bag's witness inside its bag.
    """

    support_vectors: np.ndarray
    coef: np.ndarray
    intercept: float
    witnesses: np.ndarray
    objectives: list
    relative_gap: float
    converged: bool
    convex: bool


class _Run:
    """The outer steps taken so far, and the model of the last of them."""

    def __init__(self):
        self.solution, self.objectives, self.converged, self.convex = None, [], False, True
        self.inaccurate = 0

    def solve(self, problem, solver, tol):
        self.signs = problem.signs
        self.solution = solve(problem, self.solution, solver=solver, tol=tol)
        self.objectives.append(self.solution.objective)
        self.inaccurate += self.solution.status == "inaccurate"
        self.convex = self.convex and self.solution.convex

    @property
    def is_lost(self):
        """bool : Whether going on is in vain; the gap of the last programme is what is reported."""
        return self.inaccurate > 1 and self.solution.status == "inaccurate"

    def scores(self, store, ids):
        """The function without intercept at all vectors of the store."""
        support = np.flatnonzero(self.solution.x)
        self.coef, support = (self.signs * self.solution.x)[support], ids[support]
        self.support_vectors = store.vectors[support]
        return store.scores(support, self.coef)

    def model(self, witnesses):
        return BinaryModel(
            self.support_vectors,
            self.coef,
            self.solution.intercept,
            witnesses,
            self.objectives,
            self.solution.relative_gap,
            self.converged,
            self.convex,
        )


def bag_margin(bags, *, negative_slack, init, max_iter, tol, solver, rng, progress):
    """MI-SVM: each positive bag's margin is that of its witness, the instance that scores highest.

    Each step minimises the primal over the function and then over the witnesses, so it never
    rises. With ``init="mean"`` the first step stands on bag means, which are no instances, and is
    not part of that descent.

    ``init="density"`` begins at the instance of each positive bag where positive bags lie most
    densely compared with negative ones. A function fitted to the means can, where witnesses are
    rare and C is large, separate them by what the other instances happen to be, and chooses these
    as witnesses.
    """
    p_offsets, n_pos, n_neg = bags.p_offsets, len(bags.p_caps), len(bags.n_ids)
    signs = np.append(np.ones(n_pos), -np.ones(n_neg))
    if negative_slack == "bag":
        negative, n_caps = np.repeat(np.arange(len(bags.n_sizes)), bags.n_sizes), bags.n_caps
    else:
        negative, n_caps = np.arange(n_neg), np.repeat(bags.n_caps, bags.n_sizes)
    slack = np.append(np.arange(n_pos), n_pos + negative)
    caps = np.append(bags.p_caps, n_caps)

    witness, begin = None, bags.means
    if init != "mean":
        if init == "random":
            witness = p_offsets[:-1] + rng.integers(np.diff(p_offsets))
        else:
            witness = segment_argmax(_density(bags), p_offsets)
        begin = bags.p_ids[witness]
    ids = np.append(begin, bags.n_ids)
    run = _Run()
    for _ in progress(range(max_iter)):
        run.solve(QPProblem(bags.store.kernel(ids), signs, slack, caps), solver, tol)
        scores = run.scores(bags.store, ids)[bags.p_ids]
        best = segment_argmax(scores, p_offsets)
        if witness is not None:
            # Equal instances tie: staying with the witness is as good, and ends the loop.
            top = scores[best]
            best = np.where(scores[witness] >= top - 1e-9 * (1 + np.abs(top)), witness, best)
            if np.array_equal(best, witness) or run.is_lost:
                run.converged = True
                break
        witness = best
        ids = np.append(bags.p_ids[witness], bags.n_ids)
    return run.model(best - p_offsets[:-1])


def _density(bags):
    """Mean kernel with the positive bags less that with the negative ones, at all of P."""
    p_some, p_weight = _some_of_each(bags.p_offsets, bags.p_caps)
    n_some, n_weight = _some_of_each(offsets_of(bags.n_sizes), bags.n_caps)
    ids = np.append(bags.p_ids[p_some], bags.n_ids[n_some])
    return bags.store.scores_at(bags.p_ids, ids, np.append(p_weight, -n_weight))


def _some_of_each(offsets, caps):
    """Some instances of all bags, and weights that add to 1 and for each bag seen to its share."""
    rng = np.random.default_rng(0)
    bag = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((rng.random(len(bag)), bag))  # shuffled inside each bag
    rank = np.arange(len(bag)) - offsets[bag]
    # The first of each bag, then the second of each, as far as they go.
    some = order[np.lexsort((rng.random(len(bag)), rank))[:_SAMPLE]]
    seen = np.bincount(bag[some], minlength=len(offsets) - 1)
    share = caps * (seen > 0)
    return some, (share / share.sum() / np.maximum(seen, 1))[bag[some]]


def instance_margin(bags, *, max_iter, tol, solver, progress):
    """mi-SVM: each instance of a positive bag has a label to find, at least one of them +1."""
    p_offsets, n_pos, n_neg = bags.p_offsets, len(bags.p_ids), len(bags.n_ids)
    ids = np.append(bags.p_ids, bags.n_ids)
    kernel, slack = bags.store.kernel(ids), np.arange(len(ids))
    caps = np.append(
        np.repeat(bags.p_caps, np.diff(p_offsets)), np.repeat(bags.n_caps, bags.n_sizes)
    )
    labels = np.append(np.ones(n_pos), -np.ones(n_neg))

    run = _Run()
    for _ in progress(range(max_iter)):
        run.solve(QPProblem(kernel, labels, slack, caps), solver, tol)
        scores = run.scores(bags.store, ids)[bags.p_ids] + run.solution.intercept
        best = segment_argmax(scores, p_offsets)
        found = np.where(scores > 0, 1.0, -1.0)
        found[best] = 1.0
        same = found == labels[:n_pos]
        if same.all() or run.is_lost:
            run.converged = True
            break
        labels = np.append(found, labels[n_pos:])
        run.solution.x[:n_pos][~same] = 0.0  # the next start: those with another label begin at 0
    return run.model(best - p_offsets[:-1])
