"""Several boxes claim one location: the lowest cost wins it. What all assignments share."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.config.choices import BoxConvention, TieBreak
from fcos.geometry import areas
from fcos.structures import Targets

# A claim holds its cost, as a number that sorts like it, in the upper half and the box in the lower. Nobody's comes
# after all of them and ends in a lower half of ones, which is NO_OBJECT as a number with a sign.
HALF = 32
LOWER = (1 << HALF) - 1
NOBODY = (1 << 63) - 1


def nobody(batch: int, locations: int, device: torch.device) -> Int[Tensor, "B P"]:
    """The best claim on every location before the first is staked."""
    return torch.full((batch, locations), NOBODY, dtype=torch.int64, device=device)


def claim(costs: Int[Tensor, "*#N"], numbers: Int[Tensor, "*#N"]) -> Int[Tensor, "*#N"]:
    """Claims of the boxes, or whatever else is numbered; costs are whole numbers of 32 bits (see in_order)."""
    return (costs << HALF) | numbers


def stake(
    best: Int[Tensor, "B P"],
    places: Int[Tensor, "B M K"],
    costs: Float[Tensor, "B M K"],
    admitted: Bool[Tensor, "B M K"],
    first: int = 0,
) -> None:
    """Enter the claims of M boxes, of which the first is box `first`, each on K locations; `best` is changed."""
    boxes = torch.arange(first, first + places.shape[1], device=places.device)[:, None]
    claims = claim(in_order(costs), boxes).where(admitted, NOBODY)
    best.scatter_reduce_(1, places.flatten(1), claims.flatten(1), "amin")


def winners(best: Int[Tensor, "B P"]) -> Int[Tensor, "B P"]:
    """The box that staked the lowest cost on each location, of equal ones the first; NO_OBJECT where none did.

    Written over `best`.
    """
    return best.bitwise_left_shift_(HALF).bitwise_right_shift_(HALF)


def in_order(values: Float[Tensor, "*N"]) -> Int[Tensor, "*N"]:
    """Whole numbers of 32 bits with a sign that sort exactly as float32 numbers do, -0.0 just below 0.0."""
    bits = values.float().contiguous().view(torch.int32)
    # Negative floats grow with their bits, so all of these but the sign are turned round.
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()


def priority(targets: Targets, box_convention: BoxConvention, tie_break: TieBreak) -> Float[Tensor, "B M"]:
    """What boxes are ranked by, the first to win."""
    match tie_break:
        case "smallest_area":
            return areas(targets.boxes, box_convention)
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
