"""An image with its objects, and the crops, resizes and paddings that augmentations consist of."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from fcos.augmentation.transforms import resize_image

# RGB of what no image covers: the mean of ImageNet, which the detector normalises to about 0.
FILL: Final = (124, 116, 104)
# Boxes with a shorter side, in pixels, are dropped by crops and resizes.
MIN_SIDE: Final = 1.0


@dataclass(frozen=True)
class LabeledImage:
    """An image with the objects that are trained on: boxes are xyxy in its pixels, with x2 - x1 as the width.

    `masks` are bitmaps in the frames of the boxes. The pixels may belong to a cache and are never written in place.
    """

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "M 4"]
    labels: Int[Tensor, " M"]
    masks: Bool[Tensor, "M S S"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.image.shape[1], self.image.shape[2]


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.height, self.width


def keep_objects(item: LabeledImage, keep: Bool[Tensor, " M"]) -> LabeledImage:
    """Return the image with some of its objects."""
    masks = None if item.masks is None else item.masks[keep]
    return LabeledImage(item.image, item.boxes[keep], item.labels[keep], masks)


def crop(item: LabeledImage, window: Window, min_visible: float) -> LabeledImage:
    """Crop to a window inside the image and clip the boxes.

    Boxes with a share of their area inside below `min_visible`, or a side below MIN_SIDE, are dropped. The pixels are a
    view of the image's.
    """
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    shifted = item.boxes - item.boxes.new_tensor([window.left, window.top, window.left, window.top])
    clipped = shifted.clamp(min=0).minimum(shifted.new_tensor([window.width, window.height] * 2))
    keep = _is_wide(clipped) & (_area(clipped) >= min_visible * _area(shifted))
    masks = None if item.masks is None else reframe_masks(item.masks[keep], shifted[keep], clipped[keep])
    return LabeledImage(item.image[:, rows, columns], clipped[keep], item.labels[keep], masks)


def resize(item: LabeledImage, size: tuple[int, int]) -> LabeledImage:
    """Resize to (height, width), and drop boxes with a side below MIN_SIDE."""
    if size == item.size:
        return item
    # The resizer is several times as fast on packed pixels, channels last, as on a view of a larger image.
    packed = item.image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    ratios = item.boxes.new_tensor([size[1] / item.size[1], size[0] / item.size[0]] * 2)
    # Rounded products may lie beyond the edge.
    boxes = (item.boxes * ratios).minimum(item.boxes.new_tensor([size[1], size[0]] * 2))
    resized = LabeledImage(resize_image(packed, size), boxes, item.labels, item.masks)
    return keep_objects(resized, _is_wide(boxes))


def pad(item: LabeledImage, size: tuple[int, int], top: int = 0, left: int = 0) -> LabeledImage:
    """Return the image at a position of a blank canvas of (height, width)."""
    if size == item.size:
        return item
    canvas = blank(size)
    canvas[:, top : top + item.size[0], left : left + item.size[1]] = item.image
    return LabeledImage(canvas, shift(item.boxes, top, left), item.labels, item.masks)


def blank(size: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    """Return a new image of (height, width) in the colour FILL, channels last in memory."""
    return torch.tensor(FILL, dtype=torch.uint8).repeat(*size, 1).permute(2, 0, 1)


def shift(boxes: Float[Tensor, "M 4"], top: int, left: int) -> Float[Tensor, "M 4"]:
    """Return the boxes moved down and right."""
    return boxes + boxes.new_tensor([left, top, left, top])


def fitting_size(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) with the aspect ratio of `size` that fits into `frame`."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (min(max(round(side * scale), 1), limit) for side, limit in zip(size, frame, strict=True))
    return height, width


def reframe_masks(
    masks: Bool[Tensor, "M S S"], boxes: Float[Tensor, "M 4"], frames: Float[Tensor, "M 4"]
) -> Bool[Tensor, "M S S"]:
    """Return the masks, bitmaps in the frames of `boxes`, in other frames: each cell takes the cell at its center.

    Cells outside of their box take the nearest one. Both must have an area; boxes are xyxy in the same pixels.
    """
    side = masks.shape[-1]
    center = (torch.arange(side) + 0.5) / side
    # Columns and rows of the old bitmap for each cell of the new one: M x 2 x S.
    start, extent = frames[:, :2, None], (frames[:, 2:] - frames[:, :2])[..., None]
    old_extent = (boxes[:, 2:] - boxes[:, :2])[..., None]
    fraction = (start + center * extent - boxes[:, :2, None]) / old_extent
    columns, rows = (fraction * side).floor().clamp(0, side - 1).long().unbind(1)
    return masks[torch.arange(len(masks))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _is_wide(boxes: Float[Tensor, "M 4"]) -> Bool[Tensor, " M"]:
    return (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(dim=1)


def _area(boxes: Float[Tensor, "M 4"]) -> Float[Tensor, " M"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
