"""Which of several boxes a location takes: claims as numbers, of which the least wins."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.choices import Corners, TieBreak
from fcos.contest import LOWER, NOBODY, claim, in_order
from fcos.geometry import areas
from fcos.structures import Targets


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
    claims: Int[Tensor, "B M 1 1 1"],
    boxes: Float[Tensor, "B M 4"],
    xy: Float[Tensor, "P 2"],
    index: Int[Tensor, "B M L rows columns"],
) -> Int[Tensor, "B M L rows columns"]:
    """The same boxes' claims at the cost of the location's squared distance to the box's center."""
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None, None, None]
    distance = (xy[index] - centers).square().sum(-1)
    return claim(in_order(distance), claims & LOWER).where(claims != NOBODY, NOBODY)
