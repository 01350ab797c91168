"""The analyses that a configuration names, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Final

from fcos.analyses.ambiguous import ambiguous
from fcos.analyses.class_agnostic import LIMITS, THRESHOLDS, class_agnostic, proposals
from fcos.analyses.errors import KINDS, errors
from fcos.analyses.score_iou import BINS, score_iou
from fcos.choices import Analysis
from fcos.data.annotations import Annotations
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
