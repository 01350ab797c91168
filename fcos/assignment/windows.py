"""Windows of grid positions that hold all candidate locations of a box on a level.

They are the same for every box of a batch. All conditions of an assignment are tested inside the windows and nowhere
else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fcos.assignment.level_rules import Range, box_in_range, fpn_ranges
from fcos.config.choices import Ends, LevelRule
from fcos.structures import Locations


@dataclass(frozen=True)
class Grid:
    """One pyramid level: its locations per axis (x first), index of the first location, and range in pixels."""

    counts: tuple[int, int]
    origins: tuple[float, float]
    steps: tuple[float, float]
    start: int
    stride: int
    low: float
    high: float
    level_rule: LevelRule

    def max_extent(self, center_sampling_radius: float | None) -> float:
        """Return the longest interval in one axis, in pixels, that can hold candidates of one box."""
        diameter = math.inf if center_sampling_radius is None else 2 * center_sampling_radius * self.stride
        match self.level_rule:
            case "longest_offset":
                return min(diameter, self.high)
            case "longer_side":
                return min(diameter, 2 * self.high)
            case "sqrt_area" | "fpn":
                return diameter


def level_grids(locations: Locations, ranges: Sequence[Range], level_rule: LevelRule) -> tuple[Grid, ...]:
    """Return the grid of each level with its range; level_rule=fpn has ranges of its own."""
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
def cached_windows(
    grids: tuple[Grid, ...],
    ends: Ends,
    center_sampling_radius: float | None,
    device: torch.device,
) -> tuple["Window", ...]:
    """Return the windows of all levels, one for consecutive levels of equal window size.

    Cached, because creating tensors from numbers would wait for a GPU.
    """

    def size(grid: Grid) -> tuple[int, int]:
        extent = grid.max_extent(center_sampling_radius)
        return _window_size(extent, grid.steps[0], grid.counts[0]), _window_size(extent, grid.steps[1], grid.counts[1])

    # A cached tensor made in inference mode could not be used in a later training step.
    with torch.inference_mode(False):
        return tuple(
            Window(tuple(alike), ends, center_sampling_radius, device=device) for _, alike in groupby(grids, key=size)
        )


class Window:
    """The grid positions that can be candidates for a box on each of L levels, and the test of them.

    `longest` bounds the sides of all boxes, in pixels.
    """

    def __init__(
        self,
        grids: Sequence[Grid],
        ends: Ends,
        center_sampling_radius: float | None,
        longest: float = math.inf,
        device: torch.device | None = None,
    ) -> None:
        self.ends = ends
        extents = [min(grid.max_extent(center_sampling_radius), longest) for grid in grids]
        self.counts = [
            max(
                _window_size(bound, grid.steps[axis], grid.counts[axis])
                for bound, grid in zip(extents, grids, strict=True)
            )
            for axis in (0, 1)
        ]
        self.positions = len(grids) * self.counts[0] * self.counts[1]
        radius = math.inf if center_sampling_radius is None else center_sampling_radius
        per_level = partial(_per_level, device)
        self.radius = per_level(radius * grid.stride for grid in grids)
        # The range holds the distances of a location (longest_offset) or the size of the whole box.
        self.level_rule = grids[0].level_rule
        by_offset = self.level_rule == "longest_offset"
        self.low = per_level(grid.low if by_offset else 0.0 for grid in grids)
        self.high = per_level(grid.high if by_offset else math.inf for grid in grids)
        self.box_low = per_level(grid.low for grid in grids)[:, 0]
        self.box_high = per_level(grid.high for grid in grids)[:, 0]
        self.origins = [per_level(grid.origins[axis] for grid in grids) for axis in (0, 1)]
        self.steps = [per_level(grid.steps[axis] for grid in grids) for axis in (0, 1)]
        self.max_first = [per_level(max(grid.counts[axis] - self.counts[axis], 0) for grid in grids) for axis in (0, 1)]
        self.offsets = [torch.arange(count, dtype=torch.float32, device=device) for count in self.counts]
        self.columns = per_level(grid.counts[0] for grid in grids).long()
        self.starts = torch.tensor([grid.start for grid in grids], device=device)[:, None]

    def candidates(
        self, boxes: Float[Tensor, "B M 4"]
    ) -> tuple[Int[Tensor, "B M L rows columns"], Bool[Tensor, "B M L rows columns"]]:
        """Return the index of each window position's location, and whether it is a candidate for the box."""
        x1, y1, x2, y2 = boxes.unbind(-1)
        column, valid_x, above_low_x = self._axis(x1, x2, 0)
        row, valid_y, above_low_y = self._axis(y1, y2, 1)
        index = (row * self.columns + self.starts)[..., :, None] + column[..., None, :]
        # max(l, t, r, b): below the upper end in both axes, and above the lower end in at least one.
        is_candidate = above_low_y[..., :, None] & valid_x[..., None, :]
        is_candidate |= valid_y[..., :, None] & above_low_x[..., None, :]
        if self.level_rule != "longest_offset":
            own = box_in_range(self.level_rule, x2 - x1, y2 - y1, self.box_low, self.box_high, self.ends)
            is_candidate &= own[..., None, None]
        return index, is_candidate

    def _axis(
        self, start: Float[Tensor, "B M"], end: Float[Tensor, "B M"], axis: int
    ) -> tuple[Int[Tensor, "B M L count"], Bool[Tensor, "B M L count"], Bool[Tensor, "B M L count"]]:
        """Return for each window position in one axis: index, is valid, is valid and above the lower end."""
        start, end = start[..., None, None], end[..., None, None]
        center = (start + end) / 2
        origin, step = self.origins[axis], self.steps[axis]
        first_edge = torch.maximum(torch.maximum(start, center - self.radius), end - self.high)
        first = ((first_edge - origin) / step).floor().clamp(min=0).minimum(self.max_first[axis])
        index = first + self.offsets[axis]
        position = origin + index * step
        to_start, to_end = position - start, end - position
        farthest = torch.maximum(to_start, to_end)
        is_valid = torch.minimum(to_start, to_end) > 0
        is_valid &= (position - center).abs() < self.radius
        if self.ends == "closed":
            is_valid &= farthest <= self.high
            return index.long(), is_valid, is_valid & (farthest >= self.low)
        is_valid &= farthest < self.high
        return index.long(), is_valid, is_valid & (farthest > self.low)


def _per_level(device: torch.device | None, values: Iterable[float]) -> Float[Tensor, "L 1"]:
    return torch.tensor(list(values), dtype=torch.float32, device=device)[:, None]


def _window_size(extent: float, step: float, size: int) -> int:
    """Return how many grid positions to test to cover every interval of length `extent`.

    Such an interval holds at most ceil(extent / step) positions, as one of its ends is open. The first tested
    position may lie below the interval but never above its first position: rounding keeps the order of numbers, and the
    positions are exact.
    """
    return size if math.isinf(extent) else min(size, math.ceil(extent / step) + 1)
