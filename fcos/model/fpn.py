"""Feature pyramid network: from C2 to C5 to P2 to P5 and extra levels."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from fcos.config.choices import ExtraLevelsFrom, PyramidNorm
from fcos.model.norm import batch_norm


class ExtraLevels(ExtraFPNBlock):  # type: ignore[misc]  # torchvision is untyped
    """P6, P7, ... by 3x3 convolutions of stride 2 from P5 (FCOS) or C5 (RetinaNet), with ReLU between them.

    torchvision's LastLevelP6P7 has exactly two levels, and uses C5 instead of P5 where both have the same channels.
    """

    def __init__(self, in_channels: int, out_channels: int, *, count: int, source: ExtraLevelsFrom) -> None:
        super().__init__()
        self.source = source
        inputs = [in_channels] + [out_channels] * (count - 1)
        self.convs = nn.ModuleList(plain_conv(channels, out_channels, 3, stride=2) for channels in inputs)

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        extra = [self.convs[0](results[-1] if self.source == "p5" else x[-1])]
        for conv in self.convs[1:]:
            extra.append(conv(extra[-1].relu()))
        return [*results, *extra], [*names, *(f"extra{index}" for index in range(len(extra)))]


def plain_conv(in_channels: int, out_channels: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with a bias, initialised like those of torchvision's pyramids."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=size, stride=stride, padding=size // 2)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def build_fpn(
    in_channels: Sequence[int],
    channels: int,
    *,
    extra_levels: int,
    extra_levels_from: ExtraLevelsFrom,
    norm: PyramidNorm = "none",
) -> FeaturePyramidNetwork:
    """Build torchvision's pyramid over feature maps, finest first, with `extra_levels` coarser ones."""
    extra = None
    if extra_levels:
        source_channels = channels if extra_levels_from == "p5" else in_channels[-1]
        extra = ExtraLevels(source_channels, channels, count=extra_levels, source=extra_levels_from)
    layer = None if norm == "none" else batch_norm(norm)
    return FeaturePyramidNetwork(list(in_channels), channels, extra_blocks=extra, norm_layer=layer)
