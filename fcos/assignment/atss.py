"""Adaptive training sample selection (ATSS, arXiv 1912.02424, section 4).

The k nearest locations of a box on a level lie among its k + 1 nearest columns and rows, so only that window is tested.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment import conflicts
from fcos.assignment.anchors import anchor_boxes
from fcos.geometry import ious, strictly_inside
from fcos.structures import Locations, Targets

# Window positions tested at a time; bounds the memory.
CPU_BUDGET = 1 << 18
GPU_BUDGET = 1 << 24
# Where all overlaps are equal, a rounding error of their mean must not exclude all of them.
TOLERANCE = 1e-6


def match_atss(targets: Targets, locations: Locations, candidates_per_level: int) -> Int[Tensor, "B P"]:
    """Return the index of the box assigned to each location, or NO_OBJECT.

    Candidates of a box are, on each level, the `candidates_per_level` (k) locations nearest to its center, the first of
    equal distances. A candidate inside the box is positive if the IoU of its anchor, a square of 8 strides, with the
    box is at least mean + standard deviation of the IoUs of all candidates of the box. A location that is positive for
    several boxes is assigned to the one of largest IoU, the first of equals.
    """
    batch, boxes = targets.valid.shape
    anchors = anchor_boxes(locations)
    keys = conflicts.empty_keys(batch, locations.xy.shape[0], targets.boxes.device)
    budget = CPU_BUDGET if keys.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // (batch * (candidates_per_level + 2) ** 2))
    for start in range(0, boxes, step):
        chunk = slice(start, start + step)
        chunk_boxes = targets.boxes[:, chunk]
        candidates = nearest_locations(chunk_boxes, locations, candidates_per_level)
        iou = ious(chunk_boxes[..., None, :], anchors[candidates])
        deviation = iou.std(-1, correction=1 if iou.shape[-1] > 1 else 0)
        overlaps_enough = iou >= (iou.mean(-1) + deviation - TOLERANCE)[..., None]
        inside = strictly_inside(locations.xy[candidates], chunk_boxes[..., None, :])
        conflicts.scatter_min(keys, candidates, -iou, overlaps_enough & inside & targets.valid[:, chunk, None], start)
    return conflicts.unpack_index(keys)


def nearest_locations(boxes: Float[Tensor, "B M 4"], locations: Locations, count: int) -> Int[Tensor, "B M K"]:
    """Return the `count` locations of each level nearest to each box's center, or all of a smaller level.

    Of equal distances the first location comes first.
    """
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    parts, start = [], 0
    for (rows, columns), origin, step in zip(locations.shapes, locations.origins, locations.steps, strict=True):
        column, distance_x = _axis(centers[..., 0], origin[0], step[0], columns, count)
        row, distance_y = _axis(centers[..., 1], origin[1], step[1], rows, count)
        index = (start + row * columns)[..., :, None] + column[..., None, :]
        distance = distance_y[..., :, None] + distance_x[..., None, :]
        order = distance.flatten(-2).argsort(dim=-1, stable=True)[..., :count]
        parts.append(index.flatten(-2).gather(-1, order))
        start += rows * columns
    return torch.cat(parts, dim=-1)


def _axis(
    center: Float[Tensor, "B M"], origin: float, step: float, size: int, count: int
) -> tuple[Int[Tensor, "B M W"], Float[Tensor, "B M W"]]:
    """Return the grid positions in one axis that hold the nearest `count`, in order, and their squared distances."""
    # count + 1 cover a tie; one more covers the rounding of the division.
    width = min(size, count + 2)
    first = ((center - origin) / step - count / 2).floor().clamp(0, size - width)
    position = first[..., None] + torch.arange(width, dtype=torch.float32, device=center.device)
    return position.long(), (origin + position * step - center[..., None]).square()
