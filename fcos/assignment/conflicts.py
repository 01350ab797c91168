"""Resolve conflicts between boxes that are candidates for one location: the lowest cost wins."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.config.choices import BoxConvention, TieBreak
from fcos.geometry import areas
from fcos.structures import Targets

# A key is an int64, cost << INDEX_BITS | index, so that the smallest key is the lowest cost and, of equal costs, the
# lowest index. EMPTY_KEY is larger than every other key, and its lower half decodes to -1, which is NO_OBJECT.
INDEX_BITS = 32
INDEX_MASK = (1 << INDEX_BITS) - 1
EMPTY_KEY = (1 << 63) - 1


def empty_keys(batch: int, locations: int, device: torch.device) -> Int[Tensor, "B P"]:
    """Return the keys of locations that no box is assigned to."""
    return torch.full((batch, locations), EMPTY_KEY, dtype=torch.int64, device=device)


def pack_key(costs: Int[Tensor, "*#N"], indices: Int[Tensor, "*#N"]) -> Int[Tensor, "*#N"]:
    """Pack costs, signed 32-bit integers (see `sortable_int32`), and indices into int64 keys."""
    return (costs << INDEX_BITS) | indices


def unpack_index(keys: Int[Tensor, "B P"]) -> Int[Tensor, "B P"]:
    """Return the index in each key, NO_OBJECT for EMPTY_KEY; writes the result over `keys`."""
    return keys.bitwise_left_shift_(INDEX_BITS).bitwise_right_shift_(INDEX_BITS)


def scatter_min(
    keys: Int[Tensor, "B P"],
    locations: Int[Tensor, "B M K"],
    costs: Float[Tensor, "B M K"],
    is_candidate: Bool[Tensor, "B M K"],
    first: int = 0,
) -> None:
    """Lower `keys` in place by the candidate locations of M boxes, whose indices start at `first`."""
    boxes = torch.arange(first, first + locations.shape[1], device=locations.device)[:, None]
    candidates = pack_key(sortable_int32(costs), boxes).where(is_candidate, EMPTY_KEY)
    keys.scatter_reduce_(1, locations.flatten(1), candidates.flatten(1), "amin")


def sortable_int32(values: Float[Tensor, "*N"]) -> Int[Tensor, "*N"]:
    """Map float32 values to integers in the range of int32 that sort the same.

    -0.0 sorts just below 0.0.
    """
    bits = values.float().contiguous().view(torch.int32)
    # The bits of negative floats grow with their magnitude, so all but the sign bit are inverted.
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()


def ranking_cost(targets: Targets, box_convention: BoxConvention, tie_break: TieBreak) -> Float[Tensor, "B M"]:
    """Return the cost that ranks boxes before any location is tested.

    The lowest cost wins.
    """
    match tie_break:
        case "smallest_area":
            return areas(targets.boxes, box_convention)
        case "closest_center":
            return targets.boxes.new_zeros(targets.valid.shape)
        case "random":
            return torch.rand(targets.valid.shape, device=targets.boxes.device)


def with_center_distance(
    keys: Int[Tensor, "B M 1 1 1"],
    boxes: Float[Tensor, "B M 4"],
    xy: Float[Tensor, "P 2"],
    index: Int[Tensor, "B M L rows columns"],
) -> Int[Tensor, "B M L rows columns"]:
    """Replace the cost in keys by the squared distance of location and box center.

    EMPTY_KEY is kept.
    """
    centers = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, :, None, None, None]
    distance = (xy[index] - centers).square().sum(-1)
    return pack_key(sortable_int32(distance), keys & INDEX_MASK).where(keys != EMPTY_KEY, EMPTY_KEY)
