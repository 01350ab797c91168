"""Augmentations that combine several images: mosaic, mixup and copy-paste."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fcos.augmentation.labeled_image import (
    LabeledImage,
    Window,
    blank,
    crop,
    fitting_size,
    keep_objects,
    pad,
    reframe_masks,
    resize,
    shift,
)

# The corner where the four images of a mosaic meet lies within these shares of each side.
MOSAIC_CENTER: Final = (0.25, 0.75)
# Both parameters of the beta distribution of mixup's weight: near one half, as both images' boxes count in full.
MIXUP_BETA: Final = 32.0
# Probability of each object of the other image to be pasted.
PASTED_SHARE: Final = 0.5


def mosaic(
    item: LabeledImage, others: Sequence[LabeledImage], generator: np.random.Generator, min_visible: float
) -> LabeledImage:
    """Put four images around a random corner, each at half the size, in random order (YOLOv4, arXiv 2004.10934).

    Other images are fitted to the size of the first. What lies outside of the canvas is cut off, what no image covers
    is blank.
    """
    height, width = item.size
    low, high = MOSAIC_CENTER
    center_y, center_x = (
        round(side * (low + (high - low) * share))
        for side, share in zip(item.size, generator.random(2).tolist(), strict=True)
    )
    images = [item, *others]
    canvas, parts = blank(item.size), []
    for quadrant, number in enumerate(generator.permutation(4).tolist()):
        is_bottom, is_right = divmod(quadrant, 2)
        half = resize(images[number], fitting_size(images[number].size, ((height + 1) // 2, (width + 1) // 2)))
        rows = min(half.size[0], height - center_y if is_bottom else center_y)
        columns = min(half.size[1], width - center_x if is_right else center_x)
        if not rows or not columns:
            continue
        window = Window(
            0 if is_bottom else half.size[0] - rows, 0 if is_right else half.size[1] - columns, rows, columns
        )
        part = crop(half, window, min_visible)
        top, left = (center_y if is_bottom else center_y - rows), (center_x if is_right else center_x - columns)
        canvas[:, top : top + rows, left : left + columns] = part.image
        parts.append(LabeledImage(part.image, shift(part.boxes, top, left), part.labels, part.masks))
    return _with_objects(canvas, parts)


def mixup(item: LabeledImage, other: LabeledImage, generator: np.random.Generator) -> LabeledImage:
    """Blend another image in, fitted to the size of the first, at its top left; the boxes of both are trained on.

    As for detection in arXiv 1902.04103, geometry is kept; the weight is near one half (Beta(32, 32)), and losses are
    not weighted. Where the other image does not reach, the first stays as it is.
    """
    weight = float(generator.beta(MIXUP_BETA, MIXUP_BETA))
    fitted = resize(other, fitting_size(other.size, item.size))
    height, width = fitted.size
    image = item.image.clone()
    covered = image[:, :height, :width]
    covered.copy_(covered.float().mul(weight).add(fitted.image.float(), alpha=1 - weight).round())
    return _with_objects(image, [item, fitted])


def copy_paste(
    item: LabeledImage, other: LabeledImage, generator: np.random.Generator, min_visible: float
) -> LabeledImage:
    """Paste about half of the objects of another image, by their masks (arXiv 2012.07177).

    The other image is fitted to the size of the first and shifted at random. Masks are bitmaps in the frames of the
    boxes, so that a pasted outline is off by up to half a cell. An object of the first image that is covered in part
    keeps the visible part as its mask, with its box around it; one with too small a share left is dropped.
    """
    assert item.masks is not None and other.masks is not None, "copy_paste needs masks"
    y, x = generator.random(2).tolist()
    is_pasted = torch.from_numpy(generator.random(len(other.boxes)) < PASTED_SHARE)
    fitted = resize(keep_objects(other, is_pasted), fitting_size(other.size, item.size))
    top, left = (int(share * (side - own + 1)) for share, side, own in zip((y, x), item.size, fitted.size, strict=True))
    pasted = pad(fitted, item.size, top, left)
    assert pasted.masks is not None
    if not len(pasted.boxes):
        return item
    covered = _rasterize(pasted.masks, pasted.boxes, item.size)
    below = _uncovered(item, covered, min_visible)
    image = torch.where(covered, pasted.image, item.image)
    return _with_objects(image, [below, pasted])


def _with_objects(image: Tensor, parts: Sequence[LabeledImage]) -> LabeledImage:
    """Return the image with the objects of all parts."""
    masks = [part.masks for part in parts if part.masks is not None]
    return LabeledImage(
        image,
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(masks) if len(masks) == len(parts) else None,
    )


def _rasterize(masks: Bool[Tensor, "M S S"], boxes: Float[Tensor, "M 4"], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Return the pixels of an image of (height, width) whose center lies on one of the masks."""
    side = masks.shape[-1]
    inside = torch.zeros(size, dtype=torch.bool)
    # One by one: a whole image for each of the objects at once would be many times as slow.
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        (rows, row_cells), (columns, column_cells) = (
            _pixels(start, end, length, side) for start, end, length in ((y1, y2, size[0]), (x1, x2, size[1]))
        )
        inside[rows, columns] |= mask[row_cells[:, None], column_cells]
    return inside


def _pixels(start: float, end: float, length: int, cells: int) -> tuple[slice, Tensor]:
    """Return the pixels of a side whose center lies between start and end, and the cell of each."""
    first, last = max(round(start), 0), min(round(end), length)
    centers = torch.arange(first, max(last, first)) + 0.5
    cell = ((centers - start) / (end - start) * cells).floor().clamp(0, cells - 1).long()
    return slice(first, max(last, first)), cell


def _uncovered(item: LabeledImage, covered: Bool[Tensor, "H W"], min_visible: float) -> LabeledImage:
    """Return the objects with what is covered taken off their masks and boxes, without those of which too little stays.

    Edges of boxes move only where the mask's own extent does.
    """
    assert item.masks is not None
    side = item.masks.shape[-1]
    cell = (item.boxes[:, 2:] - item.boxes[:, :2]) / side
    centers = item.boxes[:, :2, None] + cell[..., None] * (torch.arange(side) + 0.5)
    columns, rows = centers[:, 0].long(), centers[:, 1].long()
    is_covered = covered[rows.clamp(0, item.size[0] - 1)[:, :, None], columns.clamp(0, item.size[1] - 1)[:, None, :]]
    visible = item.masks & ~is_covered
    before, after = item.masks.sum((1, 2)), visible.sum((1, 2))
    # A mask without any cell, which trains nothing, stays as it is.
    keep = (after >= min_visible * before) & ((after > 0) | (before == 0))
    moved = (_extent(visible[keep]) - _extent(item.masks[keep])) * cell[keep].repeat(1, 2)
    boxes = item.boxes[keep] + moved
    masks = reframe_masks(visible[keep], item.boxes[keep], boxes)
    return LabeledImage(item.image, boxes, item.labels[keep], masks)


def _extent(masks: Bool[Tensor, "M S S"]) -> Float[Tensor, "M 4"]:
    """Return the first column and row with a cell, and one after the last, as xyxy; 0 for a mask without any."""
    edges = []
    for axis in (1, 2):
        has_cell = masks.any(dim=axis).float()
        first = has_cell.argmax(dim=1)
        last = masks.shape[-1] - has_cell.flip(1).argmax(dim=1)
        edges.append(torch.stack([first, torch.where(has_cell.any(dim=1), last, first)], dim=1))
    (x1, x2), (y1, y2) = (each.unbind(1) for each in edges)
    return torch.stack([x1, y1, x2, y2], dim=1).to(torch.float32)
