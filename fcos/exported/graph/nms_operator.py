"""Non-maximum suppression as one operator of a traced graph, without shapes that depend on scores."""

import math

import numpy as np
import torch
from torch import Tensor

from fcos.postprocess.nms import standard_nms

# Score of what is no candidate: below every score, which are in 0..1.
NO_CANDIDATE = -1.0


# Tensors without shapes: torch reads the operator's schema from these annotations.
@torch.library.custom_op("fcos_lab::kept_by_nms", mutates_args=())
def kept_by_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, num_groups: int, iou_threshold: float, limit: int
) -> Tensor:
    """Return which boxes NMS within groups keeps, at least the best `limit` of them.

    Shapes: boxes B x N x 4, scores, groups and result B x N. Boxes of a score below 0 are never kept and suppress
    nothing. Equal scores go by index. Groups are 0..num_groups - 1.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for row in range(len(boxes)):
        order = scores[row].argsort(descending=True, stable=True)
        order = order[scores[row, order] >= 0]
        keep = standard_nms(boxes[row, order], scores[row, order], groups[row, order], iou_threshold, limit)
        kept[row, order[keep]] = True
    return kept


@kept_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, groups: Tensor, num_groups: int, iou_threshold: float, limit: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def float32_below(threshold: float) -> float:
    """Return the largest float32 that is not above a threshold.

    A float32 is above the one exactly if it is above the other: torchvision compares IoUs with a double, ONNX with a
    float32, and 3 / 5 in float32 is above the double 0.6.
    """
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-math.inf)))
