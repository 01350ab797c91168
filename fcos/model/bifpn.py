"""BiFPN (EfficientDet, section 3): cells that fuse the levels downwards and upwards with learned weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config.choices import ExtraLevelsFrom, PyramidNorm
from fcos.model.fpn import plain_conv
from fcos.model.norm import batch_norm

# As in EfficientDet's code: the fused weights are divided by their sum.
EPSILON = 1e-4


class BiFPN(nn.Module):
    """C3 to C5 in, P3 to P5 and further levels out; plain 3x3 convolutions (v2 section 4.3), not depthwise ones.

    The further levels are max-pooled from C5's or P5's projection.
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
        self.projections = nn.ModuleList(_projection(each, channels, norm) for each in in_channels)
        from_c5 = extra_levels > 0 and extra_levels_from == "c5"
        self.extra_projection = _projection(in_channels[-1], channels, norm) if from_c5 else None
        self.extra_levels = extra_levels
        levels = len(in_channels) + extra_levels
        self.cells = nn.Sequential(*(Cell(channels, levels, norm) for _ in range(cells)))

    def forward(self, features: dict[str, Float[Tensor, "B _ _ _"]]) -> dict[str, Float[Tensor, "B C _ _"]]:
        inputs = list(features.values())
        levels = [project(x) for project, x in zip(self.projections, inputs, strict=True)]
        further = levels[-1] if self.extra_projection is None else self.extra_projection(inputs[-1])
        for _ in range(self.extra_levels):
            further = halved(further)
            levels.append(further)
        return {f"p{index}": x for index, x in enumerate(self.cells(levels))}


class Cell(nn.Module):
    """One pass from the coarsest level to the finest and back, each level also fed by what it was before."""

    def __init__(self, channels: int, levels: int, norm: PyramidNorm) -> None:
        super().__init__()
        self.down_weights = nn.Parameter(torch.ones(levels - 1, 2))
        # Input, what came down, and the finer level; the coarsest has nothing that came down.
        self.up_weights = nn.Parameter(torch.ones(levels - 1, 3))
        self.down = nn.ModuleList(_fusion(channels, norm) for _ in range(levels - 1))
        self.up = nn.ModuleList(_fusion(channels, norm) for _ in range(levels - 1))

    def forward(self, levels: list[Float[Tensor, "B C _ _"]]) -> list[Float[Tensor, "B C _ _"]]:
        fused = [levels[-1]]
        for index in reversed(range(len(levels) - 1)):
            x = levels[index]
            coarser = F.interpolate(fused[0], size=x.shape[-2:], mode="nearest")
            fused.insert(0, self.down[index](_weighted(self.down_weights[index], [x, coarser])))
        outputs = [fused[0]]
        for index, (x, down) in enumerate(zip(levels[1:], fused[1:], strict=True)):
            parts = [x, down, halved(outputs[-1])]
            weights = self.up_weights[index]
            if index == len(levels) - 2:
                parts, weights = [x, parts[2]], weights[::2]
            outputs.append(self.up[index](_weighted(weights, parts)))
        return outputs


def _weighted(weights: Float[Tensor, " N"], parts: Sequence[Tensor]) -> Tensor:
    """Fast normalised fusion."""
    positive = weights.relu()
    shares = positive / (positive.sum() + EPSILON)
    return torch.stack([share * part for share, part in zip(shares.unbind(), parts, strict=True)]).sum(0)


def halved(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Half the rows and columns, rounded up."""
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def _projection(in_channels: int, channels: int, norm: PyramidNorm) -> nn.Module:
    return nn.Sequential(plain_conv(in_channels, channels, 1), _norm(norm, channels))


def _fusion(channels: int, norm: PyramidNorm) -> nn.Module:
    return nn.Sequential(nn.SiLU(), plain_conv(channels, channels, 3), _norm(norm, channels))


def _norm(norm: PyramidNorm, channels: int) -> nn.Module:
    return nn.Identity() if norm == "none" else batch_norm(norm)(channels)
