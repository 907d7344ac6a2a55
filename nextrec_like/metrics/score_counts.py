"""AUC and average precision of any number of rows: the classes counted by score, with coarser scores if need be."""

from collections.abc import Sequence

import numpy as np

from nextrec_like.metrics._checks import FloatArray, IntArray, UndefinedMetricError
from nextrec_like.metrics.evaluate import TaskMetrics
from nextrec_like.metrics.rows import Rows

CAPACITY_SHARE = 8
"""A count holds three numbers and merging needs several copies, so there are this many times fewer than rows."""
MIN_CAPACITY = 2
"""The sign of a score is always kept."""


class ScoreCounts:
    """Positives and negatives at each score, sorted by score.

    A score is held as the integer of its float64 bits, which has the order of the scores. When there are more
    distinct integers than fit, all lose as many of their lowest bits (`shift`) as it takes: scores that differ only in
    those form one bin. The shift depends on all the scores that were seen, not on their order, chunks or merges.

    Args:
        names: Not needed: the counts give both metrics.
        max_rows: Rows that may be kept elsewhere; the counts need less memory than they do.
    """

    def __init__(self, names: Sequence[str], max_rows: int) -> None:
        self.capacity = max(max_rows // CAPACITY_SHARE, MIN_CAPACITY)
        self.keys: IntArray = np.zeros(0, dtype=np.int64)  # (S,) ascending
        self.positives: IntArray = np.zeros(0, dtype=np.int64)  # (S,)
        self.negatives: IntArray = np.zeros(0, dtype=np.int64)  # (S,)
        self.shift = 0

    def add(self, rows: Rows) -> None:
        positive = rows.label == 1
        for label, of_label in ((1, positive), (0, ~positive)):
            keys, counts = np.unique(order_keys(rows.prediction[of_label]), return_counts=True)
            self._include(keys >> self.shift, counts * label, counts * (1 - label))

    def merge(self, other: "ScoreCounts") -> None:
        shift = max(self.shift, other.shift)
        self.keys >>= shift - self.shift
        self.shift = shift
        self._include(other.keys >> (shift - other.shift), other.positives, other.negatives)

    def write(self, name: str, result: TaskMetrics) -> None:
        """Adds the metric and, unless every bin is a single score, how far it is at most from the exact one.

        Raises:
            UndefinedMetricError: If a class is missing.
        """
        result[name], bound = READINGS[name](self.positives, self.negatives)
        if self.shift:
            result.error_bounds[name] = bound

    def _include(self, keys: IntArray, positives: IntArray, negatives: IntArray) -> None:
        self.keys = np.concatenate([self.keys, keys])
        self.positives = np.concatenate([self.positives, positives])
        self.negatives = np.concatenate([self.negatives, negatives])
        order = np.argsort(self.keys, kind="stable")  # merges sorted runs in linear time
        self.keys, self.positives, self.negatives = self.keys[order], self.positives[order], self.negatives[order]
        self._unite_equal()
        if len(self.keys) > self.capacity:
            self._coarsen()

    def _unite_equal(self) -> None:
        first = np.flatnonzero(np.append(True, np.diff(self.keys) != 0)[: len(self.keys)])
        self.keys = self.keys[first]
        self.positives = np.add.reduceat(self.positives, first)
        self.negatives = np.add.reduceat(self.negatives, first)

    def _coarsen(self) -> None:
        # Neighbours become equal when their highest different bit is dropped, so as many neighbours must stay
        # different as there are bins less one: the first that must not decides.
        difference = (self.keys[1:] ^ self.keys[:-1]).view(np.uint64)
        drop = int(np.partition(difference, -self.capacity)[-self.capacity]).bit_length()
        self.keys >>= drop
        self.shift += drop
        self._unite_equal()


def order_keys(scores: FloatArray) -> IntArray:
    """Integers in the order of finite scores: negative floats have their bits in falling order."""
    bits = (scores + 0.0).view(np.int64)  # adding zero makes -0.0 the same as 0.0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def counted_auc(positives: IntArray, negatives: IntArray) -> tuple[float, float]:
    """AUC with the rows of a bin tied, and the largest error if their scores differ.

    Pairs in different bins have the order of their scores. A bin with ``p`` positives and ``n`` negatives has ``p n``
    pairs, counted one half each, where anything from none to all may be won. So the error is at most
    ``sum_b p_b n_b / 2``, over all pairs.

    Args:
        positives: In each bin, by ascending score, shape ``(S,)``.
        negatives: Likewise.
    """
    total, pairs = _totals(positives, negatives)
    if pairs == 0:
        raise UndefinedMetricError(f"AUC needs both classes: {int(positives.sum())} positives in {total} rows.")
    used = np.flatnonzero(positives)
    below = np.cumsum(negatives) - negatives
    # Python's integers: in billions of rows there are more pairs than 64 bits can count.
    p, n = positives[used].astype(object), negatives[used].astype(object)
    within = int(p @ n)
    return int(2 * (p @ below[used].astype(object)) + within) / (2 * pairs), within / (2 * pairs)


def counted_pr_auc(positives: IntArray, negatives: IntArray) -> tuple[float, float]:
    """Average precision with the rows of a bin tied, and the largest error if their scores differ.

    With ``P`` positives and ``N`` negatives above it, a bin of ``p`` positives and ``n`` negatives adds, for each of
    its positives, the precision at the score of that positive. It is at most ``(P + p) / (P + p + N)``, when all
    positives tie above the negatives. The i-th positive from above has at least ``(P + i) / (P + i + N + n)``, when
    all stand apart below the negatives; with ``M = N + n`` these sum to::

        p - M sum_i 1 / (P + M + i)  >=  p - M log((P + M + p + 1/2) / (P + M + 1/2))

    because ``1 / x`` is convex: at the middle of a unit interval it is below its integral. The tied value lies
    between the two; the bound is its larger distance.

    Args:
        positives: In each bin, by ascending score, shape ``(S,)``.
        negatives: Likewise.
    """
    total = _totals(positives, negatives)[0]
    used = np.flatnonzero(positives)[::-1]  # by descending score
    if len(used) == 0:
        raise UndefinedMetricError(f"PR AUC needs a positive: 0 positives in {total} rows.")
    p = positives[used]
    hits = np.cumsum(p)  # P + p
    misses = (negatives.sum() - np.cumsum(negatives) + negatives)[used]  # M
    tied = p @ (hits / (hits + misses))
    highest = p @ (hits / (hits + misses - negatives[used]))
    lowest = (p - misses * np.log1p(p / (hits - p + misses + 0.5))).sum()
    return float(tied / hits[-1]), float(max(highest - tied, tied - lowest) / hits[-1])


def _totals(positives: IntArray, negatives: IntArray) -> tuple[int, int]:
    """Number of rows and of pairs, in Python's integers."""
    num_positives, num_negatives = int(positives.sum()), int(negatives.sum())
    return num_positives + num_negatives, num_positives * num_negatives


READINGS = {"auc": counted_auc, "pr_auc": counted_pr_auc}
