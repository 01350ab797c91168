"""ONNX forms of the operators of a traced detector that torch's exporter does not know."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from fcos.exported.graph.nms_operator import NO_CANDIDATE, float32_below

# Type of a boolean tensor, onnx.TensorProto.BOOL.
BOOL: Final = 9


def onnx_translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """Return the ONNX form of operators that torch's exporter does not know, by operator."""
    return {
        torch.ops.fcos_lab.kept_by_nms.default: _nms_in_onnx,
        torch.ops.torchvision.deform_conv2d.default: _deformable_in_onnx,
    }


def _nms_in_onnx(boxes: Any, scores: Any, groups: Any, num_groups: int, iou_threshold: float, limit: int) -> Any:
    """Build the graph of `kept_by_nms`: scores of B x groups x N, selected rows (image, group, box), a mask of them."""
    from onnxscript import onnx_opset

    op: Any = onnx_opset.opset18

    every_group = op.Constant(value_ints=list(range(num_groups)))
    of_group = op.Equal(
        op.Unsqueeze(groups, op.Constant(value_ints=[1])), op.Reshape(every_group, op.Constant(value_ints=[1, -1, 1]))
    )
    by_group = op.Where(
        of_group, op.Unsqueeze(scores, op.Constant(value_ints=[1])), op.Constant(value_float=NO_CANDIDATE)
    )
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
    from onnxscript import onnx_opset

    op: Any = onnx_opset.opset19

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
