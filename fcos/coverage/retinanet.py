"""Recall of boxes by RetinaNet's anchors and its matching with low-quality rules (v1 table 1, v2 table 1).

The intersection of a box and an anchor is the product of their overlaps in x and y. So a box's best IoU with each
anchor shape follows from the nearest column and row alone, and pairs above a threshold lie in a small window around the
box. No matrix of all anchors and boxes is ever computed.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.assignment.retinanet import FOREGROUND, MIN_IOU
from fcos.config.choices import AnchorRounding, LowQuality
from fcos.coverage.boxes import InputBoxes

SIZES = (32, 64, 128, 256, 512)
STRIDES = (8, 16, 32, 64, 128)
ASPECT_RATIOS = (0.5, 1.0, 2.0)
SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
PAIR_BUDGET = 1 << 18
# Bounds of the number of cells per axis of an image, and of all anchors of an image; for unique keys.
CELLS = 1 << 16
KEYS = 9 * len(STRIDES) * CELLS**2


@dataclass(frozen=True)
class Pairs:
    """Pairs of a box and an anchor; `anchor` rows are xyxy pixels."""

    box: Int[Tensor, " K"]
    # Unique over levels, shapes and positions, not over images.
    key: Int[Tensor, " K"]
    anchor: Float[Tensor, "K 4"]
    iou: Float[Tensor, " K"]


@dataclass(frozen=True)
class AnchorShape:
    """One anchor shape of a level, on the grid of each box's image."""

    # The anchor of the first cell, xyxy pixels.
    base: Float[Tensor, " 4"]
    level: int
    # Number among the nine shapes of the level.
    index: int
    # (rows, columns) of the level in each box's image.
    grid: Int[Tensor, "M 2"]
    # 1 if both end pixels of a box count, else 0.
    extra: float

    @property
    def stride(self) -> int:
        return STRIDES[self.level]


def base_anchors(size: int, stride: int, kind: AnchorRounding) -> Float[Tensor, "9 4"]:
    """Return the nine anchors of a level's first cell, xyxy.

    maskrcnn-benchmark: integer sizes around the center of the cell. detectron2: exact sizes around the corner of the
    cell. torchvision: rounded sizes around the corner.
    """
    if kind == "torchvision":
        from torchvision.models.detection.anchor_utils import AnchorGenerator

        scales = [int(size * scale) for scale in SCALES]
        anchors: Tensor = AnchorGenerator().generate_anchors(scales, list(ASPECT_RATIOS))
        return anchors
    rows = []
    for ratio, scale in product(ASPECT_RATIOS, SCALES):
        if kind == "detectron2":
            width = math.sqrt((size * scale) ** 2 / ratio)
            height = ratio * width
            center = 0.0
        else:
            # Sides are rounded at the size of the cell, and include both end pixels.
            width = float(round(math.sqrt(stride * stride / ratio)))
            height = float(round(width * ratio))
            factor = size * scale / stride
            width, height = width * factor - 1, height * factor - 1
            center = (stride - 1) / 2
        rows.append([center - width / 2, center - height / 2, center + width / 2, center + height / 2])
    return torch.tensor(rows)


def boxes_with_anchor(
    part: InputBoxes, kind: AnchorRounding, rules: tuple[LowQuality, ...]
) -> dict[LowQuality, Int[Tensor, " boxes"]]:
    """Return for each rule the boxes, as rows of `part`, that some anchor is matched to.

    An anchor is matched to the box of largest IoU (the first of equals) where that is at least 0.5. A low-quality rule
    also matches the anchors that are the best of some box, from its minimum IoU on, to their own box of largest IoU.
    """
    boxes = torch.from_numpy(part.boxes)
    if not len(boxes):
        return {rule: torch.zeros(0, dtype=torch.int64) for rule in rules}
    image = torch.from_numpy(part.image)
    sizes = torch.from_numpy(part.sizes)[image]
    extra = 1.0 if kind == "maskrcnn_benchmark" else 0.0
    columns = [torch.div(sizes[:, 1] + stride - 1, stride, rounding_mode="floor") for stride in STRIDES]
    rows = [torch.div(sizes[:, 0] + stride - 1, stride, rounding_mode="floor") for stride in STRIDES]
    grids = [torch.stack([r, c], dim=1) for r, c in zip(rows, columns, strict=True)]
    shapes = [
        AnchorShape(base, level, index, grids[level], extra)
        for level, (size, stride) in enumerate(zip(SIZES, STRIDES, strict=True))
        for index, base in enumerate(base_anchors(size, stride, kind))
    ]
    foreground_pairs = _concatenate([_pairs(boxes, shape, FOREGROUND) for shape in shapes])
    matched_boxes = _best_boxes(foreground_pairs, image[foreground_pairs.box])
    if set(rules) == {"none"}:
        return {"none": matched_boxes.unique()}
    best_pairs = _best_anchors(boxes, shapes)
    per_rule: dict[LowQuality, Int[Tensor, " boxes"]] = {}
    low_quality = _boxes_of_anchors(best_pairs, boxes, image, torch.from_numpy(part.offsets), extra)
    for rule in rules:
        is_matched = best_pairs.iou >= MIN_IOU[rule]
        per_rule[rule] = torch.cat([matched_boxes, low_quality[is_matched]]).unique()
    return per_rule


def _pairs(boxes: Float[Tensor, "M 4"], shape: AnchorShape, min_iou: float) -> Pairs:
    """Return the pairs with one anchor shape whose IoU is at least `min_iou`."""
    base, extra, stride = shape.base, shape.extra, shape.stride
    width, height = (base[2:] - base[:2] + extra).tolist()
    sides = boxes[:, 2:] - boxes[:, :2] + extra
    # IoU is at most the ratio of the sides in either axis; the margin allows for rounding.
    min_iou_with_margin = min_iou * 0.999
    is_possible = (sides[:, 0] >= min_iou_with_margin * width) & (sides[:, 0] * min_iou_with_margin <= width)
    is_possible &= (sides[:, 1] >= min_iou_with_margin * height) & (sides[:, 1] * min_iou_with_margin <= height)
    candidates = is_possible.nonzero().squeeze(1)
    # Largest distance of the centers: the overlap must be at least IoU / (1 + IoU) of both sides together.
    reach_x, reach_y = (side * (1 - min_iou_with_margin) / (2 * min_iou_with_margin) for side in (width, height))
    count_x, count_y = (math.floor(2 * reach / stride) + 3 for reach in (reach_x, reach_y))
    step = max(1, PAIR_BUDGET // (count_x * count_y))
    parts = []
    for start in range(0, len(candidates), step):
        rows = candidates[start : start + step]
        first_cell = ((boxes[rows, :2] + boxes[rows, 2:] - base[:2] - base[2:]) / 2).sub(
            torch.tensor([reach_x, reach_y])
        )
        first_cell = (first_cell / stride).floor().long()
        parts.append(_window(boxes, rows, shape, first_cell, (count_x, count_y), min_iou))
    return _concatenate(parts)


def _window(
    boxes: Float[Tensor, "M 4"],
    rows: Int[Tensor, " m"],
    shape: AnchorShape,
    start: Int[Tensor, "m 2"],
    counts: tuple[int, int],
    min_iou: float | Float[Tensor, " m"],
) -> Pairs:
    """Return the pairs of some boxes with the anchors of a window of cells.

    The window starts at (column, row) `start`.
    """
    base, grid, extra = shape.base, shape.grid, shape.extra
    column = start[:, :1] + torch.arange(counts[0])
    row = start[:, 1:] + torch.arange(counts[1])
    inside_x = (column >= 0) & (column < grid[rows, 1:])
    inside_y = (row >= 0) & (row < grid[rows, :1])
    x = base[[0, 2]] + (column * shape.stride)[..., None]
    y = base[[1, 3]] + (row * shape.stride)[..., None]
    box = boxes[rows]
    overlap_x = torch.minimum(x[..., 1], box[:, None, 2]) - torch.maximum(x[..., 0], box[:, None, 0]) + extra
    overlap_y = torch.minimum(y[..., 1], box[:, None, 3]) - torch.maximum(y[..., 0], box[:, None, 1]) + extra
    intersection = overlap_y.clamp(min=0)[:, :, None] * overlap_x.clamp(min=0)[:, None, :]
    area = (y[..., 1] - y[..., 0] + extra)[:, :, None] * (x[..., 1] - x[..., 0] + extra)[:, None, :]
    box_area = ((box[:, 2] - box[:, 0] + extra) * (box[:, 3] - box[:, 1] + extra))[:, None, None]
    iou = intersection / (box_area + area - intersection)
    threshold = min_iou[:, None, None] if isinstance(min_iou, Tensor) else min_iou
    pair, row_index, column_index = ((iou >= threshold) & inside_y[:, :, None] & inside_x[:, None, :]).nonzero(
        as_tuple=True
    )
    cell = row[pair, row_index] * CELLS + column[pair, column_index]
    anchor = torch.stack(
        [x[pair, column_index, 0], y[pair, row_index, 0], x[pair, column_index, 1], y[pair, row_index, 1]], dim=1
    )
    key = (shape.level * 9 + shape.index) * CELLS**2 + cell
    return Pairs(rows[pair], key, anchor, iou[pair, row_index, column_index])


def _best_anchors(boxes: Float[Tensor, "M 4"], shapes: list[AnchorShape]) -> Pairs:
    """Return each box with all anchors that have exactly its largest IoU."""
    bounds = torch.stack([_largest_iou(boxes, shape) for shape in shapes], dim=1)
    min_iou = bounds.amax(1) * (1 - 1e-5)
    parts = []
    for index, shape in enumerate(shapes):
        base, stride = shape.base, shape.stride
        candidates = (bounds[:, index] >= min_iou).nonzero().squeeze(1)
        center = (boxes[candidates, :2] + boxes[candidates, 2:] - base[:2] - base[2:]) / 2 / stride
        # Where one side lies inside the other, shifting the anchor by up to their difference does not change the IoU.
        slack = ((boxes[candidates, 2:] - boxes[candidates, :2]) - (base[2:] - base[:2])).abs() / stride
        for start in range(0, len(candidates), 512):
            rows = slice(start, start + 512)
            if not len(candidates[rows]):
                continue
            counts = tuple(int(side) + 4 for side in slack[rows].amax(0).tolist())
            first_cell = (center[rows] - slack[rows] / 2).floor().long() - 1
            # The grid may end before the center of the box.
            first_cell = torch.minimum(first_cell, shape.grid[candidates[rows]].flip(1) - 1).clamp(min=0)
            window = (counts[0], counts[1])
            parts.append(_window(boxes, candidates[rows], shape, first_cell, window, min_iou[candidates[rows]]))
    pairs = _concatenate(parts)
    top = torch.zeros(len(boxes)).scatter_reduce(0, pairs.box, pairs.iou, "amax")
    return _select(pairs, pairs.iou == top[pairs.box])


def _largest_iou(boxes: Float[Tensor, "M 4"], shape: AnchorShape) -> Float[Tensor, " M"]:
    """Return the largest IoU with one anchor shape.

    It is that of the cell nearest to the box's center in each axis.
    """
    base, grid, stride, extra = shape.base, shape.grid, shape.stride, shape.extra
    center = (boxes[:, :2] + boxes[:, 2:] - base[:2] - base[2:]) / 2 / stride
    cell = torch.minimum(center.round().clamp(min=0), grid.flip(1) - 1.0)
    top_left, bottom_right = base[:2] + cell * stride, base[2:] + cell * stride
    intersection = (
        (torch.minimum(bottom_right, boxes[:, 2:]) - torch.maximum(top_left, boxes[:, :2]) + extra).clamp(min=0).prod(1)
    )
    area_sum = (bottom_right - top_left + extra).prod(1) + (boxes[:, 2:] - boxes[:, :2] + extra).prod(1)
    return intersection / (area_sum - intersection)


def _boxes_of_anchors(
    best: Pairs, boxes: Float[Tensor, "M 4"], image: Int[Tensor, " M"], offsets: Int[Tensor, " N"], extra: float
) -> Int[Tensor, " K"]:
    """Return for each anchor the box of largest IoU among all boxes of the image."""
    counts = (offsets[1:] - offsets[:-1])[image[best.box]]
    pair = torch.repeat_interleave(torch.arange(len(best.box)), counts)
    position = torch.arange(len(pair)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    box = offsets[image[best.box]][pair] + position
    anchor, candidate = best.anchor[pair], boxes[box]
    intersection = (
        torch.minimum(anchor[:, 2:], candidate[:, 2:]) - torch.maximum(anchor[:, :2], candidate[:, :2]) + extra
    )
    intersection = intersection.clamp(min=0).prod(1)
    areas = (anchor[:, 2:] - anchor[:, :2] + extra).prod(1) + (candidate[:, 2:] - candidate[:, :2] + extra).prod(1)
    iou = intersection / (areas - intersection)
    top = torch.zeros(len(best.box)).scatter_reduce(0, pair, iou, "amax")
    is_top = iou == top[pair]
    return torch.full((len(best.box),), len(boxes)).scatter_reduce(0, pair[is_top], box[is_top], "amin")


def _best_boxes(pairs: Pairs, image: Int[Tensor, " K"]) -> Int[Tensor, " anchors"]:
    """Return the box of largest IoU for every anchor that occurs."""
    _, anchor = (image * KEYS + pairs.key).unique(return_inverse=True)
    top = torch.zeros(int(anchor.max()) + 1 if len(anchor) else 0).scatter_reduce(0, anchor, pairs.iou, "amax")
    is_top = pairs.iou == top[anchor]
    return torch.full_like(top, torch.iinfo(torch.int64).max, dtype=torch.int64).scatter_reduce(
        0, anchor[is_top], pairs.box[is_top], "amin"
    )


def _concatenate(parts: list[Pairs]) -> Pairs:
    if not parts:
        empty = torch.zeros(0, dtype=torch.int64)
        return Pairs(empty, empty, torch.zeros(0, 4), torch.zeros(0))
    columns = ([getattr(pairs, name) for pairs in parts] for name in ("box", "key", "anchor", "iou"))
    return Pairs(*(torch.cat(column) for column in columns))


def _select(pairs: Pairs, keep: Tensor) -> Pairs:
    return Pairs(pairs.box[keep], pairs.key[keep], pairs.anchor[keep], pairs.iou[keep])
