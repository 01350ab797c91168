"""Rounds of seeds as a sweep with until=decided has them, on differences that are drawn; verdicts.py counts errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcos.statistics.holm import HolmDecision, PairedSample, decide_arms, make_sample
from fcos.statistics.sign_flip import Floats, compute_scaled_p_value

FIRST_LOOK = 3
UNDECIDED = ""


@dataclass(frozen=True)
class Rounds:
    """A sweep with one seed more at a time until every arm is decided.

    seen: by arm, what it was called at any look. last: at the last one. looks: numbers of seeds. pairs: by arm.
    """

    seen: tuple[frozenset[str], ...]
    last: tuple[str, ...]
    looks: tuple[int, ...]
    pairs: tuple[int, ...]


def run_rounds(differences: Floats, margin: float) -> Rounds:
    """Decide arms as SeedRounds does where each trains by itself: a decided one gets no more seeds.

    differences: (arms, seeds). `pytest tests/benchmarks/test_benchmarks.py -k rounds` holds the two against each other.
    """
    arms, most = differences.shape
    sizes: list[list[float | None]] = [[] for _ in range(arms)]
    seen: list[set[str]] = [set() for _ in range(arms)]
    outcomes = [UNDECIDED] * arms
    looks: list[int] = []
    for count in range(FIRST_LOOK, most + 1):
        for arm, of_arm in enumerate(sizes):
            new = differences[arm, len(of_arm) : count].tolist()
            of_arm += new if outcomes[arm] == UNDECIDED else [None] * len(new)
        looks.append(count)
        outcomes = classify_arms(sizes, looks, margin)
        for arm, outcome in enumerate(outcomes):
            seen[arm].add(outcome)
        if UNDECIDED not in outcomes:
            break
    pairs = tuple(sum(size is not None for size in of_arm) for of_arm in sizes)
    return Rounds(tuple(map(frozenset, seen)), tuple(outcomes), tuple(looks), pairs)


def classify_arms(sizes: Sequence[Sequence[float | None]], looks: Sequence[int], margin: float) -> list[str]:
    """Return what each arm is called at the last look."""
    samples = [make_sample(of_arm, looks) for of_arm in sizes]
    return [_classify(sample, decision, margin) for sample, decision in zip(samples, decide_arms(samples), strict=True)]


def _classify(sample: PairedSample, decision: HolmDecision, margin: float) -> str:
    """Return what the interval at the levels of Holm's procedure gives, without its ends, which take long to find."""
    differences = np.array(sample.differences)
    mean = float(differences.mean())
    if decision.is_rejected:
        return "higher" if mean > 0 else "lower"
    ends = (compute_scaled_p_value(differences - end, sample.looks, decision.levels) for end in (-margin, margin))
    return "equal" if abs(mean) < margin and all(ratio <= 1 for ratio in ends) else UNDECIDED
