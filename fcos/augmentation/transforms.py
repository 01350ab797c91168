"""Resize and flip of uint8 images and their boxes; augmentation depends on (seed, epoch, index) alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from fcos.config.choices import BoxConvention


@dataclass(frozen=True)
class AugmentationSample:
    """Random numbers in [0, 1) that determine the augmentation of one sample."""

    short_side: float
    flip: float


def sample_augmentation(seed: int, epoch: int, index: int) -> AugmentationSample:
    """Sample the augmentation of a training sample, independent of process and order.

    All numbers are always drawn, so that disabling one transform does not change the others.
    """
    short_side, flip = np.random.default_rng([seed, epoch, index]).random(2)
    return AugmentationSample(float(short_side), float(flip))


def pick(options: Sequence[int], fraction: float) -> int:
    """Return the option at a fraction in [0, 1) of the list."""
    return options[int(fraction * len(options))]


def resize_image(image: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    """Resize an image to (height, width)."""
    if size == tuple(image.shape[-2:]):
        return image
    resized: Tensor = transforms.resize(image, list(size), antialias=True)
    return resized


def resize_boxes(
    boxes: Float[Tensor, "M 4"], image_size: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "M 4"]:
    """Scale the boxes of an image resized to `size` by the ratios of the rounded sides."""
    if size == image_size:
        return boxes
    scaled: Any = transforms.resize(_boxes(boxes, image_size), list(size))
    resized: Tensor = scaled.as_subclass(Tensor)
    return resized


def flip(
    image: UInt8[Tensor, "3 H W"], boxes: Float[Tensor, "M 4"], box_convention: BoxConvention = "plain"
) -> tuple[UInt8[Tensor, "3 H W"], Float[Tensor, "M 4"]]:
    """Mirror image and boxes left to right.

    Inclusive box coordinates are pixel indices, the last of which is W - 1.
    """
    mirrored: Any = transforms.horizontal_flip(_boxes(boxes, (image.shape[-2], image.shape[-1])))
    flipped: Any = transforms.horizontal_flip(image)
    flipped_boxes = mirrored.as_subclass(Tensor)
    if box_convention == "inclusive":
        flipped_boxes = flipped_boxes - flipped_boxes.new_tensor([1.0, 0.0, 1.0, 0.0])
    return flipped, flipped_boxes


def _boxes(boxes: Float[Tensor, "M 4"], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(boxes.clone(), format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size)
