"""Give convolutions with TensorFlow's SAME padding the constant padding that they have on canvases of a file."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcos.model.detector import FCOS
from fcos.model.timm_backbone import TimmBackbone


def with_constant_padding(detector: FCOS, size_divisor: int) -> FCOS:
    """Replace convolutions that compute their padding from the input's size, in place; returns the detector.

    timm computes it with divisions of floats, which torch.export simplifies for many minutes where sizes are free. On
    canvases whose sides are multiples of `size_divisor` the sides of an input are multiples of the convolution's
    stride, so that the padding is the same on each. Convolutions of which this is not so stay.
    """
    backbone = detector.backbone
    if not isinstance(backbone, TimmBackbone):
        return detector
    from timm.layers.conv2d_same import Conv2dSame

    convs = [module for module in backbone.modules() if isinstance(module, Conv2dSame)]
    # Other networks need not take a canvas of one block, which may be a pixel.
    constant = _with_whole_strides(backbone, convs, size_divisor) if convs else set()
    for parent in list(backbone.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, Conv2dSame) and conv in constant:
                setattr(parent, name, _with_padding(conv))
    return detector


def _with_whole_strides(backbone: TimmBackbone, convs: Sequence[nn.Conv2d], size_divisor: int) -> set[nn.Conv2d]:
    """Return the convolutions whose inputs have sides that are multiples of their stride on each canvas."""
    # In the order of use; a module that is not used has no sides.
    sides: dict[nn.Conv2d, tuple[int, int]] = {}

    def note_sides(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        sides[module] = inputs[0].shape[-2], inputs[0].shape[-1]

    hooks = [conv.register_forward_pre_hook(note_sides) for conv in convs]
    with torch.no_grad():
        # One block by two: where a side is not doubled, sides on larger canvases are no multiples of those on a block.
        backbone(torch.zeros(1, 3, size_divisor, 2 * size_divisor))
    for hook in hooks:
        hook.remove()
    whole: set[nn.Conv2d] = set()
    for conv, (height, width) in sides.items():
        if width != 2 * height or any(height % step for step in conv.stride):
            # Behind it sides are rounded, which may not show on a canvas of two blocks.
            break
        whole.add(conv)
    return whole


def _with_padding(conv: nn.Conv2d) -> nn.Module:
    """Return a plain convolution with the same weights: SAME pads an input of n strides to give n outputs."""
    kernel, stride, dilation = conv.kernel_size, conv.stride, conv.dilation
    totals = [max((k - 1) * d + 1 - s, 0) for k, s, d in zip(kernel, stride, dilation, strict=True)]
    before = [total // 2 for total in totals]
    after = [total - first for total, first in zip(totals, before, strict=True)]
    padding = tuple(before) if before == after else 0
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, kernel, stride, padding, dilation, conv.groups,  # type: ignore[arg-type]
        bias=conv.bias is not None, device="meta",
    )  # fmt: skip
    plain.weight, plain.bias = conv.weight, conv.bias
    if before == after:
        return plain.eval()
    # Left, right, top, bottom.
    return nn.Sequential(nn.ZeroPad2d((before[1], after[1], before[0], after[0])), plain).eval()
