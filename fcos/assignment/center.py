"""One location for each box, the one nearest to its center: CenterNet's and YOLOv1's choice, on FCOS's levels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.level_rules import Range
from fcos.config.choices import BoxConvention, Ends
from fcos.geometry import areas, strictly_inside
from fcos.structures import Locations, Targets


def match(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Ends,
    box_convention: BoxConvention,
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT.

    On the level in whose range half the longest side lies, the location nearest to the box's center answers; with
    locations half a stride in, that is the cell that holds the center. A box between the locations, with none inside
    of it, has none, because distances to its sides are not negative. The smallest of several boxes wins, ties to the
    first.
    """
    best = conflicts.nobody(len(targets.boxes), len(locations.xy), targets.boxes.device)
    places, admitted = _own_places(targets.boxes, locations, ranges, ends)
    cost = areas(targets.boxes, box_convention)[..., None].expand(places.shape)
    conflicts.stake(best, places, cost, admitted & targets.valid[..., None])
    return conflicts.winners(best)


def claims(
    boxes: Float[Tensor, "M 4"], locations: Locations, ranges: Sequence[Range], ends: Ends
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Every pair (box, location) that `match` chooses from, as `fcos.claims`; their number is read back."""
    places, admitted = _own_places(boxes[None], locations, ranges, ends)
    box, level = admitted[0].nonzero(as_tuple=True)
    return box, places[0, box, level]


def _own_places(
    boxes: Float[Tensor, "B M 4"], locations: Locations, ranges: Sequence[Range], ends: Ends
) -> tuple[Int[Tensor, "B M L"], Bool[Tensor, "B M L"]]:
    """The location nearest to each box's center on every level, and whether it answers for the box."""
    near, far = boxes[..., :2], boxes[..., 2:]
    half = (far - near).amax(-1) / 2
    places, admitted = [], []
    start = 0
    grids = zip(locations.shapes, locations.origins, locations.steps, ranges, strict=True)
    for (rows, columns), origin, step, (low, high) in grids:
        column = _nearest((near[..., 0] + far[..., 0]) / 2, origin[0], step[0], columns)
        row = _nearest((near[..., 1] + far[..., 1]) / 2, origin[1], step[1], rows)
        place = start + row * columns + column
        end = math.inf if high is None else high
        held = (half >= low) & (half <= end) if ends == "closed" else (half > low) & (half < end)
        places.append(place)
        admitted.append(held & strictly_inside(locations.xy[place], boxes))
        start += rows * columns
    return torch.stack(places, dim=-1), torch.stack(admitted, dim=-1)


def _nearest(center: Tensor, origin: float, step: float, size: int) -> Tensor:
    """Position in one axis; halfway between two it is the later, as for a cell that begins there."""
    return ((center - origin) / step + 0.5).floor().clamp(0, size - 1).long()
