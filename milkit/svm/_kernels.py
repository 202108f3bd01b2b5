"""Kernel matrices that are computed only where a solver looks.

Every kernel here has ``len``, ``rows``, ``block``, ``scores``, ``subset``, ``svc`` and, where the
kernel is the inner product of known vectors, their matrix as ``factor``.
"""

import numpy as np

from milkit.kernels._instance_kernels import instance_kernel

__all__ = [
    "KernelFunction",
    "LinearKernel",
    "LinearStore",
    "MatrixKernel",
    "RowStore",
    "StoredKernel",
]


class KernelFunction:
    """A kernel between instances with its parameters, called with two matrices."""

    def __init__(self, kernel, *, gamma=1.0, degree=3, coef0=0.0):
        self.kernel = kernel
        self.params = {"gamma": gamma, "degree": degree, "coef0": coef0}

    def __call__(self, A, B):
        """Kernel matrix of shape (n_A, n_B)."""
        return instance_kernel(A, B, self.kernel, **self.params)


class MatrixKernel:
    """A kernel matrix that is there already, shape (n, n)."""

    factor = None

    def __init__(self, K):
        self.K = K

    def __len__(self):
        return len(self.K)

    def rows(self, index):
        """Rows of the matrix, shape (len(index), n)."""
        return self.K[index]

    def block(self, rows, columns):
        """Part of the matrix, shape (len(rows), len(columns))."""
        return self.K[np.ix_(rows, columns)]

    def scores(self, index, weight):
        """Weighted sum of rows, shape (n,)."""
        return weight @ self.K[index]

    def subset(self, index):
        """The kernel of some of the vectors."""
        return MatrixKernel(self.block(index, index))

    def svc(self):
        """Parameters of SVC, and what its ``fit`` takes."""
        return {"kernel": "precomputed"}, self.K


class LinearKernel:
    """Inner products of the rows of ``factor``, shape (n, n_features); nothing else is held."""

    def __init__(self, factor):
        self.factor = factor

    def __len__(self):
        return len(self.factor)

    def rows(self, index):
        """Rows of the matrix, shape (len(index), n)."""
        return self.factor[index] @ self.factor.T

    def block(self, rows, columns):
        """Part of the matrix, shape (len(rows), len(columns))."""
        return self.factor[rows] @ self.factor[columns].T

    def scores(self, index, weight):
        """Weighted sum of rows, shape (n,)."""
        return self.factor @ (weight @ self.factor[index])

    def subset(self, index):
        """The kernel of some of the vectors."""
        return LinearKernel(self.factor[index])

    def svc(self):
        """Parameters of SVC, and what its ``fit`` takes."""
        return {"kernel": "linear"}, self.factor


class LinearStore:
    """The vectors of a fit under the linear kernel, which needs no rows.

    Parameters
    ----------
    vectors : ndarray of shape (n, n_features)
    """

    def __init__(self, vectors):
        self.vectors = vectors

    def kernel(self, ids):
        """The kernel of some of the vectors, in the order of ``ids``."""
        return LinearKernel(self.vectors[ids])

    def scores(self, ids, weight):
        """Weighted sum of the rows of some vectors, shape (n,)."""
        return self.vectors @ (weight @ self.vectors[ids])

    def scores_at(self, at, ids, weight):
        """The same at some vectors only, shape (len(at),)."""
        return self.vectors[at] @ (weight @ self.vectors[ids])


class RowStore:
    """Rows of the kernel matrix between all vectors of a fit, computed when first asked for.

    The quadratic programmes of a fit differ in few vectors; whatever they share, over outer
    steps, restarts and classes, is computed once. Only vectors that a solver looks at have rows.

    Parameters
    ----------
    vectors : ndarray of shape (n, n_features)
    function : KernelFunction
    max_entries : int, default=2**26
        Most entries held (512 MB); what goes beyond is computed in blocks and dropped.
    """

    def __init__(self, vectors, function, max_entries=2**26):
        self.vectors, self.function = vectors, function
        self._max_rows = max(1, max_entries // len(vectors))
        self._place = np.full(len(vectors), -1)
        self._rows = np.empty((0, len(vectors)))
        self._n_rows = 0

    def kernel(self, ids):
        """The kernel of some of the vectors, in the order of ``ids``."""
        return StoredKernel(self, ids)

    def places(self, ids):
        """Where the rows of some vectors lie in ``kept``, or None where they do not fit."""
        missing = ids[self._place[ids] < 0]
        if len(missing):
            missing = np.unique(missing)
            needed = self._n_rows + len(missing)
            if needed > self._max_rows:  # forget all, and begin with what is wanted now
                self._place[:], self._n_rows = -1, 0
                missing = np.unique(ids)
                needed = len(missing)
                if needed > self._max_rows:
                    return None
            if needed > len(self._rows):
                rows = np.empty(
                    (min(self._max_rows, max(needed, 2 * len(self._rows))), len(self.vectors))
                )
                rows[: self._n_rows] = self.kept
                self._rows = rows
            self._rows[self._n_rows : needed] = self.function(self.vectors[missing], self.vectors)
            self._place[missing] = np.arange(self._n_rows, needed)
            self._n_rows = needed
        return self._place[ids]

    @property
    def kept(self):
        """ndarray of shape (n_rows, n) : The rows held."""
        return self._rows[: self._n_rows]

    def block(self, rows, columns):
        """Part of the matrix, shape (len(rows), len(columns))."""
        places = self.places(rows)
        if places is None:
            return self.function(self.vectors[rows], self.vectors[columns])
        return self.kept[np.ix_(places, columns)]

    def scores(self, ids, weight):
        """Weighted sum of the rows of some vectors, shape (n,)."""
        places = self.places(ids)
        if places is None:
            return self.scores_at(np.arange(len(self.vectors)), ids, weight)
        if 4 * len(places) < self._n_rows:
            return weight @ self.kept[places]
        every = np.zeros(self._n_rows)
        every[places] = weight
        return every @ self.kept

    def scores_at(self, at, ids, weight):
        """The same at some vectors only, shape (len(at),); computed in blocks and not kept."""
        rows, scores = self.vectors[ids], np.empty(len(at))
        step = max(1, 2**22 // len(ids))
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            scores[part] = weight @ self.function(rows, self.vectors[at[part]])
        return scores


class StoredKernel:
    """Some vectors of a store, in the order of ``ids``."""

    factor = None

    def __init__(self, store, ids):
        self.store, self.ids = store, ids

    def __len__(self):
        return len(self.ids)

    def rows(self, index):
        """Rows of the matrix, shape (len(index), n)."""
        return self.store.block(self.ids[index], self.ids)

    def block(self, rows, columns):
        """Part of the matrix, shape (len(rows), len(columns))."""
        return self.store.block(self.ids[rows], self.ids[columns])

    def scores(self, index, weight):
        """Weighted sum of rows, shape (n,)."""
        return self.store.scores(self.ids[index], weight)[self.ids]

    def subset(self, index):
        """The kernel of some of the vectors."""
        return StoredKernel(self.store, self.ids[index])

    def svc(self):
        """Parameters of SVC, and what its ``fit`` takes."""
        function, vectors = self.store.function, self.store.vectors[self.ids]
        if callable(function.kernel):
            return {"kernel": "precomputed"}, function(vectors, vectors)
        return {"kernel": function.kernel, **function.params}, vectors
