"""Which location answers for which box (v1 section 3.1 and 3.2, v2 section 2.2).

A box reaches few locations of a level: center sampling bounds them by its square, and without it the upper end m of
the level's range does, since max(l, t, r, b) <= m leaves at most m pixels in each axis. So instead of a
[locations x boxes] matrix, each box enumerates a fixed window of grid positions per level, the exact conditions are
tested there, and the smallest box wins by a scatter of its rank by area. Shapes are static and nothing is read back.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.geometry import centerness, ltrb_from_boxes
from fcos.level_rules import Range, box_in_range, fpn_ranges
from fcos.model_config import LevelRule, TieBreak
from fcos.structures import NO_OBJECT, Assignment, Locations, Targets
from fcos.tie_break import HALF, NOBODY, by_distance, priority

# Window positions tested at a time: what stays in a core's cache, and what bounds the memory of a GPU.
CPU_BUDGET = 1 << 17
GPU_BUDGET = 1 << 23
# Boxes of like size that are taken together where windows are fitted to them.
CLAIM_BOXES = 1 << 11


def assign(
    targets: Targets,
    locations: Locations,
    *,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    corners: Literal["plain", "inclusive"] = "plain",
    level_rule: LevelRule = "longest_offset",
    tie_break: TieBreak = "smallest_area",
    compiled: bool = False,
) -> Assignment:
    """Assign every location of a batch to one of the boxes that it may answer for.

    A location may answer for a box that it lies strictly inside of, within `center_sampling_radius` strides of the
    box's center (Chebyshev; None: anywhere inside), if max(l, t, r, b) in pixels lies in its level's range. Other
    level rules (v2 Table 7) hold the whole box's max(h, w) / 2 or sqrt(h w) / 2 against the range; fpn needs none.
    It takes the smallest box, whose area `corners` decides; or the one with the closest center; or the first in an
    order that is drawn from torch's generator of the device. What is equal then goes to the lower index.
    Compiled, what follows from the match is one pass; the match itself stays as it is.
    """
    matched = match(targets, locations, ranges, ends, center_sampling_radius, corners, level_rule, tie_break)
    return fill(matched, targets, locations.xy, compiled=compiled)


def fill(
    matched: Int[Tensor, "B P"], targets: Targets, xy: Float[Tensor, "P 2"], *, compiled: bool = False
) -> Assignment:
    """What there is to learn at each location, from the box that it answers for, however that was found."""
    return (_compiled_fill() if compiled else _fill)(matched, targets, xy)


def _fill(matched: Int[Tensor, "B P"], targets: Targets, xy: Float[Tensor, "P 2"]) -> Assignment:
    positive = matched != NO_OBJECT
    if targets.boxes.shape[1] == 0:
        ltrb = targets.boxes.new_ones((*matched.shape, 4))
        return Assignment(matched, matched, ltrb, ltrb.new_zeros(matched.shape))
    index = matched.clamp(min=0)
    labels = targets.labels.gather(1, index).where(positive, NO_OBJECT)
    boxes = targets.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    ltrb = ltrb_from_boxes(xy, boxes).where(positive[..., None], 1.0)
    return Assignment(matched, labels, ltrb, centerness(ltrb).where(positive, 0.0))


@lru_cache(maxsize=1)
def _compiled_fill() -> Callable[..., Assignment]:
    return torch.compile(_fill)


def match(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    corners: Literal["plain", "inclusive"],
    level_rule: LevelRule = "longest_offset",
    tie_break: TieBreak = "smallest_area",
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT; see `assign`."""
    return match_several(targets, locations, 1, ranges, ends, center_sampling_radius, corners, level_rule, tie_break)[0]


def match_several(
    targets: Targets,
    locations: Locations,
    count: int,
    ranges: Sequence[Range],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    corners: Literal["plain", "inclusive"],
    level_rule: LevelRule = "longest_offset",
    tie_break: TieBreak = "smallest_area",
) -> list[Int[Tensor, "B P"]]:
    """The first `count` boxes that each location may answer for, by the tie-break; NO_OBJECT where there are fewer."""
    batch, boxes = targets.valid.shape
    # Ranks by area; a stable sort leaves ties to the lower index. Exact, whatever the size of the areas.
    order = priority(targets, corners, tie_break).argsort(dim=1, stable=True)
    sorted_boxes = targets.boxes.gather(1, order[..., None].expand(-1, -1, 4))
    ranks = torch.arange(boxes, device=order.device) << HALF
    claims = (ranks + order).where(targets.valid.gather(1, order), NOBODY)
    budget = CPU_BUDGET if order.device.type == "cpu" else GPU_BUDGET
    found: list[Tensor] = []
    for _ in range(count):
        best = order.new_full((batch, locations.xy.shape[0]), NOBODY)
        for window in _windows(_grids(locations, ranges, level_rule), ends, center_sampling_radius, order.device):
            step = max(1, budget // max(1, batch * window.positions))
            for first in range(0, boxes, step):
                part = slice(first, first + step)
                index, admitted = window.admit(sorted_boxes[:, part])
                claim = claims[:, part, None, None, None]
                if tie_break == "closest_center":
                    claim = by_distance(claim, sorted_boxes[:, part], locations.xy, index)
                if found:
                    # No two claims on a location are equal, so the next is the least of those above the last winner.
                    admitted &= claim > found[-1].gather(1, index.flatten(1)).view_as(index)
                best.scatter_reduce_(1, index.flatten(1), claim.where(admitted, NOBODY).flatten(1), "amin")
        found.append(best)
    return [best.bitwise_left_shift_(HALF).bitwise_right_shift_(HALF) for best in found]


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
    for level, (low, high) in enumerate(ranges):
        # max(l, t, r, b) is at least half the longest side and below it; a pixel more leaves room for rounding.
        first = int(torch.searchsorted(longest, low - 1.0))
        last = len(order) if high is None else int(torch.searchsorted(longest, 2 * high + 2.0))
        while first < last:
            # Boxes of like size share a window that fits them.
            end = min(first + CLAIM_BOXES, last)
            bound = float(longest[end - 1]) + 1.0
            grids = _grids(locations, ranges, "longest_offset")
            window = _Window(grids[level : level + 1], ends, center_sampling_radius, bound)
            end = min(end, first + max(1, CPU_BUDGET // window.positions))
            index, admitted = window.admit(boxes[order[first:end]][None])
            hits = admitted.flatten().nonzero().squeeze(1)
            pairs.append((order[first + hits // window.positions], index.flatten()[hits]))
            first = end
    empty = order.new_zeros(0)
    return (torch.cat([empty, *(box for box, _ in pairs)]), torch.cat([empty, *(place for _, place in pairs)]))


@dataclass(frozen=True)
class _Grid:
    """One level: its locations in either axis (x first), where they start among all, and the range it answers for."""

    counts: tuple[int, int]
    origins: tuple[float, float]
    steps: tuple[float, float]
    start: int
    stride: int
    low: float
    high: float
    level_rule: LevelRule

    def reach(self, center_sampling_radius: float | None) -> float:
        """The widest interval in one axis whose locations may answer for the same box."""
        diameter = math.inf if center_sampling_radius is None else 2 * center_sampling_radius * self.stride
        match self.level_rule:
            case "longest_offset":
                return min(diameter, self.high)
            case "longer_side":
                return min(diameter, 2 * self.high)
            case "sqrt_area" | "fpn":
                return diameter


def _grids(locations: Locations, ranges: Sequence[Range], level_rule: LevelRule) -> tuple[_Grid, ...]:
    if level_rule == "fpn":
        ranges = fpn_ranges(locations.level_strides)
    grids = []
    start = 0
    for level, ((rows, columns), (low, high)) in enumerate(zip(locations.shapes, ranges, strict=True)):
        end = math.inf if high is None else float(high)
        origins, steps, stride = locations.origins[level], locations.steps[level], locations.level_strides[level]
        grids.append(_Grid((columns, rows), origins, steps, start, stride, float(low), end, level_rule))
        start += rows * columns
    return tuple(grids)


@lru_cache(maxsize=256)
def _windows(
    grids: tuple[_Grid, ...],
    ends: Literal["closed", "open"],
    center_sampling_radius: float | None,
    device: torch.device,
) -> tuple["_Window", ...]:
    """Levels whose windows are alike go together. Kept, because making tensors of numbers would wait for a GPU."""

    def size(grid: _Grid) -> tuple[int, int]:
        reach = grid.reach(center_sampling_radius)
        return _positions(reach, grid.steps[0], grid.counts[0]), _positions(reach, grid.steps[1], grid.counts[1])

    # What was made in inference mode could not take part in a later training step.
    with torch.inference_mode(False):
        return tuple(
            _Window(tuple(alike), ends, center_sampling_radius, device=device) for _, alike in groupby(grids, key=size)
        )


class _Window:
    """The grid positions that a box may reach on each of L levels, and the test whether it does."""

    def __init__(
        self,
        grids: Sequence[_Grid],
        ends: Literal["closed", "open"],
        center_sampling_radius: float | None,
        longest: float = math.inf,
        device: torch.device | None = None,
    ) -> None:
        self.ends = ends
        # `longest` bounds the sides of all boxes to come.
        reach = [min(grid.reach(center_sampling_radius), longest) for grid in grids]
        self.counts = [
            max(
                _positions(bound, grid.steps[axis], grid.counts[axis]) for bound, grid in zip(reach, grids, strict=True)
            )
            for axis in (0, 1)
        ]
        self.positions = len(grids) * self.counts[0] * self.counts[1]

        def per_level(values: Iterable[float]) -> Float[Tensor, "L 1"]:
            return torch.tensor(list(values), dtype=torch.float32, device=device)[:, None]

        radius = math.inf if center_sampling_radius is None else center_sampling_radius
        self.radius = per_level(radius * grid.stride for grid in grids)
        # Of one location's distances, or of the whole box.
        self.level_rule = grids[0].level_rule
        by_offset = self.level_rule == "longest_offset"
        self.low = per_level(grid.low if by_offset else 0.0 for grid in grids)
        self.high = per_level(grid.high if by_offset else math.inf for grid in grids)
        self.box_low = per_level(grid.low for grid in grids)[:, 0]
        self.box_high = per_level(grid.high for grid in grids)[:, 0]
        self.origins = [per_level(grid.origins[axis] for grid in grids) for axis in (0, 1)]
        self.steps = [per_level(grid.steps[axis] for grid in grids) for axis in (0, 1)]
        self.last_first = [
            per_level(max(grid.counts[axis] - self.counts[axis], 0) for grid in grids) for axis in (0, 1)
        ]
        self.offsets = [torch.arange(count, dtype=torch.float32, device=device) for count in self.counts]
        self.columns = per_level(grid.counts[0] for grid in grids).long()
        self.starts = torch.tensor([grid.start for grid in grids], device=device)[:, None]

    def admit(
        self, boxes: Float[Tensor, "B M 4"]
    ) -> tuple[Int[Tensor, "B M L rows columns"], Bool[Tensor, "B M L rows columns"]]:
        """Index of the location at each window position, and whether it may answer for the box."""
        x1, y1, x2, y2 = boxes.unbind(-1)
        column, held_x, high_x = self._axis(x1, x2, 0)
        row, held_y, high_y = self._axis(y1, y2, 1)
        index = (row * self.columns + self.starts)[..., :, None] + column[..., None, :]
        # Below the upper end in both axes, and above the lower end in one.
        admitted = high_y[..., :, None] & held_x[..., None, :]
        admitted |= held_y[..., :, None] & high_x[..., None, :]
        if self.level_rule != "longest_offset":
            own = box_in_range(self.level_rule, x2 - x1, y2 - y1, self.box_low, self.box_high, self.ends)
            admitted &= own[..., None, None]
        return index, admitted

    def _axis(
        self, near: Float[Tensor, "B M"], far: Float[Tensor, "B M"], axis: int
    ) -> tuple[Int[Tensor, "B M L count"], Bool[Tensor, "B M L count"], Bool[Tensor, "B M L count"]]:
        """Per window position in one axis: its index, whether it is admissible, and if it also is above the low end."""
        near, far = near[..., None, None], far[..., None, None]
        center = (near + far) / 2
        origin, step = self.origins[axis], self.steps[axis]
        lowest = torch.maximum(torch.maximum(near, center - self.radius), far - self.high)
        first = ((lowest - origin) / step).floor().clamp(min=0).minimum(self.last_first[axis])
        index = first + self.offsets[axis]
        position = origin + index * step
        to_near, to_far = position - near, far - position
        farthest = torch.maximum(to_near, to_far)
        admissible = torch.minimum(to_near, to_far) > 0
        admissible &= (position - center).abs() < self.radius
        if self.ends == "closed":
            admissible &= farthest <= self.high
            return index.long(), admissible, admissible & (farthest >= self.low)
        admissible &= farthest < self.high
        return index.long(), admissible, admissible & (farthest > self.low)


def _positions(reach: float, step: float, size: int) -> int:
    """How many grid positions must be tried to find all in an interval of length `reach`.

    It holds ceil(reach / step) at most, as one of its ends is open. The first that is tried may lie below it but
    never above its first: rounding keeps the order of numbers, and the positions are exact.
    """
    return size if math.isinf(reach) else min(size, math.ceil(reach / step) + 1)
