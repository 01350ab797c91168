"""RetinaNet's anchors and its matching with low-quality rules (v1 table 1, v2 table 1): which boxes get an anchor.

A box and an anchor overlap by a product of an overlap in x and one in y. So a box's best IoU is known for each anchor
shape from the nearest column and the nearest row alone, and pairs above a threshold lie in a small window around the
box. No matrix of all anchors and boxes is ever made.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fcos.config.choices import AnchorRounding, LowQuality
from fcos.coverage.boxes import InputBoxes

# How base anchors are made: maskrcnn-benchmark's whole pixels around the cell's middle, detectron2's exact sizes
# around the cell's corner, torchvision's rounded ones around the corner.
LEAST_IOU = {"none": math.inf, "iou0_4": 0.4, "all": 0.0}
FOREGROUND = 0.5
SIZES = (32, 64, 128, 256, 512)
STRIDES = (8, 16, 32, 64, 128)
ASPECT_RATIOS = (0.5, 1.0, 2.0)
SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
PAIR_BUDGET = 1 << 18
# More than the cells in an axis of an image, and than all anchors of one.
CELLS = 1 << 16
KEYS = 9 * len(STRIDES) * CELLS**2


@dataclass(frozen=True)
class Pairs:
    """Boxes and anchors that belong together in one way or another; `anchor` rows are xyxy pixels."""

    box: Int[Tensor, " K"]
    # Unique over levels, shapes and positions, not over images.
    key: Int[Tensor, " K"]
    anchor: Float[Tensor, "K 4"]
    iou: Float[Tensor, " K"]


def base_anchors(size: int, stride: int, kind: AnchorRounding) -> Float[Tensor, "9 4"]:
    """The nine anchors of a level's first cell, xyxy."""
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
            # Sides are rounded at the cell's own size, pixels count inclusively.
            width = float(round(math.sqrt(stride * stride / ratio)))
            height = float(round(width * ratio))
            factor = size * scale / stride
            width, height = width * factor - 1, height * factor - 1
            center = (stride - 1) / 2
        rows.append([center - width / 2, center - height / 2, center + width / 2, center + height / 2])
    return torch.tensor(rows)


def recalled(
    part: InputBoxes, kind: AnchorRounding, rules: tuple[LowQuality, ...]
) -> dict[LowQuality, Int[Tensor, " boxes"]]:
    """For each rule the boxes, as rows of `part`, that own an anchor.

    An anchor belongs to the box with the largest IoU (ties: the first) where that is 0.5 or more; a rule also admits
    the anchors that are the best of some box, from its least IoU on, and these too belong to their own largest box.
    """
    boxes = torch.from_numpy(part.boxes)
    if not len(boxes):
        return {rule: torch.zeros(0, dtype=torch.int64) for rule in rules}
    image = torch.from_numpy(part.image)
    sizes = torch.from_numpy(part.sizes)[image]
    extra = 1.0 if kind == "maskrcnn_benchmark" else 0.0
    columns = [torch.div(sizes[:, 1] + stride - 1, stride, rounding_mode="floor") for stride in STRIDES]
    rows = [torch.div(sizes[:, 0] + stride - 1, stride, rounding_mode="floor") for stride in STRIDES]
    bases = [base_anchors(size, stride, kind) for size, stride in zip(SIZES, STRIDES, strict=True)]
    grid = [torch.stack([r, c], dim=1) for r, c in zip(rows, columns, strict=True)]
    above = _concatenate(
        [
            _pairs(boxes, base, grid[level], level, shape, extra, FOREGROUND)
            for level in range(len(STRIDES))
            for shape, base in enumerate(bases[level])
        ]
    )
    owners = _largest(above, image[above.box])
    if set(rules) == {"none"}:
        return {"none": owners.unique()}
    best = _best(boxes, bases, grid, extra)
    found: dict[LowQuality, Int[Tensor, " boxes"]] = {}
    low_quality = _owners_of(best, boxes, image, torch.from_numpy(part.offsets), extra)
    for rule in rules:
        admitted = best.iou >= LEAST_IOU[rule]
        found[rule] = torch.cat([owners, low_quality[admitted]]).unique()
    return found


def _pairs(
    boxes: Float[Tensor, "M 4"],
    base: Float[Tensor, " 4"],
    grid: Int[Tensor, "M 2"],
    level: int,
    shape: int,
    extra: float,
    least: float,
) -> Pairs:
    """Pairs of an IoU of at least `least` with one anchor shape."""
    width, height = (base[2:] - base[:2] + extra).tolist()
    sides = boxes[:, 2:] - boxes[:, :2] + extra
    # IoU is at most the ratio of the sides in either axis; a little is left for rounding.
    slack = least * 0.999
    fits = (sides[:, 0] >= slack * width) & (sides[:, 0] * slack <= width)
    fits &= (sides[:, 1] >= slack * height) & (sides[:, 1] * slack <= height)
    chosen = fits.nonzero().squeeze(1)
    # The centers are at most this far apart, since the shared length must be IoU / (1 + IoU) of both sides together.
    reach_x, reach_y = (side * (1 - slack) / (2 * slack) for side in (width, height))
    stride = STRIDES[level]
    count_x, count_y = (math.floor(2 * reach / stride) + 3 for reach in (reach_x, reach_y))
    step = max(1, PAIR_BUDGET // (count_x * count_y))
    found = []
    for first in range(0, len(chosen), step):
        rows = chosen[first : first + step]
        start = ((boxes[rows, :2] + boxes[rows, 2:] - base[:2] - base[2:]) / 2).sub(torch.tensor([reach_x, reach_y]))
        start = (start / stride).floor().long()
        found.append(_window(boxes, rows, base, grid, level, shape, start, (count_x, count_y), extra, least))
    return _concatenate(found)


def _window(
    boxes: Float[Tensor, "M 4"],
    rows: Int[Tensor, " m"],
    base: Float[Tensor, " 4"],
    grid: Int[Tensor, "M 2"],
    level: int,
    shape: int,
    start: Int[Tensor, "m 2"],
    count: tuple[int, int],
    extra: float,
    least: float | Float[Tensor, " m"],
) -> Pairs:
    """The pairs of some boxes with the anchors of a window of cells, which begins at (column, row) `start`."""
    column = start[:, :1] + torch.arange(count[0])
    row = start[:, 1:] + torch.arange(count[1])
    inside_x = (column >= 0) & (column < grid[rows, 1:])
    inside_y = (row >= 0) & (row < grid[rows, :1])
    x = base[[0, 2]] + (column * STRIDES[level])[..., None]
    y = base[[1, 3]] + (row * STRIDES[level])[..., None]
    box = boxes[rows]
    shared_x = torch.minimum(x[..., 1], box[:, None, 2]) - torch.maximum(x[..., 0], box[:, None, 0]) + extra
    shared_y = torch.minimum(y[..., 1], box[:, None, 3]) - torch.maximum(y[..., 0], box[:, None, 1]) + extra
    shared = shared_y.clamp(min=0)[:, :, None] * shared_x.clamp(min=0)[:, None, :]
    area = (y[..., 1] - y[..., 0] + extra)[:, :, None] * (x[..., 1] - x[..., 0] + extra)[:, None, :]
    own = ((box[:, 2] - box[:, 0] + extra) * (box[:, 3] - box[:, 1] + extra))[:, None, None]
    iou = shared / (own + area - shared)
    bound = least[:, None, None] if isinstance(least, Tensor) else least
    which, j, i = ((iou >= bound) & inside_y[:, :, None] & inside_x[:, None, :]).nonzero(as_tuple=True)
    cell = row[which, j] * CELLS + column[which, i]
    anchor = torch.stack([x[which, i, 0], y[which, j, 0], x[which, i, 1], y[which, j, 1]], dim=1)
    return Pairs(rows[which], (level * 9 + shape) * CELLS**2 + cell, anchor, iou[which, j, i])


def _best(
    boxes: Float[Tensor, "M 4"], bases: list[Float[Tensor, "9 4"]], grid: list[Int[Tensor, "M 2"]], extra: float
) -> Pairs:
    """Each box with all the anchors that reach its largest IoU exactly."""
    bounds = torch.stack(
        [
            _largest_iou(boxes, base, grid[level], STRIDES[level], extra)
            for level in range(len(STRIDES))
            for base in bases[level]
        ],
        dim=1,
    )
    least = bounds.amax(1) * (1 - 1e-5)
    found = []
    for number, (level, shape) in enumerate(product(range(len(STRIDES)), range(9))):
        base, stride = bases[level][shape], STRIDES[level]
        chosen = (bounds[:, number] >= least).nonzero().squeeze(1)
        middle = (boxes[chosen, :2] + boxes[chosen, 2:] - base[:2] - base[2:]) / 2 / stride
        # Where one side lies inside the other, the anchor may move by their difference without a change.
        free = ((boxes[chosen, 2:] - boxes[chosen, :2]) - (base[2:] - base[:2])).abs() / stride
        for first in range(0, len(chosen), 512):
            rows = slice(first, first + 512)
            if not len(chosen[rows]):
                continue
            count = tuple(int(side) + 4 for side in free[rows].amax(0).tolist())
            start = (middle[rows] - free[rows] / 2).floor().long() - 1
            # An image's edge may be nearer than the middle of the box.
            start = torch.minimum(start, grid[level][chosen[rows]].flip(1) - 1).clamp(min=0)
            found.append(
                _window(
                    boxes,
                    chosen[rows],
                    base,
                    grid[level],
                    level,
                    shape,
                    start,
                    (count[0], count[1]),
                    extra,
                    least[chosen[rows]],
                )
            )
    near = _concatenate(found)
    top = torch.zeros(len(boxes)).scatter_reduce(0, near.box, near.iou, "amax")
    return _select(near, near.iou == top[near.box])


def _largest_iou(
    boxes: Float[Tensor, "M 4"], base: Float[Tensor, " 4"], grid: Int[Tensor, "M 2"], stride: int, extra: float
) -> Float[Tensor, " M"]:
    """The largest IoU with one anchor shape: that of the cell nearest to the box's center in each axis."""
    middle = (boxes[:, :2] + boxes[:, 2:] - base[:2] - base[2:]) / 2 / stride
    cell = torch.minimum(middle.round().clamp(min=0), grid.flip(1) - 1.0)
    near, far = base[:2] + cell * stride, base[2:] + cell * stride
    shared = (torch.minimum(far, boxes[:, 2:]) - torch.maximum(near, boxes[:, :2]) + extra).clamp(min=0).prod(1)
    both = (far - near + extra).prod(1) + (boxes[:, 2:] - boxes[:, :2] + extra).prod(1)
    return shared / (both - shared)


def _owners_of(
    best: Pairs, boxes: Float[Tensor, "M 4"], image: Int[Tensor, " M"], offsets: Int[Tensor, " N"], extra: float
) -> Int[Tensor, " K"]:
    """The box with the largest IoU, of all boxes of the image, for each anchor."""
    counts = (offsets[1:] - offsets[:-1])[image[best.box]]
    pair = torch.repeat_interleave(torch.arange(len(best.box)), counts)
    place = torch.arange(len(pair)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    box = offsets[image[best.box]][pair] + place
    one, other = best.anchor[pair], boxes[box]
    shared = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2]) + extra
    shared = shared.clamp(min=0).prod(1)
    areas = (one[:, 2:] - one[:, :2] + extra).prod(1) + (other[:, 2:] - other[:, :2] + extra).prod(1)
    iou = shared / (areas - shared)
    top = torch.zeros(len(best.box)).scatter_reduce(0, pair, iou, "amax")
    is_top = iou == top[pair]
    return torch.full((len(best.box),), len(boxes)).scatter_reduce(0, pair[is_top], box[is_top], "amin")


def _largest(pairs: Pairs, image: Int[Tensor, " K"]) -> Int[Tensor, " anchors"]:
    """The box with the largest IoU of every anchor that occurs."""
    _, anchor = (image * KEYS + pairs.key).unique(return_inverse=True)
    top = torch.zeros(int(anchor.max()) + 1 if len(anchor) else 0).scatter_reduce(0, anchor, pairs.iou, "amax")
    is_top = pairs.iou == top[anchor]
    return torch.full_like(top, torch.iinfo(torch.int64).max, dtype=torch.int64).scatter_reduce(
        0, anchor[is_top], pairs.box[is_top], "amin"
    )


def _concatenate(found: list[Pairs]) -> Pairs:
    if not found:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Pairs(nothing, nothing, torch.zeros(0, 4), torch.zeros(0))
    columns = ([getattr(pairs, name) for pairs in found] for name in ("box", "key", "anchor", "iou"))
    return Pairs(*(torch.cat(column) for column in columns))


def _select(pairs: Pairs, keep: Tensor) -> Pairs:
    return Pairs(pairs.box[keep], pairs.key[keep], pairs.anchor[keep], pairs.iou[keep])
