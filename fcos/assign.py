"""Which location answers for which box (v1 section 3.1 and 3.2, v2 section 2.2).

A box reaches few locations of a level: center sampling bounds them by its square, and without it the upper end m of
the level's range does, since max(l, t, r, b) <= m leaves at most m pixels in each axis. So instead of a
[locations x boxes] matrix, each box enumerates a fixed window of grid positions per level, the exact conditions are
tested there, and the smallest box wins by a scatter of its rank by area. Shapes are static and nothing is read back.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.geometry import areas, centerness, ltrb_from_boxes
from fcos.structures import NO_OBJECT, Assignment, Locations, Targets

# Window positions tested at a time; bounds the memory of levels without an upper end.
WINDOW_BUDGET = 1 << 23
# The same where the boxes of many images are taken together, and how many boxes: small enough for a core's cache.
CLAIM_BUDGET = 1 << 17
CLAIM_BOXES = 1 << 11

Range = tuple[float, float | None]


def assign(
    targets: Targets,
    locations: Locations,
    *,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    corners: Literal["plain", "inclusive"] = "plain",
) -> Assignment:
    """Assign every location of a batch to the smallest box that it may answer for.

    A location may answer for a box that it lies strictly inside of, within `center_sampling_radius` strides of the
    box's center (Chebyshev; None: anywhere inside), if max(l, t, r, b) in pixels lies in its level's range.
    Of boxes with the smallest area the first wins. `corners` only decides how areas are counted.
    """
    matched = match(targets, locations, ranges, ends, center_sampling_radius, corners)
    positive = matched != NO_OBJECT
    if targets.boxes.shape[1] == 0:
        ltrb = targets.boxes.new_ones((*matched.shape, 4))
        return Assignment(matched, matched, ltrb, ltrb.new_zeros(matched.shape))
    index = matched.clamp(min=0)
    labels = targets.labels.gather(1, index).where(positive, NO_OBJECT)
    boxes = targets.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    ltrb = ltrb_from_boxes(locations.xy, boxes).where(positive[..., None], 1.0)
    return Assignment(matched, labels, ltrb, centerness(ltrb).where(positive, 0.0))


def match(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    corners: Literal["plain", "inclusive"],
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT; see `assign`."""
    batch, boxes = targets.valid.shape
    num_locations = locations.xy.shape[0]
    # Boxes in order of area; a stable sort leaves ties to the lower index. Exact, whatever the size of the areas.
    order = areas(targets.boxes, corners).argsort(dim=1, stable=True)
    sorted_boxes = targets.boxes.gather(1, order[..., None].expand(-1, -1, 4))
    sorted_valid = targets.valid.gather(1, order)
    ranks = torch.arange(boxes, device=order.device)
    # One slot more than there are locations takes what is not a match.
    best = order.new_full((batch, num_locations + 1), boxes)
    start = 0
    for level, (rows, columns) in enumerate(locations.shapes):
        window = _Window(locations, level, ranges[level], ends, center_sampling_radius)
        step = max(1, WINDOW_BUDGET // max(1, batch * window.rows * window.columns))
        for first in range(0, boxes, step):
            part = slice(first, first + step)
            index, admitted = window.admit(sorted_boxes[:, part])
            admitted &= sorted_valid[:, part, None, None]
            slots = torch.where(admitted, index + start, num_locations).flatten(1)
            claims = ranks[part, None, None].expand_as(admitted).flatten(1)
            best.scatter_reduce_(1, slots, claims, "amin")
        start += rows * columns
    best = best[:, :-1]
    # A column behind the last box stands for the locations that nobody claimed.
    padded = torch.nn.functional.pad(order, (0, 1), value=NO_OBJECT)
    return padded.gather(1, best)


def claims(
    boxes: Float[Tensor, "M 4"],
    locations: Locations,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Every pair (box, location) that `match` chooses from, as indices: who may answer, before the smallest wins.

    Pairs come in no order. The number of pairs is read back from the device, so this is not for the training step.
    """
    longest = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    longest, order = longest.sort()
    pairs = []
    start = 0
    for level, (rows, columns) in enumerate(locations.shapes):
        low, high = ranges[level]
        # max(l, t, r, b) is at least half the longest side and below it; a pixel more leaves room for rounding.
        first = int(torch.searchsorted(longest, low - 1.0))
        last = len(order) if high is None else int(torch.searchsorted(longest, 2 * high + 2.0))
        while first < last:
            # Boxes of like size share a window that fits them.
            end = min(first + CLAIM_BOXES, last)
            window = _Window(locations, level, ranges[level], ends, center_sampling_radius, float(longest[end - 1]))
            end = min(end, first + max(1, CLAIM_BUDGET // (window.rows * window.columns)))
            index, admitted = window.admit(boxes[order[first:end]][None])
            hits = admitted.flatten().nonzero().squeeze(1)
            pairs.append((order[first + hits // (window.rows * window.columns)], index.flatten()[hits] + start))
            first = end
        start += rows * columns
    empty = order.new_zeros(0)
    return (torch.cat([empty, *(box for box, _ in pairs)]), torch.cat([empty, *(place for _, place in pairs)]))


class _Window:
    """The grid positions of one level that a box may reach, and the test whether it does."""

    def __init__(
        self,
        locations: Locations,
        level: int,
        bounds: Range,
        ends: Literal["closed", "open"],
        center_sampling_radius: float | None,
        longest: float = math.inf,
    ) -> None:
        self.grid = locations.shapes[level]
        self.origin_x, self.origin_y = locations.origins[level]
        self.step_x, self.step_y = locations.steps[level]
        self.low, high = bounds
        self.high = math.inf if high is None else high
        self.ends = ends
        stride = locations.level_strides[level]
        self.radius = math.inf if center_sampling_radius is None else center_sampling_radius * stride
        # The widest interval that a box leaves open in one axis; `longest` bounds the sides of all boxes to come.
        reach = min(2 * self.radius, self.high, longest)
        self.rows = _positions(reach, self.step_y, self.grid[0])
        self.columns = _positions(reach, self.step_x, self.grid[1])

    def admit(
        self, boxes: Float[Tensor, "B M 4"]
    ) -> tuple[Int[Tensor, "B M rows columns"], Bool[Tensor, "B M rows columns"]]:
        """Index within the level of each window position, and whether its location may answer for the box."""
        x1, y1, x2, y2 = boxes.unbind(-1)
        column, farthest_x, open_x = self._axis(x1, x2, self.origin_x, self.step_x, self.columns, self.grid[1])
        row, farthest_y, open_y = self._axis(y1, y2, self.origin_y, self.step_y, self.rows, self.grid[0])
        farthest = torch.maximum(farthest_y[..., :, None], farthest_x[..., None, :])
        if self.ends == "closed":
            in_range = (farthest >= self.low) & (farthest <= self.high)
        else:
            in_range = (farthest > self.low) & (farthest < self.high)
        index = row[..., :, None] * self.grid[1] + column[..., None, :]
        return index, in_range & open_y[..., :, None] & open_x[..., None, :]

    def _axis(
        self,
        near: Float[Tensor, "B M"],
        far: Float[Tensor, "B M"],
        origin: float,
        step: float,
        count: int,
        size: int,
    ) -> tuple[Int[Tensor, "B M count"], Float[Tensor, "B M count"], Bool[Tensor, "B M count"]]:
        """Per window position in one axis: its grid index, the farther of the two sides, whether it is admissible."""
        center = (near + far) / 2
        lowest = torch.maximum(torch.maximum(near, center - self.radius), far - self.high)
        first = ((lowest - origin) / step).floor().clamp(0, max(size - count, 0)).long()
        index = first[..., None] + torch.arange(count, device=near.device)
        position = origin + index * step
        to_near, to_far = position - near[..., None], far[..., None] - position
        admissible = (to_near > 0) & (to_far > 0) & ((position - center[..., None]).abs() < self.radius)
        return index, torch.maximum(to_near, to_far), admissible


def _positions(reach: float, step: float, size: int) -> int:
    """How many grid positions an interval of length `reach` can hold, with one to spare at each end for rounding."""
    return size if math.isinf(reach) else min(size, math.floor(reach / step) + 3)
