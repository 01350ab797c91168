"""The analyses that a configuration names, one after the other."""

from collections.abc import Mapping, Sequence

from fcos.analyses.ambiguous import ambiguous
from fcos.analyses.class_agnostic import class_agnostic, proposals
from fcos.analyses.errors import errors
from fcos.analyses.score_iou import score_iou
from fcos.config import Analysis
from fcos.data.annotations import Annotations
from fcos.structures import Detections


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
