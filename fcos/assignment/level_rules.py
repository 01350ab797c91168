"""Rules that assign a box to pyramid levels by the size of the whole box (v2 Table 7)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fcos.config.choices import Ends, LevelRule

# FPN's rule: a box of this sqrt(area) in pixels belongs to the level of stride 32 (k0 = 5).
FPN_SIZE = 224.0
FPN_STRIDE = 32

# (low, high) of a level in pixels; high is None where it has no upper end.
Range = tuple[float, float | None]


def fpn_ranges(strides: Sequence[int]) -> tuple[Range, ...]:
    """Return the range of sqrt(area) in pixels of each level; the outer levels are open-ended."""
    ends = [FPN_SIZE * stride / FPN_STRIDE for stride in strides[1:]]
    return tuple(zip([0.0, *ends], [*ends, None], strict=True))


def box_in_range(
    rule: LevelRule,
    width: Float[Tensor, "B M"],
    height: Float[Tensor, "B M"],
    low: Float[Tensor, " L"],
    high: Float[Tensor, " L"],
    ends: Ends,
) -> Bool[Tensor, "B M L"]:
    """Return whether each box's size lies in the range of each level, in pixels.

    The size is max(h, w) / 2, sqrt(h w) / 2 or, for fpn, sqrt(h w). fpn includes the lower end and excludes the upper
    one, whatever `ends` is.
    """
    side = torch.maximum(width, height) if rule == "longer_side" else (width * height).sqrt()
    if rule == "fpn":
        return (side[..., None] >= low) & (side[..., None] < high)
    size = side[..., None] / 2
    if ends == "closed":
        return (size >= low) & (size <= high)
    return (size > low) & (size < high)
