"""Which of several boxes a location takes: claims as numbers, of which the least wins."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.choices import Corners, TieBreak
from fcos.geometry import areas
from fcos.structures import Targets

# A claim holds a box's rank in its upper half and the index in its lower. Nobody's comes after all of them and ends
# in a lower half of ones, which is NO_OBJECT as a number with a sign.
HALF = 32
LOWER = (1 << HALF) - 1
NOBODY = (1 << 63) - 1


def priority(targets: Targets, corners: Corners, tie_break: TieBreak) -> Float[Tensor, "B M"]:
    """What boxes are ranked by, the first to win."""
    match tie_break:
        case "smallest_area":
            return areas(targets.boxes, corners)
        case "closest_center":
            return targets.boxes.new_zeros(targets.valid.shape)
        case "random":
            return torch.rand(targets.valid.shape, device=targets.boxes.device)


def by_distance(
    claim: Int[Tensor, "B M 1 1 1"],
    boxes: Float[Tensor, "B M 4"],
    xy: Float[Tensor, "P 2"],
    index: Int[Tensor, "B M L rows columns"],
) -> Int[Tensor, "B M L rows columns"]:
    """Claims with the location's squared distance to the box's center in the upper half instead of the rank."""
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None, None, None]
    # Of numbers that are not negative the bits are in the same order.
    distance = (xy[index] - centers).square().sum(-1).view(torch.int32).long() << HALF
    return torch.where(claim == NOBODY, NOBODY, distance + (claim & LOWER))
