"""How many detections come from locations that several boxes claim (v1 section 4.1.1)."""

from collections.abc import Mapping

import torch

from fcos.oracle import DIFFERENT_CLASSES, ONE_BOX
from fcos.structures import Detections


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
