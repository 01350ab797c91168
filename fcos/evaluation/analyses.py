"""The analyses that a configuration names, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from fcos.config.choices import Analysis
from fcos.data.annotations import Annotations
from fcos.evaluation.calibration import BINS, score_iou
from fcos.evaluation.class_agnostic import LIMITS, THRESHOLDS, class_agnostic, proposals
from fcos.evaluation.tide import KINDS, errors
from fcos.postprocess.oracle import DIFFERENT_CLASSES, ONE_BOX
from fcos.structures import Detections

# The numbers that each can give, without val/<analysis>/.
NUMBERS: Final[Mapping[Analysis, tuple[str, ...]]] = {
    "class_agnostic": ("AP", *(f"AP{round(100 * threshold)}" for threshold in THRESHOLDS)),
    "proposals": tuple(LIMITS.values()),
    "score_iou": (
        *("pearson", "spearman", "calibration_error", "overconfident"),
        *(f"iou_of_{bin_ / BINS:.1f}" for bin_ in range(BINS)),
    ),
    "ambiguous": ("detections", "detections_of_different_classes"),
    "errors": ("AP50", *KINDS, "missed"),
}


def metric_names() -> dict[str, Analysis]:
    """Every metric that an analysis can give, as val/<analysis>/<number>, and the analysis."""
    return {f"val/{analysis}/{number}": analysis for analysis, numbers in NUMBERS.items() for number in numbers}


def analyse(
    annotations: Annotations, detections: Mapping[int, Detections], names: Sequence[Analysis]
) -> dict[str, float]:
    """val/<analysis>/<number>, all in 0..1 but correlations (-1..1); what nothing can be measured on is left out."""
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
                numbers |= ambiguous(detections)
            case "errors":
                numbers |= errors(annotations, detections)
    return numbers


def ambiguous(detections: Mapping[int, Detections]) -> dict[str, float]:
    """val/ambiguous/detections, and .._of_different_classes: shares of all detections; empty without any."""
    marks = [found.ambiguity for found in detections.values() if found.ambiguity is not None]
    together = torch.cat(marks) if marks else torch.zeros(0, dtype=torch.long)
    if not len(together):
        return {}
    return {
        "val/ambiguous/detections": float((together != ONE_BOX).double().mean()),
        "val/ambiguous/detections_of_different_classes": float((together == DIFFERENT_CLASSES).double().mean()),
    }
