"""Run the configured analyses of detections."""

from collections.abc import Mapping, Sequence

import torch

from fcos.annotations.annotations import Annotations
from fcos.config.choices import Analysis
from fcos.evaluation.calibration import score_iou
from fcos.evaluation.class_agnostic import class_agnostic, proposals
from fcos.evaluation.tide import tide_errors
from fcos.postprocess.oracle import DIFFERENT_CLASSES, ONE_BOX
from fcos.structures import Detections


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
            case "cost":
                pass  # measured while detecting, see cost.py
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
