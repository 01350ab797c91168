"""Non-maximum suppression as one operator of a graph: by torchvision here, by NonMaxSuppression in ONNX."""

import math
from collections.abc import Callable, Mapping
from typing import Any

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


def onnx_translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """Return the ONNX form of operators that torch's exporter does not know, by operator."""
    return {
        torch.ops.fcos_lab.kept_by_nms.default: _nms_in_onnx,
        torch.ops.torchvision.deform_conv2d.default: _deformable_in_onnx,
    }


def _nms_in_onnx(
    boxes: Any, scores: Any, groups: Any, num_groups: int, iou_threshold: float, limit: int
) -> Any:
    """Build the graph of `kept_by_nms`: scores of B x groups x N, selected rows (image, group, box), a mask of them."""
    from onnxscript.onnx_opset import opset18 as op

    every_group = op.Constant(value_ints=list(range(num_groups)))
    of_group = op.Equal(op.Unsqueeze(groups, op.Constant(value_ints=[1])), op.Reshape(every_group, op.Constant(value_ints=[1, -1, 1])))
    by_group = op.Where(of_group, op.Unsqueeze(scores, op.Constant(value_ints=[1])), op.Constant(value_float=NO_CANDIDATE))
    selected = op.NonMaxSuppression(
        boxes,
        by_group,
        op.Constant(value_ints=[limit]),
        op.Constant(value_floats=[float32_below(iou_threshold)]),
        op.Constant(value_floats=[NO_CANDIDATE / 2]),
    )
    indices = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)
    rows = op.Shape(indices, start=0, end=1)
    none = op.Expand(op.Cast(op.Constant(value_int=0), to=BOOL), op.Shape(scores))
    return op.ScatterND(none, indices, op.Expand(op.Cast(op.Constant(value_int=1), to=BOOL), rows))


# onnx.TensorProto.BOOL
BOOL = 9


def _deformable_in_onnx(
    input: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    """Build the graph of torchvision's deformable convolution: DeformConv, with the same order of offsets."""
    from onnxscript.onnx_opset import opset19 as op

    return op.DeformConv(
        input,
        weight,
        offset,
        bias,
        mask if use_mask else None,
        dilations=[dilation_h, dilation_w],
        group=groups,
        offset_group=offset_groups,
        pads=[pad_h, pad_w, pad_h, pad_w],
        strides=[stride_h, stride_w],
    )
