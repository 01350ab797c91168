"""Metrics of counted assignments as the papers print them, and one objective to compare settings."""

import math

import numpy as np

from fcos.config.run import CoverageConfig
from fcos.coverage.counts import Counts


def measures(counts: Counts, levels: tuple[int, ...], config: CoverageConfig) -> dict[str, float]:
    """Return fractions by metric key, and the numbers of boxes and positives.

    bpr: boxes with an assigned location. ambiguous and claims_1, claims_2, claims_3plus: fractions of the positives by
    the number of candidate boxes. positives_P3 and so on: fractions of the positives; boxes_P3: fractions of the boxes
    with a location on the level.
    """
    boxes, positives = int(counts.boxes[0]), int(counts.claims.sum())
    shares = counts.claims / max(positives, 1)
    metrics = {
        "coverage/bpr": counts.recalled[0] / max(boxes, 1),
        "coverage/ambiguous": shares[1:].sum(),
        "coverage/ambiguous_different": counts.different[0] / max(positives, 1),
        "coverage/claims_1": shares[0],
        "coverage/claims_2": shares[1],
        "coverage/claims_3plus": shares[2:].sum(),
        "coverage/evenness": evenness(counts),
        "coverage/objective": objective(counts, config),
        "coverage/num_boxes": boxes,
        "coverage/num_positives": positives,
    }
    for index, level in enumerate(levels):
        metrics[f"coverage/positives_P{level}"] = counts.positives_per_level[index] / max(positives, 1)
        metrics[f"coverage/boxes_P{level}"] = counts.boxes_per_level[index] / max(boxes, 1)
    return {key: float(value) for key, value in metrics.items()}


def evenness(counts: Counts) -> float:
    """Return the effective number of levels as a fraction of all levels.

    It is the exponential of the entropy of the distribution of positives over levels.
    """
    shares = counts.positives_per_level / max(int(counts.positives_per_level.sum()), 1)
    shares = shares[shares > 0]
    if not len(shares):
        return 0.0
    return math.exp(float(-(shares * np.log(shares)).sum())) / len(counts.positives_per_level)


def objective(counts: Counts, config: CoverageConfig) -> float:
    """Compute recall - ambiguity_weight * ambiguous + evenness_weight * evenness; higher is better."""
    recall = int(counts.recalled[0]) / max(int(counts.boxes[0]), 1)
    ambiguous = int(counts.claims[1:].sum()) / max(int(counts.claims.sum()), 1)
    return recall - config.ambiguity_weight * ambiguous + config.evenness_weight * evenness(counts)
