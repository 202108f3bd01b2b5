"""Metrics of ranked instances in every bag at once, from blocks of equal scores.

Nothing loops over bags, and nothing depends on the order in which equal scores come.
"""

from typing import NamedTuple

import numpy as np


class TieBlocks(NamedTuple):
    """Blocks of equal scores, by bag and by rising score inside it, and the bags' totals."""

    bag: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    positive_below: np.ndarray  # in the same bag, with a lower score
    negative_below: np.ndarray
    n_positive: np.ndarray  # of each bag
    n_negative: np.ndarray


def tie_blocks(bag, positive, scores, n_bags):
    """Count positives and negatives at each distinct score of each bag; NaN is the lowest."""
    known = ~np.isnan(scores)
    # Two keys where there is NaN, as it ranks below -inf too.
    keys = (scores, bag) if np.all(known) else (np.where(known, scores, 0), known, bag)
    order = np.lexsort(keys)
    begins = np.zeros(len(order), dtype=bool)
    begins[:1] = True
    for key in keys:
        begins[1:] |= key[order[1:]] != key[order[:-1]]
    first = np.flatnonzero(begins)
    bag, positive = bag[order[first]], positive[order]
    counts = [np.add.reduceat(side, first, dtype=np.int64) for side in (positive, ~positive)]
    totals = [np.bincount(bag, count, n_bags).astype(np.int64) for count in counts]
    below = [
        np.cumsum(count) - count - (np.cumsum(total) - total)[bag]
        for count, total in zip(counts, totals, strict=True)
    ]
    return TieBlocks(bag, *counts, *below, *totals)


def has_both_kinds(blocks):
    """Which bags have positives and negatives, shape (n_bags,)."""
    return (blocks.n_positive > 0) & (blocks.n_negative > 0)


def roc_auc(blocks):
    """Share of the pairs of a positive and a negative that are ordered rightly, in each bag."""
    won_twice = blocks.positive * (2 * blocks.negative_below + blocks.negative)
    pairs = blocks.n_positive * blocks.n_negative
    return np.bincount(blocks.bag, won_twice, len(pairs)) / np.maximum(2 * pairs, 1)


def average_precision(blocks):
    """Mean over the positives of the precision at their score, in each bag."""
    n_positive = blocks.n_positive
    true = n_positive[blocks.bag] - blocks.positive_below
    false = blocks.n_negative[blocks.bag] - blocks.negative_below
    summed = np.bincount(blocks.bag, blocks.positive * true / (true + false), len(n_positive))
    return summed / np.maximum(n_positive, 1)


def hit_probability(blocks, k):
    """Probability of a positive among the first k, for each bag that has a positive.

    Instances of one score are ordered at random.
    """
    n_positive, sizes = blocks.n_positive, blocks.n_positive + blocks.n_negative
    tied = blocks.positive + blocks.negative
    above = sizes[blocks.bag] - blocks.positive_below - blocks.negative_below - tied
    looked_at = np.minimum(k, sizes)[blocks.bag]
    # One block of each bag holds the last place that is looked at.
    last = (above < looked_at) & (looked_at <= above + tied) & (n_positive[blocks.bag] > 0)
    by_chance = _drawn_positive((looked_at - above)[last], tied[last], blocks.positive[last])
    positive_above = (n_positive[blocks.bag] - blocks.positive_below - blocks.positive)[last]
    return np.where(positive_above > 0, 1.0, by_chance)


def _drawn_positive(n_drawn, n, n_positive):
    """Probability of a positive among ``n_drawn`` of ``n``, drawn without replacement.

    None is among them with C(n - n_positive, n_drawn) / C(n, n_drawn), which is the product of
    1 - larger / (n - i) for i < smaller, of the two numbers. Its logarithm is added up term by
    term: the difference of large logarithms of binomials would leave few digits.
    """
    smaller, larger = np.minimum(n_drawn, n_positive), np.maximum(n_drawn, n_positive)
    certain = smaller + larger > n
    smaller = np.where(certain, 0, smaller)
    term_of = np.repeat(np.arange(len(n)), smaller)
    i = np.arange(len(term_of)) - (np.cumsum(smaller) - smaller)[term_of]
    log_none = np.bincount(term_of, np.log1p(-larger[term_of] / (n[term_of] - i)), len(n))
    return np.where(certain, 1.0, -np.expm1(log_none))
