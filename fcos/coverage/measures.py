"""From counts to the figures that the papers print, and one number to compare settings by."""

import math

import numpy as np

from fcos.config.run import CoverageConfig
from fcos.coverage.counts import Counts

# Shares of boxes and positives, and how many there are; beside them two shares for each level.
FIGURES = (
    *("bpr", "ambiguous", "ambiguous_different", "claims_1", "claims_2", "claims_3plus"),
    *("evenness", "objective", "num_boxes", "num_positives"),
)
# All that is known of anchors.
ANCHOR_FIGURES = ("bpr", "num_boxes")


def figure_names(levels: tuple[int, ...], config: CoverageConfig) -> tuple[str, ...]:
    """The metric keys of all figures that counting gives."""
    if config.assignment == "retinanet":
        return tuple(f"coverage/{name}" for name in ANCHOR_FIGURES)
    per_level = [f"{what}_P{level}" for level in levels for what in ("positives", "boxes")]
    return tuple(f"coverage/{name}" for name in (*FIGURES, *per_level))


def measures(counts: Counts, levels: tuple[int, ...], config: CoverageConfig) -> dict[str, float]:
    """Fractions by metric key, and the number of boxes and positives.

    bpr: boxes that own a location. ambiguous and claims_1, claims_2, claims_3plus: shares of the positives by how many
    boxes claim them. positives_P3 and so on: shares of the positives; boxes_P3: shares of the boxes that own one there.
    """
    boxes, positives = int(counts.boxes[0]), int(counts.claims.sum())
    shares = counts.claims / max(positives, 1)
    found = {
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
    for place, level in enumerate(levels):
        found[f"coverage/positives_P{level}"] = counts.positives_per_level[place] / max(positives, 1)
        found[f"coverage/boxes_P{level}"] = counts.boxes_per_level[place] / max(boxes, 1)
    return {key: float(value) for key, value in found.items()}


def evenness(counts: Counts) -> float:
    """How many equally busy levels would spread the positives as they are spread, as a share of the levels."""
    shares = counts.positives_per_level / max(int(counts.positives_per_level.sum()), 1)
    shares = shares[shares > 0]
    if not len(shares):
        return 0.0
    return math.exp(float(-(shares * np.log(shares)).sum())) / len(counts.positives_per_level)


def objective(counts: Counts, config: CoverageConfig) -> float:
    """Recall - ambiguity_weight * ambiguous + evenness_weight * evenness; higher is better."""
    recall = int(counts.recalled[0]) / max(int(counts.boxes[0]), 1)
    ambiguous = int(counts.claims[1:].sum()) / max(int(counts.claims.sum()), 1)
    return recall - config.ambiguity_weight * ambiguous + config.evenness_weight * evenness(counts)
