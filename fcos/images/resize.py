"""Resize decoded images as training does, with torchvision; imported only where an image has another size."""

import numpy as np
import torch
from jaxtyping import UInt8

from fcos.augmentation.transforms import resize_image


def resize_pixels(pixels: UInt8[np.ndarray, "3 H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "3 h w"]:
    """Resize an image to (height, width)."""
    resized: UInt8[np.ndarray, "3 h w"] = resize_image(torch.from_numpy(pixels), size).numpy()
    return resized
