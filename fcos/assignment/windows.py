"""Which locations of a level a box may reach: a window of grid positions, the same for every box of a batch.

A window holds every position that the conditions could admit, so that they are tested there and nowhere else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment.level_rules import Range, box_in_range, fpn_ranges
from fcos.config.choices import Ends, LevelRule
from fcos.structures import Locations


@dataclass(frozen=True)
class Grid:
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


def grids_of(locations: Locations, ranges: Sequence[Range], level_rule: LevelRule) -> tuple[Grid, ...]:
    if level_rule == "fpn":
        ranges = fpn_ranges(locations.level_strides)
    grids = []
    start = 0
    for level, ((rows, columns), (low, high)) in enumerate(zip(locations.shapes, ranges, strict=True)):
        end = math.inf if high is None else float(high)
        origins, steps, stride = locations.origins[level], locations.steps[level], locations.level_strides[level]
        grids.append(Grid((columns, rows), origins, steps, start, stride, float(low), end, level_rule))
        start += rows * columns
    return tuple(grids)


@lru_cache(maxsize=256)
def windows_of(
    grids: tuple[Grid, ...],
    ends: Ends,
    center_sampling_radius: float | None,
    device: torch.device,
) -> tuple["Window", ...]:
    """Levels whose windows are alike go together. Kept, because making tensors of numbers would wait for a GPU."""

    def size(grid: Grid) -> tuple[int, int]:
        reach = grid.reach(center_sampling_radius)
        return _positions(reach, grid.steps[0], grid.counts[0]), _positions(reach, grid.steps[1], grid.counts[1])

    # What was made in inference mode could not take part in a later training step.
    with torch.inference_mode(False):
        return tuple(
            Window(tuple(alike), ends, center_sampling_radius, device=device) for _, alike in groupby(grids, key=size)
        )


class Window:
    """The grid positions that a box may reach on each of L levels, and the test whether it does."""

    def __init__(
        self,
        grids: Sequence[Grid],
        ends: Ends,
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
