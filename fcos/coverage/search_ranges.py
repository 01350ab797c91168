"""Search the level ranges of a data set: move each end in turn while the objective rises."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import count
from fcos.coverage.measures import objective

# Images that the search uses, spread evenly over the data set.
MAX_IMAGES = 1000
# Factors by which an end is moved, coarse ones first.
FACTORS = tuple(2.0 ** (sign * power) for power in (1.0, 0.5, 0.25, 0.125) for sign in (1, -1))
Ranges = tuple[tuple[float, float | None], ...]


def search_ranges(
    boxes: InputBoxes,
    strides: tuple[int, ...],
    assignment: AssignmentConfig,
    config: CoverageConfig,
    report: Callable[[int, float], None],
) -> AssignmentConfig:
    """Return the assignment with the range ends of highest objective, in whole pixels.

    A deterministic local search from the configured ends. `report` is called with the number of each round and its
    objective.
    """
    sample = _sample(boxes)

    def evaluate(ends: list[float]) -> float:
        counts, _ = count(sample, strides, assignment.model_copy(update={"ranges": _ranges(assignment.ranges, ends)}))
        return objective(counts, config)

    ends = [float(high) for _, high in assignment.ranges[:-1] if high is not None]
    best = evaluate(ends)
    for round_number in range(8):
        before = best
        for index in range(len(ends)):
            for factor in FACTORS:
                candidate = [*ends]
                candidate[index] = float(round(ends[index] * factor))
                bounds = [max(assignment.ranges[0][0], 0.0), *candidate]
                if any(low >= high for low, high in pairwise(bounds)):
                    continue
                value = evaluate(candidate)
                if value > best:
                    best, ends = value, candidate
        report(round_number + 1, best)
        if best <= before:
            break
    return assignment.model_copy(update={"ranges": _ranges(assignment.ranges, ends)})


def _ranges(ranges: Ranges, ends: list[float]) -> Ranges:
    lows = [ranges[0][0], *ends]
    highs: list[float | None] = [*ends, ranges[-1][1]]
    return tuple(zip(lows, highs, strict=True))


def _sample(boxes: InputBoxes) -> InputBoxes:
    if len(boxes) <= MAX_IMAGES:
        return boxes
    return boxes.select(np.linspace(0, len(boxes) - 1, MAX_IMAGES).astype(np.int64))
