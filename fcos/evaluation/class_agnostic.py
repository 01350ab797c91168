"""Class-agnostic AP and recall of proposals (v1 Tables 6 and 7)."""

from collections.abc import Mapping

import numpy as np

from fcos.annotations.annotations import Annotations
from fcos.evaluation.coco import accumulate
from fcos.evaluation.metric_names import AGNOSTIC_THRESHOLDS, PROPOSAL_LIMITS
from fcos.structures import Detections


def class_agnostic(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/class_agnostic/AP and AP50 to AP90, all classes taken as one, of 100 detections per image."""
    tables = accumulate(annotations, detections, limits=(100,), by_class=False)
    precision = tables.precision[:, :, 0, 0, -1]
    rows = {"AP": precision}
    for threshold in AGNOSTIC_THRESHOLDS:
        is_threshold = np.isclose(tables.thresholds, threshold)
        rows[f"AP{round(100 * threshold)}"] = precision[is_threshold]
    return {f"val/class_agnostic/{name}": float(row.mean()) for name, row in rows.items() if (row > -1).all()}


def proposals(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/proposals/AR100 and AR1k: class-agnostic recall, mean over IoU 0.5 to 0.95.

    AR1k is of the available detections, at most 1000; see postprocess.max_detections.
    """
    recall = accumulate(annotations, detections, limits=tuple(PROPOSAL_LIMITS), by_class=False).recall[:, 0, 0]
    rows = {f"val/proposals/{name}": recall[:, index] for index, name in enumerate(PROPOSAL_LIMITS.values())}
    return {key: float(row.mean()) for key, row in rows.items() if (row > -1).all()}
