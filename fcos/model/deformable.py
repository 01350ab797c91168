"""Deformable convolutions (DCNv2): 3x3 convolutions that learn where they look, and how much it counts."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import deform_conv2d


class DeformableConv2d(nn.Module):
    """Takes the place of a convolution, whose weight it keeps; offsets begin at zero and modulation at a half.

    The state dict has the convolution's names, and the offsets' own.
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
        said = self.offsets(x)
        offset, modulation = said.split([2 * self.taps, self.taps], dim=1)
        # torchvision has no kernel for bf16 on every device, and positions want the precision anyway.
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
    """Put a deformable convolution into each residual block of some stages, for its second (3x3) one."""
    for stage in stages:
        for block in stage.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                block.conv2 = DeformableConv2d(block.conv2)  # type: ignore[assignment]
