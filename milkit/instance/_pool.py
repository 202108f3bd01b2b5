"""The instances of a fit by self-training: which may be moved, and which were when."""

import numpy as np


class InstancePool:
    """Instances of positive and negative bags, of which some are moved to the training set.

    Parameters
    ----------
    bags : BagArray of shape (n_bags,)
    positive : ndarray of bool, shape (n_bags,)
        The bags whose instances may be positive.
    bag_weight : ndarray of shape (n_bags,)
        Bags of weight 0 give no instances.
    groups : ndarray of int, shape (n_instances,)
    """

    def __init__(self, bags, positive, bag_weight, groups):
        self.instances, self.offsets = bags.flat()
        self.bag = np.repeat(np.arange(len(bags)), bags.sizes)
        self.weight = bag_weight[self.bag]
        self.groups = groups
        usable = self.weight > 0
        self.positives_left = np.flatnonzero(usable & positive[self.bag])
        self.negatives_left = np.flatnonzero(usable & ~positive[self.bag])
        self.start_rows, self._start_labels = np.arange(0), np.arange(0)
        self._moved = []

    @property
    def n_moved(self):
        """int : Number of positive instances that were moved; as many are negative."""
        return sum(len(rows) // 2 for rows, _ in self._moved)

    def take(self, rows, labels):
        """Instances, their labels, weights and groups, as a part of a training set."""
        return self.instances[rows], np.asarray(labels), self.weight[rows], self.groups[rows]

    def moved(self):
        """The part of the training set that was moved in each round."""
        return [self.take(rows, _half_positive(rows)) for rows, _ in self._moved]

    def start_from(self, positives, negatives):
        """Rows to start from, which stay where they are until they are moved."""
        self.start_rows = np.append(positives, negatives)
        self._start_labels = np.repeat([1, 0], [len(positives), len(negatives)])

    def start(self):
        """The part of the training set to start from, without what was moved since."""
        return self.take(self.start_rows, self._start_labels)

    def draw_negatives(self, n, rng):
        """Rows of random instances of negative bags, which stay where they are."""
        return np.sort(rng.choice(self.negatives_left, n, replace=False))

    def move(self, n, confidence, min_confidence, rng):
        """Move up to ``n`` confident positives and as many negatives.

        Parameters
        ----------
        n : int
        confidence : ndarray of shape (n_positives_left,)
            How sure it is that each is positive; ties are broken at random.
        min_confidence : float
        rng : numpy.random.Generator

        Returns
        -------
        n_moved : int
            Number of positives.
        """
        tiebreak = rng.random(len(confidence))
        n_confident = int(np.sum(confidence > min_confidence))
        n = min(n, n_confident, len(self.negatives_left))
        if n == 0:
            return 0
        doubt = -confidence
        near = np.flatnonzero(doubt <= np.partition(doubt, n - 1)[n - 1])
        chosen = np.sort(near[np.lexsort((tiebreak[near], doubt[near]))[:n]])
        positives, negatives = self.positives_left[chosen], self.draw_negatives(n, rng)
        self.positives_left = np.delete(self.positives_left, chosen)
        self.negatives_left = np.setdiff1d(self.negatives_left, negatives, assume_unique=True)
        sure = np.append(confidence[chosen], np.full(n, np.nan))
        self._moved.append((np.append(positives, negatives), sure))
        stay = ~np.isin(self.start_rows, self._moved[-1][0])
        self.start_rows, self._start_labels = self.start_rows[stay], self._start_labels[stay]
        return n

    def history(self, classes):
        """What was moved when, as columns of equal length."""
        rows = np.concatenate([rows for rows, _ in self._moved])
        bag, sizes = self.bag[rows], [len(rows) for rows, _ in self._moved]
        return {
            "round": np.repeat(np.arange(1, len(sizes) + 1), sizes),
            "bag": bag,
            "instance": rows - self.offsets[bag],
            "label": classes[np.concatenate([_half_positive(rows) for rows, _ in self._moved])],
            "confidence": np.concatenate([confidence for _, confidence in self._moved]),
        }


def _half_positive(rows):
    """1 for the first half of the rows, and 0 for the second."""
    return np.repeat([1, 0], len(rows) // 2)
