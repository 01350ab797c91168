"""Exact sequential sign-flip test of paired differences, and the interval that inverts it.

If the differences are symmetric about a shift, all patterns of their signs are equally likely once it is subtracted
(Fisher 1935; Pitman 1937). The statistic is the absolute mean. At each look, a number of pairs at which a decision is
taken, those patterns are rejected that have the largest statistic among the ones not rejected at earlier looks, as long
as the share of all rejected patterns stays within `level * spend(pairs)` (Lan and DeMets, Biometrika 1983: neither the
number of looks nor that of pairs is fixed beforehand). Patterns that tie are rejected together or not at all.
Over all looks a true shift is rejected with a probability of at most `level`. The decision is that of the last look.

With more than 16 pairs the patterns are a subgroup of 2^16: all signs of the first 16 pairs, the others as products of
them. A test over a subgroup is as exact as one over all patterns (Hemerik and Goeman, TEST 2018), and the earlier
looks are the same in both.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# How many patterns may be rejected up to each of some looks.
Counts = tuple[int, ...]

ENUMERATED_PAIRS = 16
# Half of the level is spent up to the square root of so many pairs.
HALF_SPENT_SQUARE = 18
# Sizes of the products: odd, so that with a pattern its mirror image is in the subgroup; wide, so that few coincide.
PRODUCT_SIZES = (7, 9)
# Of the sum of absolute differences: statistics closer than this tie.
TIE_TOLERANCE = 1e-12
BISECTIONS = 45


def spend(num_pairs: int) -> float:
    """Return the share of a level that is spent up to a number of pairs: n^2 / (n^2 + 18).

    It rises and stays below 1, so that any number of later pairs has some left.
    """
    return num_pairs**2 / (num_pairs**2 + HALF_SPENT_SQUARE)


def count_patterns(num_pairs: int) -> int:
    """Return how many patterns there are of so many pairs, a pattern and its mirror image taken as one."""
    return 1 << (min(num_pairs, ENUMERATED_PAIRS) - 1)


def count_rejectable(num_pairs: int, level: float) -> int:
    """Return how many patterns may be rejected up to a look; 0 where it cannot decide."""
    scale = count_patterns(num_pairs) * spend(num_pairs)
    count = int(level * scale) + 1
    # The same division as in a p value, so that both agree to the last bit.
    while count / scale > level:
        count -= 1
    return count


def find_fewest_pairs(level: float) -> int | None:
    """Return the fewest pairs that can reject at a level; None where the 2^16 patterns are too few for it."""
    return next((pairs for pairs in range(1, 200) if count_rejectable(pairs, level)), None)


@lru_cache(maxsize=32)
def make_patterns(num_pairs: int) -> Floats:
    """Return the patterns as (patterns, pairs) of +1 and -1: the first flips nothing, none flips the first pair.

    Patterns that share their first signs follow each other, as the looks need it.
    """
    free = min(num_pairs, ENUMERATED_PAIRS)
    rows = np.arange(count_patterns(num_pairs))[:, None]
    bits = np.hstack([np.zeros_like(rows), (rows >> np.arange(free - 2, -1, -1)) & 1])
    for pair in range(free, num_pairs):
        generator = np.random.default_rng(pair)
        chosen = generator.permutation(free)[: generator.choice(PRODUCT_SIZES)]
        bits = np.hstack([bits, bits[:, chosen].sum(axis=1, keepdims=True) % 2])
    return 1.0 - 2.0 * bits


def compute_p_values(differences: Floats, looks: Sequence[int], level: float) -> Floats:
    """Return the p value at the last look of each row of paired differences.

    It is the share of the patterns that were rejected at an earlier look or are as extreme as the observed one at the
    last, divided by what may be spent up to it: at most `level` exactly where the last look rejects. With several
    looks it depends on the level, as the earlier rejections do.

    differences: (rows, pairs), in the order in which they were seen. looks: rising numbers of pairs; the last is that
    of all.
    """
    num_pairs = differences.shape[1]
    tolerance = _make_tolerance(differences)
    rejected = np.zeros((len(differences), 1), dtype=bool)
    for _, until in _reject_by_look(differences, looks[:-1], level):
        rejected = until
    statistics = _compute_statistics(differences, num_pairs)
    counted = _repeat(rejected, num_pairs) | (statistics >= statistics[:, :1] - tolerance)
    counts: Floats = counted.sum(axis=1) / (count_patterns(num_pairs) * spend(num_pairs))
    return np.minimum(counts, 1.0)


def find_first_rejections(differences: Floats, looks: Sequence[int], level: float) -> NDArray[np.int64]:
    """Return for each row the number of pairs at the first look that rejects, 0 where none does.

    differences, looks: as for compute_p_values.
    """
    first = np.zeros(len(differences), dtype=np.int64)
    for look, rejected in _reject_by_look(differences, looks, level):
        first[(first == 0) & rejected[:, 0]] = look
    return first


def _reject_by_look(differences: Floats, looks: Sequence[int], level: float) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Iterate over the looks that can decide, each with the patterns that are rejected up to it: (rows, patterns)."""
    rejected = np.zeros((len(differences), 1), dtype=bool)
    for look in looks:
        if allowed := count_rejectable(look, level):
            statistics = _compute_statistics(differences, look)
            rejected = _repeat(rejected, look)
            tolerance = _make_tolerance(differences[:, :look])
            rejected = rejected | _reject_largest(statistics, rejected, allowed, tolerance)
            yield look, rejected


def _make_tolerance(differences: Floats) -> Floats:
    total: Floats = np.abs(differences).sum(axis=1, keepdims=True)
    return TIE_TOLERANCE * total


def _compute_statistics(differences: Floats, look: int) -> Floats:
    """Return the absolute sum of the first differences under each pattern: (rows, patterns)."""
    sums: Floats = np.abs(differences[:, :look] @ make_patterns(look).T)
    return sums


def _repeat(rejected: NDArray[np.bool_], num_pairs: int) -> NDArray[np.bool_]:
    """Return for the patterns of more pairs whether their first signs were rejected."""
    return np.repeat(rejected, count_patterns(num_pairs) // rejected.shape[1], axis=1)


def _reject_largest(
    statistics: Floats, rejected: NDArray[np.bool_], allowed: int, tolerance: Floats
) -> NDArray[np.bool_]:
    """Return which patterns this look rejects: the largest statistics, so many that at most `allowed` are in all."""
    still_open = np.where(rejected, -1.0, statistics)
    room = allowed - rejected.sum(axis=1, keepdims=True)
    first = statistics.shape[1] - 1 - int(room.max())
    largest = np.sort(np.partition(still_open, first, axis=1)[:, first:], axis=1)[:, ::-1]
    # The largest one that does not fit any more; what ties with it does not fit either.
    bound = np.take_along_axis(largest, room, axis=1)
    return still_open > bound + tolerance


def compute_scaled_p_value(
    differences: Floats, looks: Sequence[int], levels: Sequence[float], known: dict[Counts, float] | None = None
) -> float:
    """Return the largest ratio of p value and level over several levels: above 1 where one does not reject.

    With several looks a larger level can fail to reject where a smaller one rejects, as it spends at looks where the
    smaller one cannot. For a decision that holds at all larger levels too, `levels` must contain them.

    known: p values of the same differences by what decides them, which other levels share; it is added to.
    """
    p_values = {} if known is None else known
    ratios = []
    for counts, level in find_deciding_levels(tuple(looks), tuple(levels)):
        if counts not in p_values:
            p_values[counts] = float(compute_p_values(differences[None], looks, level)[0])
        ratios.append(p_values[counts] / level)
    return max(ratios)


@lru_cache(maxsize=256)
def find_deciding_levels(looks: tuple[int, ...], levels: tuple[float, ...]) -> tuple[tuple[Counts, float], ...]:
    """Return of levels with the same p values the lowest one each, which rejects only what all of them reject.

    A p value depends on the level by how many patterns may be rejected at the looks before the last, which stand before
    each level. With one look all levels have the same, and of thousands, one for each of as many arms, few are left.
    """
    lowest: dict[Counts, float] = {}
    for level in levels:
        counts = tuple(count_rejectable(look, level) for look in looks[:-1])
        lowest[counts] = min(level, lowest.get(counts, level))
    return tuple(lowest.items())


def compute_interval(differences: Floats, looks: Sequence[int], levels: Sequence[float]) -> tuple[float, float]:
    """Return the shifts that the test does not reject; infinite ends where too few pairs cannot bound them.

    The shifts that are accepted lie together around the mean, but for gaps as narrow as rounding where differences tie.
    Zero is decided first, and the ends are searched from there: the interval leaves zero out exactly where
    compute_scaled_p_value is at most 1. An end is accurate to 2^-45 of the range of the differences.
    """
    mirrored_low = _find_lower_end(-differences, looks, levels)
    return _find_lower_end(differences, looks, levels), -mirrored_low if mirrored_low else 0.0


def _find_lower_end(differences: Floats, looks: Sequence[int], levels: Sequence[float]) -> float:
    tested = [level for _, level in find_deciding_levels(tuple(looks), tuple(levels))]

    def is_rejected(shift: float) -> bool:
        shifted = (differences - shift)[None]
        return all(compute_p_values(shifted, looks, level)[0] / level <= 1 for level in tested)

    accepted = float(differences.mean())
    width = float(np.ptp(differences)) or abs(accepted) or 1.0
    zero_is_rejected = is_rejected(0.0)
    if accepted > 0 and not zero_is_rejected:
        accepted = 0.0
    # Below all differences the pattern is the most extreme one; nothing further out is rejected if it is not.
    outer = min(float(differences.min()), accepted) - width
    if accepted > 0 and zero_is_rejected:
        outer = 0.0
    elif not is_rejected(outer):
        return -np.inf
    for _ in range(BISECTIONS):
        middle = (outer + accepted) / 2
        if is_rejected(middle):
            outer = middle
        else:
            accepted = middle
    return accepted
