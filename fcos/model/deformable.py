"""Deformable convolutions (DCNv2): 3x3 convolutions with learned sampling offsets and modulation."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import deform_conv2d


class DeformableConv2d(nn.Module):
    """Replaces a convolution and keeps its weight; offsets start at zero and modulation at a half.

    The state dict has the names of the convolution, and those of the offsets.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        taps = conv.kernel_size[0] * conv.kernel_size[1]
        self.offsets = nn.Conv2d(
            conv.in_channels, 3 * taps, conv.kernel_size, conv.stride, conv.padding, conv.dilation  # type: ignore[arg-type]
        )  # fmt: skip
        nn.init.zeros_(self.offsets.weight)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.bias)
        self.offsets.requires_grad_(conv.weight.requires_grad)
        self.taps = taps

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        predicted = self.offsets(x)
        offset, modulation = predicted.split([2 * self.taps, self.taps], dim=1)
        # torchvision has no bf16 kernel on every device, and positions need the precision anyway.
        result: Tensor = deform_conv2d(
            x.float(),
            offset.float(),
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            mask=modulation.float().sigmoid(),
        )
        return result.to(x.dtype)


def deform_stages(stages: Sequence[nn.Module]) -> None:
    """Replace the second (3x3) convolution of each residual block of some stages by a deformable one."""
    for stage in stages:
        for block in stage.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                block.conv2 = DeformableConv2d(block.conv2)
