"""FCOS's target assignment (v1 section 3.1 and 3.2, v2 section 2.2).

A box has few candidate locations on a level: center sampling bounds them by a square, and without it the upper end m
of the level's range does, since max(l, t, r, b) <= m leaves at most m pixels in each axis. So instead of a
[locations x boxes] matrix, each box enumerates a fixed window of grid positions per level, the exact conditions are
tested there, and the smallest box wins by a scatter of its rank by area. Shapes are static and nothing is read back
from the device.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.conflicts import ranking_cost, with_center_distance
from fcos.assignment.encode import encode_targets
from fcos.assignment.level_rules import Range
from fcos.assignment.masks import on_mask
from fcos.assignment.windows import Window, cached_windows, level_grids
from fcos.config.choices import Ends
from fcos.config.model_parts import AssignmentConfig
from fcos.geometry import unique_locations
from fcos.structures import Assignment, Locations, Targets

# Window positions tested at a time: as many as stay in a core's cache; on a GPU it bounds the memory.
CPU_BUDGET = 1 << 17
GPU_BUDGET = 1 << 23
# Boxes of similar size that share one window in `fcos_candidates`.
BOXES_PER_WINDOW = 1 << 11


def assign_fcos(
    targets: Targets, locations: Locations, config: AssignmentConfig, *, compiled: bool = False
) -> Assignment:
    """Assign each location of a batch to one of its candidate boxes, and encode the targets.

    A box is a candidate for a location strictly inside it and within `center_sampling_radius` strides of its center
    (Chebyshev distance; None: anywhere inside) if max(l, t, r, b) in pixels lies in the range of the location's level.
    Other level rules (v2 Table 7) compare max(h, w) / 2 or sqrt(h w) / 2 of the whole box with the range; fpn needs no
    ranges. Where the targets have masks, the location must also lie on the box's mask. Locations without a candidate
    get NO_OBJECT.

    Of several candidates the one of smallest area is taken, with areas by `corners`; or the one of closest center; or
    one at random, by torch's global generator of the device. Equal ones are resolved by the lower index.

    Where locations have several targets (MIP, arXiv 2003.09163; v2 section 4.4), their predictions get the first
    candidates in that order, NO_OBJECT where there are fewer; which prediction learns which of them is decided in
    fcos.losses.criterion. `compiled` compiles the encoding of the targets; the matching is the same.
    """
    return encode_targets(match_fcos(targets, locations, config), targets, locations.xy, compiled=compiled)


def match_fcos(targets: Targets, locations: Locations, config: AssignmentConfig) -> Int[Tensor, "B P"]:
    """Return the index of the box assigned to each location, or NO_OBJECT; see `assign_fcos`."""
    batch, boxes = targets.valid.shape
    points = unique_locations(locations)
    # Ranks instead of areas are exact for any size; the stable sort resolves ties by the lower index.
    order = ranking_cost(targets, config.corners, config.tie_break).argsort(dim=1, stable=True)
    sorted_boxes = targets.boxes.gather(1, order[..., None].expand(-1, -1, 4))
    ranks = torch.arange(boxes, device=order.device)
    box_keys = conflicts.pack_key(ranks, order).where(targets.valid.gather(1, order), conflicts.EMPTY_KEY)
    budget = CPU_BUDGET if order.device.type == "cpu" else GPU_BUDGET
    grids = level_grids(points, config.ranges, config.level_rule)
    windows = cached_windows(grids, config.ends, config.center_sampling_radius, order.device)
    rounds: list[Tensor] = []
    for _ in range(locations.targets):
        keys = conflicts.empty_keys(batch, len(points.xy), order.device)
        for window in windows:
            step = max(1, budget // max(1, batch * window.positions))
            for start in range(0, boxes, step):
                chunk = slice(start, start + step)
                index, is_candidate = window.candidates(sorted_boxes[:, chunk])
                if targets.masks is not None:
                    is_candidate &= on_mask(targets.masks, order[:, chunk], sorted_boxes[:, chunk], points.xy, index)
                candidate_keys = box_keys[:, chunk, None, None, None]
                if config.tie_break == "closest_center":
                    candidate_keys = with_center_distance(candidate_keys, sorted_boxes[:, chunk], points.xy, index)
                if rounds:
                    # Keys of one location are all different: the next is the smallest above the last round's key.
                    is_candidate &= candidate_keys > rounds[-1].gather(1, index.flatten(1)).view_as(index)
                keys.scatter_reduce_(
                    1, index.flatten(1), candidate_keys.where(is_candidate, conflicts.EMPTY_KEY).flatten(1), "amin"
                )
        rounds.append(keys)
    return conflicts.unpack_index(rounds[0] if len(rounds) == 1 else torch.stack(rounds, dim=-1).flatten(1))


def fcos_candidates(
    boxes: Float[Tensor, "M 4"],
    locations: Locations,
    ranges: Sequence[Range],
    ends: Ends,
    center_sampling_radius: float | None,
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Return all candidate pairs (box, location) of `match_fcos` as two index tensors, in no order.

    Reads the number of pairs back from the device, so it is not for the training step.
    """
    longest_side = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    longest_side, order = longest_side.sort()
    pairs = []
    for level, (low, high) in enumerate(ranges):
        # Half the longest side <= max(l, t, r, b) < the longest side; one pixel more allows for rounding.
        first = int(torch.searchsorted(longest_side, low - 1.0))
        last = len(order) if high is None else int(torch.searchsorted(longest_side, 2 * high + 2.0))
        while first < last:
            # Boxes of similar size share a window that fits them.
            end = min(first + BOXES_PER_WINDOW, last)
            bound = float(longest_side[end - 1]) + 1.0
            grids = level_grids(locations, ranges, "longest_offset")
            window = Window(grids[level : level + 1], ends, center_sampling_radius, bound)
            end = min(end, first + max(1, CPU_BUDGET // window.positions))
            index, is_candidate = window.candidates(boxes[order[first:end]][None])
            rows = is_candidate.flatten().nonzero().squeeze(1)
            pairs.append((order[first + rows // window.positions], index.flatten()[rows]))
            first = end
    empty = order.new_zeros(0)
    return (torch.cat([empty, *(box for box, _ in pairs)]), torch.cat([empty, *(location for _, location in pairs)]))
