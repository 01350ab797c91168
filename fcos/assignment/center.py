"""Assign each box to the one location nearest to its center, on FCOS's levels.

CenterNet and YOLOv1 do the same on their grids.
"""

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


def match_center(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Ends,
    box_convention: BoxConvention,
) -> Int[Tensor, "B P"]:
    """Return the index of the box assigned to each location, or NO_OBJECT.

    A box belongs to the level whose range holds half its longest side; there it is assigned to the location nearest to
    its center (with half_stride locations: the cell that holds the center). A box without a location strictly inside
    stays unassigned, since distances to its sides would not be positive. Of several boxes at one location the smallest
    is taken, the first of equals.
    """
    keys = conflicts.empty_keys(len(targets.boxes), len(locations.xy), targets.boxes.device)
    nearest, is_candidate = _nearest_locations(targets.boxes, locations, ranges, ends)
    cost = areas(targets.boxes, box_convention)[..., None].expand(nearest.shape)
    conflicts.scatter_min(keys, nearest, cost, is_candidate & targets.valid[..., None])
    return conflicts.unpack_index(keys)


def center_candidates(
    boxes: Float[Tensor, "M 4"], locations: Locations, ranges: Sequence[Range], ends: Ends
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Return all candidate pairs (box, location) of `match_center`, as `fcos_candidates` does."""
    nearest, is_candidate = _nearest_locations(boxes[None], locations, ranges, ends)
    box, level = is_candidate[0].nonzero(as_tuple=True)
    return box, nearest[0, box, level]


def _nearest_locations(
    boxes: Float[Tensor, "B M 4"], locations: Locations, ranges: Sequence[Range], ends: Ends
) -> tuple[Int[Tensor, "B M L"], Bool[Tensor, "B M L"]]:
    """Return the location nearest to each box's center on every level, and whether it is a candidate."""
    near, far = boxes[..., :2], boxes[..., 2:]
    half = (far - near).amax(-1) / 2
    parts, candidate_parts = [], []
    start = 0
    grids = zip(locations.shapes, locations.origins, locations.steps, ranges, strict=True)
    for (rows, columns), origin, step, (low, high) in grids:
        column = _nearest((near[..., 0] + far[..., 0]) / 2, origin[0], step[0], columns)
        row = _nearest((near[..., 1] + far[..., 1]) / 2, origin[1], step[1], rows)
        index = start + row * columns + column
        end = math.inf if high is None else high
        in_range = (half >= low) & (half <= end) if ends == "closed" else (half > low) & (half < end)
        parts.append(index)
        candidate_parts.append(in_range & strictly_inside(locations.xy[index], boxes))
        start += rows * columns
    return torch.stack(parts, dim=-1), torch.stack(candidate_parts, dim=-1)


def _nearest(center: Tensor, origin: float, step: float, size: int) -> Tensor:
    """Return the nearest grid position in one axis.

    Of two equally near ones it is the later, as a cell begins there.
    """
    return ((center - origin) / step + 0.5).floor().clamp(0, size - 1).long()
