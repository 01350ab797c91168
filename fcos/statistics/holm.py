"""Several arms against one baseline: Holm's procedure over sequential sign-flip tests.

The k-th of m arms is tested at level / (m - k + 1), until the first that is not rejected; the others keep the level at
which it was tested. With tests that are valid at each look the family's error is bounded at each look too (Maurer and
Bretz, Statistics in Biopharmaceutical Research 2013), provided that what is rejected at a level is rejected at the
larger ones; hence an arm must be rejected at all of the larger levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fcos.statistics.sign_flip import Counts, compute_interval, compute_scaled_p_value

# Probability of any false direction in a sweep.
FAMILY_LEVEL = 0.05


@dataclass(frozen=True)
class PairedSample:
    """The pairs of an arm in the order of the seeds, and the looks at them.

    differences: arm minus baseline, all finite. looks: rising numbers of pairs, the last is that of all; empty without
    pairs.
    """

    differences: tuple[float, ...]
    looks: tuple[int, ...]

    def __post_init__(self) -> None:
        assert all(map(math.isfinite, self.differences)), self.differences
        rising = all(before < after for before, after in pairwise((0, *self.looks)))
        assert rising and (self.looks or (0,))[-1] == len(self.differences), self.looks

    @property
    def is_identical(self) -> bool:
        """Whether arm and baseline agree in every one of at least two pairs, up to the rounding of a subtraction."""
        return len(self.differences) > 1 and max(abs(value) for value in self.differences) < 1e-12


def make_sample(differences: Sequence[float | None], looks: Sequence[int]) -> PairedSample:
    """Return the sample of an arm from its seeds.

    differences: one for each seed in the order of the looks, None where the seed has no pair; one that is not finite is
    no pair either. looks: rising numbers of seeds at which decisions were taken; a look at all seeds is added, which a
    report is. A look that adds no pairs is none.
    """
    pairs = [value if value is not None and math.isfinite(value) else None for value in differences]
    counts = {sum(value is not None for value in pairs[:look]) for look in (*looks, len(pairs))}
    return PairedSample(tuple(value for value in pairs if value is not None), tuple(sorted(counts - {0})))


@dataclass(frozen=True)
class ArmTest:
    """The test of one arm.

    level: at which it was tested; the interval low to high (infinite where too few pairs cannot bound it) has the
    confidence 1 - level. p: at most `level` exactly where the interval leaves zero out. adjusted_p: the same at most
    the family's level.
    """

    num_pairs: int
    low: float
    high: float
    level: float
    p: float
    adjusted_p: float
    is_identical: bool

    @property
    def is_rejected(self) -> bool:
        """Return whether the test rejects a difference of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class HolmDecision:
    """What Holm's procedure decides about an arm.

    levels: at which it was tested, and the larger ones. ratio: the largest of its p values over the level of each.
    """

    levels: tuple[float, ...]
    ratio: float
    adjusted_p: float

    @property
    def is_rejected(self) -> bool:
        """Whether the arm's test rejects a difference of zero."""
        return self.ratio <= 1


def make_arm_tests(samples: Sequence[PairedSample], family_level: float = FAMILY_LEVEL) -> list[ArmTest]:
    """Test all arms of a sweep against its baseline, those without pairs too: they count in the correction."""
    decisions = decide_arms(samples, family_level)
    return [_make_test(sample, decision) for sample, decision in zip(samples, decisions, strict=True)]


def decide_arms(samples: Sequence[PairedSample], family_level: float = FAMILY_LEVEL) -> list[HolmDecision]:
    """Run Holm's procedure on all arms of a sweep, as make_arm_tests does, without their intervals."""
    # Of the k-th arm, this level and the larger ones.
    ladder = tuple(family_level / count for count in range(len(samples), 0, -1))
    remaining = list(range(len(samples)))
    step, adjusted = 0, 0.0
    decisions: dict[int, HolmDecision] = {}
    # Where an arm is rejected the others are tested again, at the larger levels.
    known: list[dict[Counts, float]] = [{} for _ in samples]
    while remaining:
        levels = ladder[step:]
        ratios = {arm: _compute_ratio(samples[arm], levels, known[arm]) for arm in remaining}
        decided = [min(remaining, key=ratios.__getitem__)]
        if ratios[decided[0]] > 1:
            decided = sorted(remaining, key=ratios.__getitem__)
        for arm in decided:
            adjusted = max(adjusted, min(1.0, ratios[arm] * family_level))
            decisions[arm] = HolmDecision(levels, ratios[arm], adjusted)
            remaining.remove(arm)
        step += 1
    return [decisions[arm] for arm in range(len(samples))]


def _compute_ratio(sample: PairedSample, levels: Sequence[float], known: dict[Counts, float]) -> float:
    if not sample.differences:
        return 1 / levels[0]
    return compute_scaled_p_value(np.array(sample.differences), sample.looks, levels, known)


def _make_test(sample: PairedSample, decision: HolmDecision) -> ArmTest:
    low, high = -np.inf, np.inf
    if sample.differences:
        low, high = compute_interval(np.array(sample.differences), sample.looks, decision.levels)
    level = decision.levels[0]
    return ArmTest(
        num_pairs=len(sample.differences),
        low=low,
        high=high,
        level=level,
        p=min(1.0, decision.ratio * level),
        adjusted_p=decision.adjusted_p,
        is_identical=sample.is_identical,
    )
