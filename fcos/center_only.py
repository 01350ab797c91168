"""One location for each box, the one nearest to its center: CenterNet's and YOLOv1's choice, on FCOS's levels."""

import math
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from fcos import contest
from fcos.geometry import areas
from fcos.structures import Locations, Targets

Range = tuple[float, float | None]


def match(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    corners: Literal["plain", "inclusive"],
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT.

    On the level in whose range half the longest side lies, the location nearest to the box's center answers; with
    locations half a stride in, that is the cell that holds the center. A box between the locations, with none inside
    of it, has none, because distances to its sides are not negative. The smallest of several boxes wins, ties to the
    first.
    """
    batch = targets.valid.shape[0]
    best = contest.nobody(batch, locations.xy.shape[0], targets.boxes.device)
    near, far = targets.boxes[..., :2], targets.boxes[..., 2:]
    half = (far - near).amax(-1) / 2
    cost = areas(targets.boxes, corners)
    start = 0
    grids = zip(locations.shapes, locations.origins, locations.steps, ranges, strict=True)
    for (rows, columns), origin, step, (low, high) in grids:
        column = _nearest((near[..., 0] + far[..., 0]) / 2, origin[0], step[0], columns)
        row = _nearest((near[..., 1] + far[..., 1]) / 2, origin[1], step[1], rows)
        place = start + row * columns + column
        end = math.inf if high is None else high
        held = (half >= low) & (half <= end) if ends == "closed" else (half > low) & (half < end)
        xy = locations.xy[place]
        inside = ((xy > near) & (xy < far)).all(-1)
        contest.stake(best, place[..., None], cost[..., None], (held & inside & targets.valid)[..., None])
        start += rows * columns
    return contest.winners(best)


def _nearest(center: Tensor, origin: float, step: float, size: int) -> Tensor:
    """Position in one axis; halfway between two it is the later, as for a cell that begins there."""
    return ((center - origin) / step + 0.5).floor().clamp(0, size - 1).long()
