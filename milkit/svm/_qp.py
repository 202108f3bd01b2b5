"""The one door to QP solvers: the dual of a support vector machine with shared slacks.

The variables are the vectors that carry the margin; several of them may share one slack, and
then the sum of their multipliers is capped:

    minimise    1/2 a' Q a - 1' a        with Q_ij = s_i s_j k(x_i, x_j)
    subject to  s' a = 0,  a >= 0,  sum of a over slack u <= cap_u

An ordinary SVM has one slack per vector; then the cap is its box. A solver asks the problem for
parts of the kernel and gives a ``QPSolution``; nothing else of it is known outside.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from milkit.svm._cvxopt import solve_cvxopt
from milkit.svm._interior import solve_interior
from milkit.svm._libsvm import solve_libsvm
from milkit.svm._primal import QPSolution
from milkit.svm._working_set import solve_working_set

__all__ = ["SOLVERS", "QPProblem", "QPSolution", "solve"]

SOLVERS = {
    "cvxopt": solve_cvxopt,
    "interior": solve_interior,
    "libsvm": solve_libsvm,
    "working_set": solve_working_set,
}


@dataclass(frozen=True)
class QPProblem:
    """A dual problem.

    Parameters
    ----------
    kernel : kernel of milkit.svm._kernels
        Of the vectors, in their order.
    signs : ndarray of shape (n_variables,)
        +1 or -1, the same for all vectors of one slack.
    slack : ndarray of int, shape (n_variables,)
        Which slack a vector belongs to; contiguous and rising from 0.
    caps : ndarray of shape (n_slacks,)
        What a unit of each slack costs, positive.
    """

    kernel: object
    signs: np.ndarray
    slack: np.ndarray
    caps: np.ndarray

    @cached_property
    def starts(self):
        """ndarray of shape (n_slacks,) : First vector of each slack."""
        return np.flatnonzero(np.diff(self.slack, prepend=-1))

    @cached_property
    def reach(self):
        """ndarray of shape (n_slacks,) : What a slack's multipliers can sum to at most.

        The cap, or all caps of the other side together, because both sides sum to the same.
        """
        positive = self.signs[self.starts] > 0
        other = np.where(positive, self.caps[~positive].sum(), self.caps[positive].sum())
        return np.minimum(self.caps, other)

    def subset(self, index):
        """The problem of some of the vectors, ``index`` rising; slacks without any are left out."""
        slack = self.slack[index]
        begins = np.diff(slack, prepend=-1) > 0
        return QPProblem(
            self.kernel.subset(index),
            self.signs[index],
            np.cumsum(begins) - 1,
            self.caps[slack[begins]],
        )


def solve(problem, start=None, *, solver="working_set", tol=1e-6):
    """Solve the dual of a support vector machine.

    Parameters
    ----------
    problem : QPProblem
    start : QPSolution, default=None
        Solution of a similar problem to start from; only "working_set" can use it.
    solver : {"working_set", "interior", "libsvm", "cvxopt"}, default="working_set"
        "working_set" keeps the vectors that matter, "interior" takes all of them at once and
        the low rank of a linear kernel, "libsvm" solves problems where every vector has its own
        slack, "cvxopt" is the dense reference.
    tol : float, default=1e-6
        Relative duality gap up to which a solution counts as optimal.

    Returns
    -------
    solution : QPSolution

    Raises
    ------
    RuntimeError
        If the solver fails; nothing is swallowed.
    """
    return SOLVERS[solver](problem, start, tol)
