"""Detections and proposals whatever their class (v1 Tables 6 and 7)."""

from collections.abc import Mapping

import numpy as np

from fcos.data.annotations import Annotations
from fcos.evaluation.coco import accumulated
from fcos.structures import Detections

# AP at these IoU thresholds; v1's Table 7 has 50, 75 and 90.
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
# Proposals an image, and their names.
LIMITS = {100: "AR100", 1000: "AR1k"}


def class_agnostic(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """val/class_agnostic/AP, AP50 to AP90: all classes taken for one, 100 detections an image."""
    evaluator = accumulated(annotations, detections, limits=(100,), by_class=False)
    precision = evaluator.eval["precision"][:, :, 0, 0, -1]
    rows = {"AP": precision}
    for threshold in THRESHOLDS:
        at = np.isclose(evaluator.params.iouThrs, threshold)
        rows[f"AP{round(100 * threshold)}"] = precision[at]
    return {f"val/class_agnostic/{name}": float(row.mean()) for name, row in rows.items() if (row > -1).all()}


def proposals(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """val/proposals/AR100 and AR1k: recall of boxes whatever their class, mean over IoU 0.5 to 0.95.

    AR1k is of as many detections as there are, 1000 at most: see postprocess.max_detections.
    """
    evaluator = accumulated(annotations, detections, limits=tuple(LIMITS), by_class=False)
    recall = evaluator.eval["recall"][:, 0, 0]
    found = {f"val/proposals/{name}": recall[:, place] for place, name in enumerate(LIMITS.values())}
    return {key: float(row.mean()) for key, row in found.items() if (row > -1).all()}
