"""Class-agnostic AP and recall of proposals (v1 Tables 6 and 7)."""

from collections.abc import Mapping

import numpy as np

from fcos.data.annotations import Annotations
from fcos.evaluation.coco import accumulate
from fcos.structures import Detections

# IoU thresholds of AP; v1's Table 7 has 50, 75 and 90.
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
# Proposals per image -> metric name.
LIMITS = {100: "AR100", 1000: "AR1k"}


def class_agnostic(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/class_agnostic/AP and AP50 to AP90, all classes taken as one, of 100 detections per image."""
    evaluator = accumulate(annotations, detections, limits=(100,), by_class=False)
    precision = evaluator.eval["precision"][:, :, 0, 0, -1]
    rows = {"AP": precision}
    for threshold in THRESHOLDS:
        is_threshold = np.isclose(evaluator.params.iouThrs, threshold)
        rows[f"AP{round(100 * threshold)}"] = precision[is_threshold]
    return {f"val/class_agnostic/{name}": float(row.mean()) for name, row in rows.items() if (row > -1).all()}


def proposals(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/proposals/AR100 and AR1k: class-agnostic recall, mean over IoU 0.5 to 0.95.

    AR1k is of the available detections, at most 1000; see postprocess.max_detections.
    """
    evaluator = accumulate(annotations, detections, limits=tuple(LIMITS), by_class=False)
    recall = evaluator.eval["recall"][:, 0, 0]
    rows = {f"val/proposals/{name}": recall[:, index] for index, name in enumerate(LIMITS.values())}
    return {key: float(row.mean()) for key, row in rows.items() if (row > -1).all()}
