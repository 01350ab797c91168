"""BiFPN (EfficientDet, section 3): cells that fuse the levels top-down and bottom-up with learned weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config.choices import ExtraLevelsFrom, PyramidNorm
from fcos.model.fpn import plain_conv
from fcos.model.norm import batch_norm

# Added to the sum of the weights, as in EfficientDet's code.
EPSILON = 1e-4


class BiFPN(nn.Module):
    """From C3 to C5 to P3 to P5 and extra levels.

    Plain 3x3 convolutions (v2 section 4.3) instead of depthwise ones. The extra levels are max-pooled from the
    projection of C5 or P5.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        extra_levels: int,
        extra_levels_from: ExtraLevelsFrom,
        cells: int,
        norm: PyramidNorm,
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList(_projection(width, channels, norm) for width in in_channels)
        from_c5 = extra_levels > 0 and extra_levels_from == "c5"
        self.extra_projection = _projection(in_channels[-1], channels, norm) if from_c5 else None
        self.extra_levels = extra_levels
        levels = len(in_channels) + extra_levels
        self.cells = nn.Sequential(*(Cell(channels, levels, norm) for _ in range(cells)))

    def forward(self, features: dict[str, Float[Tensor, "B _ _ _"]]) -> dict[str, Float[Tensor, "B C _ _"]]:
        inputs = list(features.values())
        levels = [project(x) for project, x in zip(self.projections, inputs, strict=True)]
        extra = levels[-1] if self.extra_projection is None else self.extra_projection(inputs[-1])
        for _ in range(self.extra_levels):
            extra = downsample(extra)
            levels.append(extra)
        return {f"p{index}": x for index, x in enumerate(self.cells(levels))}


class Cell(nn.Module):
    """One top-down and one bottom-up pass, each level fused with its input."""

    def __init__(self, channels: int, levels: int, norm: PyramidNorm) -> None:
        super().__init__()
        self.down_weights = nn.Parameter(torch.ones(levels - 1, 2))
        # Input, top-down feature, and the finer level; the coarsest level has no top-down feature.
        self.up_weights = nn.Parameter(torch.ones(levels - 1, 3))
        self.down = nn.ModuleList(_fusion(channels, norm) for _ in range(levels - 1))
        self.up = nn.ModuleList(_fusion(channels, norm) for _ in range(levels - 1))

    def forward(self, levels: list[Float[Tensor, "B C _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        fused = [levels[-1]]
        for index in reversed(range(len(levels) - 1)):
            x = levels[index]
            coarser = F.interpolate(fused[0], size=x.shape[-2:], mode="nearest")
            fused.insert(0, self.down[index](_fuse(self.down_weights[index], [x, coarser])))
        outputs = [fused[0]]
        for index, (x, down) in enumerate(zip(levels[1:], fused[1:], strict=True)):
            parts = [x, down, downsample(outputs[-1])]
            weights = self.up_weights[index]
            if index == len(levels) - 2:
                parts, weights = [x, parts[2]], weights[::2]
            outputs.append(self.up[index](_fuse(weights, parts)))
        return outputs


def _fuse(weights: Float[Tensor, " N"], parts: Sequence[Tensor]) -> Tensor:
    """Fuse feature maps by fast normalised fusion."""
    positive_weights = weights.relu()
    fractions = positive_weights / (positive_weights.sum() + EPSILON)
    return torch.stack([fraction * part for fraction, part in zip(fractions.unbind(), parts, strict=True)]).sum(0)


def downsample(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Halve rows and columns, rounded up."""
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def _projection(in_channels: int, channels: int, norm: PyramidNorm) -> nn.Module:
    return nn.Sequential(plain_conv(in_channels, channels, 1), _norm(norm, channels))


def _fusion(channels: int, norm: PyramidNorm) -> nn.Module:
    return nn.Sequential(nn.SiLU(), plain_conv(channels, channels, 3), _norm(norm, channels))


def _norm(norm: PyramidNorm, channels: int) -> nn.Module:
    return nn.Identity() if norm == "none" else batch_norm(norm)(channels)
