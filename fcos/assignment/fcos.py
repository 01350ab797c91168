"""Which location answers for which box (v1 section 3.1 and 3.2, v2 section 2.2).

A box reaches few locations of a level: center sampling bounds them by its square, and without it the upper end m of
the level's range does, since max(l, t, r, b) <= m leaves at most m pixels in each axis. So instead of a
[locations x boxes] matrix, each box enumerates a fixed window of grid positions per level, the exact conditions are
tested there, and the smallest box wins by a scatter of its rank by area. Shapes are static and nothing is read back.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.conflicts import by_distance, priority
from fcos.assignment.encode import fill
from fcos.assignment.level_rules import Range
from fcos.assignment.masks import on_mask
from fcos.assignment.windows import Window, grids_of, windows_of
from fcos.config.choices import BoxConvention, Ends, LevelRule, TieBreak
from fcos.geometry import unique_locations
from fcos.structures import Assignment, Locations, Targets

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
    ends: Ends,
    center_sampling_radius: float | None,
    box_convention: BoxConvention = "plain",
    level_rule: LevelRule = "longest_offset",
    tie_break: TieBreak = "smallest_area",
    compiled: bool = False,
) -> Assignment:
    """Assign every location of a batch to one of the boxes that it may answer for.

    A location may answer for a box that it lies strictly inside of, within `center_sampling_radius` strides of the
    box's center (Chebyshev; None: anywhere inside), if max(l, t, r, b) in pixels lies in its level's range. Other
    level rules (v2 Table 7) hold the whole box's max(h, w) / 2 or sqrt(h w) / 2 against the range; fpn needs none.
    Where the targets have masks, it must also lie on the box's own. It takes the smallest box, whose area
    `box_convention` decides; or the one with the closest center; or the first in an order that is drawn from torch's generator of the
    device. What is equal then goes to the lower index. Where locations may answer for several boxes (MIP, arXiv
    2003.09163; v2 section 4.4), their predictions take the first ones by that order, NO_OBJECT where there are fewer;
    which prediction learns which of them is left open (see fcos.losses.criterion).
    Compiled, what follows from the match is one pass; the match itself stays as it is.
    """
    matched = match(targets, locations, ranges, ends, center_sampling_radius, box_convention, level_rule, tie_break)
    return fill(matched, targets, locations.xy, compiled=compiled)


def match(
    targets: Targets,
    locations: Locations,
    ranges: Sequence[Range],
    ends: Ends,
    center_sampling_radius: float | None,
    box_convention: BoxConvention,
    level_rule: LevelRule = "longest_offset",
    tie_break: TieBreak = "smallest_area",
) -> Int[Tensor, "B P"]:
    """Index of the box that each location answers for, or NO_OBJECT; see `assign`."""
    batch, boxes = targets.valid.shape
    places = unique_locations(locations)
    # Ranks by area; a stable sort leaves ties to the lower index. Exact, whatever the size of the areas.
    order = priority(targets, box_convention, tie_break).argsort(dim=1, stable=True)
    sorted_boxes = targets.boxes.gather(1, order[..., None].expand(-1, -1, 4))
    ranks = torch.arange(boxes, device=order.device)
    claims = conflicts.claim(ranks, order).where(targets.valid.gather(1, order), conflicts.NOBODY)
    budget = CPU_BUDGET if order.device.type == "cpu" else GPU_BUDGET
    windows = windows_of(grids_of(places, ranges, level_rule), ends, center_sampling_radius, order.device)
    found: list[Tensor] = []
    for _ in range(locations.targets):
        best = conflicts.nobody(batch, len(places.xy), order.device)
        for window in windows:
            step = max(1, budget // max(1, batch * window.positions))
            for first in range(0, boxes, step):
                part = slice(first, first + step)
                index, admitted = window.admit(sorted_boxes[:, part])
                if targets.masks is not None:
                    admitted &= on_mask(targets.masks, order[:, part], sorted_boxes[:, part], places.xy, index)
                claim = claims[:, part, None, None, None]
                if tie_break == "closest_center":
                    claim = by_distance(claim, sorted_boxes[:, part], places.xy, index)
                if found:
                    # No two claims on a location are equal, so the next is the least of those above the last winner.
                    admitted &= claim > found[-1].gather(1, index.flatten(1)).view_as(index)
                best.scatter_reduce_(1, index.flatten(1), claim.where(admitted, conflicts.NOBODY).flatten(1), "amin")
        found.append(best)
    return conflicts.winners(found[0] if len(found) == 1 else torch.stack(found, dim=-1).flatten(1))


def claims(
    boxes: Float[Tensor, "M 4"],
    locations: Locations,
    ranges: Sequence[Range],
    ends: Ends,
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
            grids = grids_of(locations, ranges, "longest_offset")
            window = Window(grids[level : level + 1], ends, center_sampling_radius, bound)
            end = min(end, first + max(1, CPU_BUDGET // window.positions))
            index, admitted = window.admit(boxes[order[first:end]][None])
            hits = admitted.flatten().nonzero().squeeze(1)
            pairs.append((order[first + hits // window.positions], index.flatten()[hits]))
            first = end
    empty = order.new_zeros(0)
    return (torch.cat([empty, *(box for box, _ in pairs)]), torch.cat([empty, *(place for _, place in pairs)]))
