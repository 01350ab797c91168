"""Augmentations of one training sample, each with draws from (seed, epoch, index, its name) alone.

All keep the size of the sample, which the planning of batches knows without opening an image, and work on the image as
it was resized to that size: results are the same with and without a cache of decoded images, and the cost is bounded by
the size of the network's input. What is enlarged therefore has no more detail than that.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms.v2 import functional

from fcos.augmentation.compositing import copy_paste, mixup, mosaic
from fcos.augmentation.labeled_image import LabeledImage, Window, crop, fitting_size, keep_objects, pad, resize
from fcos.config.augmentation import AugmentationConfig

# As torchvision's RandomPhotometricDistort: smallest and largest factor, and for the hue a part of the colour circle.
BRIGHTNESS: Final = (0.875, 1.125)
CONTRAST: Final = (0.5, 1.5)
SATURATION: Final = (0.5, 1.5)
HUE: Final = (-0.05, 0.05)
# As torchvision's RandomZoomOut.
MAX_ZOOM_OUT: Final = 4.0
# As torchvision's RandomIoUCrop: smallest IoU of the window with a box (1 leaves the image as it is), shares of each
# side, aspect ratios, and windows that are tried for each IoU.
IOU_OPTIONS: Final = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
IOU_CROP_SHARES: Final = (0.3, 1.0)
IOU_CROP_ASPECTS: Final = (0.5, 2.0)
IOU_CROP_TRIES: Final = 40

Draws = np.random.Generator


def draws_of(seed: int, epoch: int, index: int, name: str) -> Draws:
    """Return the generator of one augmentation of one sample, independent of all others, of process and order."""
    return np.random.default_rng([seed, epoch, index, zlib.crc32(name.encode())])


def augment(
    item: LabeledImage,
    config: AugmentationConfig,
    draws: Callable[[str], Draws],
    load: Callable[[int], LabeledImage],
    num_images: int,
) -> LabeledImage:
    """Apply the configured augmentations to a sample at the network's input size, which stays as it is.

    `draws` returns the generator of an augmentation by its name, and `load` the sample of an index below `num_images`,
    of which mosaic, copy_paste and mixup sample the images that they combine.
    """
    combining = (("mosaic", config.mosaic, 3), ("copy_paste", config.copy_paste, 1), ("mixup", config.mixup, 1))
    for name, probability, num_others in combining:
        generator = draws(name)
        if generator.random() >= probability:
            continue
        others = [load(int(index)) for index in generator.integers(num_images, size=num_others)]
        match name:
            case "mosaic":
                item = mosaic(item, others, generator, config.min_visible)
            case "copy_paste":
                item = copy_paste(item, others[0], generator, config.min_visible)
            case "mixup":
                item = mixup(item, others[0], generator)
    if config.photometric:
        item = photometric(item, config.photometric, draws("photometric"))
    if config.zoom_out:
        item = zoom_out(item, config.zoom_out, draws("zoom_out"))
    if config.iou_crop:
        item = iou_crop(item, config.iou_crop, draws("iou_crop"), config.min_visible)
    if config.random_crop is not None:
        item = random_crop(item, config.random_crop, draws("random_crop"), config.min_visible)
    if config.scale_jitter is not None:
        item = scale_jitter(item, config.scale_jitter, draws("scale_jitter"), config.min_visible)
    return item


def photometric(item: LabeledImage, probability: float, generator: Draws) -> LabeledImage:
    """Change brightness, contrast, saturation and hue, each with this probability, as SSD (arXiv 1512.02325).

    Contrast comes first or last, half of the time each. Channels are never permuted: SSD's own settings switch that
    off, and colours may distinguish classes.
    """
    is_on = generator.random(4) < probability
    fractions = generator.random(4)
    contrast_first = bool(generator.random() < 0.5)
    if not is_on.any():
        return item
    # On pictures of Pillow the same functions are four times as fast, in whole numbers.
    picture = Image.fromarray(item.image.permute(1, 2, 0).numpy())
    steps = [
        (functional.adjust_brightness, BRIGHTNESS, 0),
        (functional.adjust_contrast, CONTRAST, 1),
        (functional.adjust_saturation, SATURATION, 2),
        (functional.adjust_hue, HUE, 3),
    ]
    if not contrast_first:
        steps.append(steps.pop(1))
    for adjust, (low, high), number in steps:
        if is_on[number]:
            picture = adjust(picture, low + float(fractions[number]) * (high - low))
    return replace(item, image=functional.pil_to_tensor(picture))


def zoom_out(item: LabeledImage, probability: float, generator: Draws) -> LabeledImage:
    """Shrink the image by 1 to 4 onto a blank canvas, at a random position, as SSD.

    SSD pads the image, and resizes it to the network's input afterwards; here both are one step.
    """
    apply, fraction, y, x = generator.random(4).tolist()
    if apply >= probability:
        return item
    factor = 1 + fraction * (MAX_ZOOM_OUT - 1)
    small = resize(item, _scaled(item.size, 1 / factor))
    spare = (item.size[0] - small.size[0], item.size[1] - small.size[1])
    return pad(small, item.size, _whole(y, spare[0]), _whole(x, spare[1]))


def iou_crop(item: LabeledImage, probability: float, generator: Draws, min_visible: float) -> LabeledImage:
    """Crop to a window that overlaps a box by a sampled IoU, as SSD, and enlarge it to fit.

    Boxes with their center outside are dropped. The smallest IoUs are tried in random order until one has a window, or
    until the one comes that leaves the image as it is; an image without boxes stays as it is. The aspect ratio is kept,
    the remaining canvas is blank; SSD stretches the window to its square input.
    """
    if generator.random() >= probability or not len(item.boxes):
        return item
    for number in generator.permutation(len(IOU_OPTIONS)).tolist():
        if IOU_OPTIONS[number] >= 1:
            return item
        draws = generator.random((4, IOU_CROP_TRIES))
        windows = _candidate_windows(item.size, draws)
        edges = torch.from_numpy(windows).to(item.boxes.dtype)
        has_center = _centers_inside(item, edges)
        overlap = box_iou(edges, item.boxes).where(has_center, -1.0).amax(dim=1)
        found = ((overlap >= IOU_OPTIONS[number]) & has_center.any(dim=1)).nonzero()
        if len(found):
            row = int(found[0])
            left, top, right, bottom = windows[row].tolist()
            kept = keep_objects(item, has_center[row])
            return _fit(crop(kept, Window(top, left, bottom - top, right - left), min_visible), item.size)
    return item


def random_crop(item: LabeledImage, min_share: float, generator: Draws, min_visible: float) -> LabeledImage:
    """Crop each side to a random share, around the center of a random box if there is one, and enlarge it to fit.

    As detectron2's RandomCrop with relative_range; the aspect ratio is kept, the remaining canvas is blank.
    """
    share_y, share_x, y, x, chosen = generator.random(5).tolist()
    height, width = item.size
    window_height, window_width = (
        max(round(side * (min_share + (1 - min_share) * share)), 1)
        for side, share in ((height, share_y), (width, share_x))
    )
    center_y = center_x = None
    if len(item.boxes):
        x1, y1, x2, y2 = item.boxes[int(chosen * len(item.boxes))].tolist()
        center_y, center_x = (y1 + y2) / 2, (x1 + x2) / 2
    top = _window_start(height, window_height, center_y, y)
    left = _window_start(width, window_width, center_x, x)
    return _fit(crop(item, Window(top, left, window_height, window_width), min_visible), item.size)


def scale_jitter(
    item: LabeledImage, factors: tuple[float, float], generator: Draws, min_visible: float
) -> LabeledImage:
    """Scale the image by a random factor, then crop at random or pad at right and bottom to the size it had.

    As the large scale jitter of Simple Copy-Paste (arXiv 2012.07177), which uses factors of 0.1 to 2.
    """
    fraction, y, x = generator.random(3).tolist()
    factor = factors[0] + fraction * (factors[1] - factors[0])
    if factor <= 1:
        return pad(resize(item, _scaled(item.size, factor)), item.size)
    height, width = _scaled(item.size, 1 / factor)
    window = Window(_whole(y, item.size[0] - height), _whole(x, item.size[1] - width), height, width)
    return resize(crop(item, window, min_visible), item.size)


def _fit(item: LabeledImage, size: tuple[int, int]) -> LabeledImage:
    """Enlarge to fit into (height, width) with the aspect ratio kept; the rest at right or bottom is blank."""
    return pad(resize(item, fitting_size(item.size, size)), size)


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def _whole(fraction: float, most: int) -> int:
    """Return the whole number from 0 to `most`, both included, at a fraction in [0, 1)."""
    return int(fraction * (most + 1))


def _window_start(length: int, window: int, center: float | None, fraction: float) -> int:
    """Return where a window of a side starts, so that it lies within the side and holds the center."""
    first, last = 0, length - window
    if center is not None:
        first, last = max(0, int(np.ceil(center - window))), min(last, int(center))
    return first + _whole(fraction, last - first)


def _candidate_windows(size: tuple[int, int], draws: Float64[np.ndarray, "4 K"]) -> Int64[np.ndarray, "T 4"]:
    """Return the windows (xyxy) of a valid aspect ratio inside an image of (height, width)."""
    low, high = IOU_CROP_SHARES
    h, w = (np.array(size)[:, None] * (low + (high - low) * draws[:2])).astype(np.int64)
    y1, x1 = ((np.array(size)[:, None] - (h, w)) * draws[2:]).astype(np.int64)
    is_valid = (h >= 1) & (w >= 1) & (w >= IOU_CROP_ASPECTS[0] * h) & (w <= IOU_CROP_ASPECTS[1] * h)
    windows: Int64[np.ndarray, "T 4"] = np.stack([x1, y1, x1 + w, y1 + h], axis=1)[is_valid]
    return windows


def _centers_inside(item: LabeledImage, windows: Tensor) -> Bool[Tensor, "T M"]:
    """Return which boxes have their center inside each window."""
    center = (item.boxes[:, :2] + item.boxes[:, 2:]) / 2
    inside = (windows[:, None, :2] < center) & (center < windows[:, None, 2:])
    return inside.all(dim=2)
