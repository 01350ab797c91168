"""Run the configured analyses of detections."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from fcos.config.choices import Analysis
from fcos.data.annotations import Annotations
from fcos.evaluation.calibration import NUM_BINS, score_iou
from fcos.evaluation.class_agnostic import LIMITS, THRESHOLDS, class_agnostic, proposals
from fcos.evaluation.tide import KINDS, tide_errors
from fcos.postprocess.oracle import DIFFERENT_CLASSES, ONE_BOX
from fcos.structures import Detections

# Metric names of each analysis, without the prefix val/<analysis>/.
NUMBERS: Final[Mapping[Analysis, tuple[str, ...]]] = {
    "class_agnostic": ("AP", *(f"AP{round(100 * threshold)}" for threshold in THRESHOLDS)),
    "proposals": tuple(LIMITS.values()),
    "score_iou": (
        *("pearson", "spearman", "calibration_error", "overconfident"),
        *(f"iou_of_{bin_ / NUM_BINS:.1f}" for bin_ in range(NUM_BINS)),
    ),
    "ambiguous": ("detections", "detections_of_different_classes"),
    "errors": ("AP50", *KINDS, "missed"),
}


def metric_names() -> dict[str, Analysis]:
    """Return every metric val/<analysis>/<number> that an analysis can give, with its analysis."""
    return {f"val/{analysis}/{number}": analysis for analysis, numbers in NUMBERS.items() for number in numbers}


def analyse(
    annotations: Annotations, detections: Mapping[int, Detections], names: Sequence[Analysis]
) -> dict[str, float]:
    """Compute the metrics val/<analysis>/<number> of the named analyses.

    All are in 0..1 but correlations (-1..1). Metrics without anything to measure are left out.
    """
    numbers: dict[str, float] = {}
    for name in names:
        match name:
            case "class_agnostic":
                numbers |= class_agnostic(annotations, detections)
            case "proposals":
                numbers |= proposals(annotations, detections)
            case "score_iou":
                numbers |= score_iou(annotations, detections)
            case "ambiguous":
                numbers |= ambiguous_detections(detections)
            case "errors":
                numbers |= tide_errors(annotations, detections)
    return numbers


def ambiguous_detections(detections: Mapping[int, Detections]) -> dict[str, float]:
    """Return val/ambiguous/detections and ..._of_different_classes.

    Both are fractions of all detections; empty without detections.
    """
    parts = [item.ambiguity for item in detections.values() if item.ambiguity is not None]
    ambiguity = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)
    if not len(ambiguity):
        return {}
    return {
        "val/ambiguous/detections": float((ambiguity != ONE_BOX).double().mean()),
        "val/ambiguous/detections_of_different_classes": float((ambiguity == DIFFERENT_CLASSES).double().mean()),
    }
