"""MI-SVM and mi-SVM written plainly on cvxopt, to measure milkit's against.

As somebody would write them from the paper (Andrews, Tsochantaridis, Hofmann 2002): kernel
matrices by scikit-learn, the dual quadratic programme with a dense P and a sparse G, new
witnesses or labels until nothing changes. No class weights, one positive class.
"""

from dataclasses import dataclass

import numpy as np
from cvxopt import matrix, solvers, spmatrix
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel


@dataclass
class Fit:
    """The final primal objective, the number of outer steps and what a prediction needs."""

    objective: float
    n_iter: int
    vectors: np.ndarray
    coef: np.ndarray
    intercept: float


def make_kernel(name, instances):
    if name == "linear":
        return linear_kernel
    gamma = 1.0 / (instances.shape[1] * instances.var())  # SVC's "scale"
    return lambda A, B: rbf_kernel(A, B, gamma=gamma)


def solve_dual(K, signs, slack, C, tol):
    """Multipliers a of the dual; the vectors with the same ``slack`` share the cap C.

    minimise 1/2 a'Pa - 1'a  subject to  signs'a = 0,  a >= 0,  sum of a over each slack <= C
    """
    n, n_slacks = len(signs), slack.max() + 1
    G = spmatrix(
        [-1.0] * n + [1.0] * n,
        list(range(n)) + (n + slack).tolist(),
        2 * list(range(n)),
        (n + n_slacks, n),
    )
    result = solvers.qp(
        matrix(np.outer(signs, signs) * K),
        matrix(-1.0, (n, 1)),
        G,
        matrix(np.append(np.zeros(n), np.full(n_slacks, float(C)))),
        matrix(signs[None, :]),
        matrix(0.0),
        options={"show_progress": False, "reltol": tol, "abstol": 1e-12, "feastol": 1e-7},
    )
    if result["status"] != "optimal":
        raise RuntimeError(f"cvxopt ended with status {result['status']!r}.")
    return np.array(result["x"]).ravel()


def intercept_and_objective(K, signs, slack, C, a):
    """Mean over the free support vectors, and the primal objective that goes with it."""
    scores = K @ (signs * a)
    used = np.bincount(slack, weights=a)[slack]
    free = (a > 1e-3 * C) & (used < (1 - 1e-3) * C)
    if not free.any():
        free = a > 1e-3 * C
    intercept = np.mean(signs[free] - scores[free])
    slacks = np.zeros(slack.max() + 1)
    np.maximum.at(slacks, slack, 1.0 - signs * (scores + intercept))
    return intercept, 0.5 * (signs * a) @ scores + C * slacks.sum()


def fit_bag_margin(bags, y, *, C=1.0, kernel="rbf", tol=1e-4, max_iter=50):
    """MI-SVM: a positive bag's margin is its witness's, a negative bag has one slack for all."""
    kernel = make_kernel(kernel, np.vstack(bags))
    positive = [bag for bag, label in zip(bags, y, strict=True) if label == 1]
    negative = [bag for bag, label in zip(bags, y, strict=True) if label == 0]
    P, N = np.vstack(positive), np.vstack(negative)
    ends = np.cumsum([len(bag) for bag in positive])
    signs = np.append(np.ones(len(positive)), -np.ones(len(N)))
    bag_of = np.repeat(np.arange(len(negative)), [len(bag) for bag in negative])
    slack = np.append(np.arange(len(positive)), len(positive) + bag_of)

    witnesses = None
    W = np.array([bag.mean(axis=0) for bag in positive])
    n_iter = 0
    for _ in range(max_iter):
        n_iter += 1
        vectors = np.vstack([W, N])
        K = kernel(vectors, vectors)
        a = solve_dual(K, signs, slack, C, tol)
        scores = kernel(P, vectors) @ (signs * a)
        found = [int(np.argmax(of_bag)) for of_bag in np.split(scores, ends[:-1])]
        if found == witnesses:
            break
        witnesses = found
        W = np.array([bag[i] for bag, i in zip(positive, witnesses, strict=True)])
    intercept, objective = intercept_and_objective(K, signs, slack, C, a)
    return Fit(objective, n_iter, vectors, signs * a, intercept)


def fit_instance_margin(bags, y, *, C=1.0, kernel="rbf", tol=1e-4, max_iter=50):
    """mi-SVM: the instances of positive bags have labels to find, one of a bag at least is +1."""
    vectors = np.vstack(bags)
    K = make_kernel(kernel, vectors)(vectors, vectors)  # the vectors stay, only labels change
    ends = np.cumsum([len(bag) for bag in bags])
    positive = [slice(end - len(bag), end) for bag, end, t in zip(bags, ends, y, strict=True) if t]
    labels = -np.ones(len(vectors))
    for bag in positive:
        labels[bag] = 1.0

    slack = np.arange(len(vectors))
    n_iter = 0
    for _ in range(max_iter):
        n_iter += 1
        a = solve_dual(K, labels, slack, C, tol)
        intercept, objective = intercept_and_objective(K, labels, slack, C, a)
        coef = labels * a
        scores = K @ coef + intercept
        found = labels.copy()
        for bag in positive:
            found[bag] = np.where(scores[bag] > 0, 1.0, -1.0)
            found[bag.start + np.argmax(scores[bag])] = 1.0
        if np.array_equal(found, labels):
            break
        labels = found
    return Fit(objective, n_iter, vectors, coef, intercept)
