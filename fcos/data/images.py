"""Image files: opened as RGB tensors, and checked before anything expensive begins."""

import io
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from fcos.data.errors import DataError
from fcos.data.reading import read_bytes

# Told how many of how many are done.
Counter = Callable[[int, int], None]

# What Pillow raises over files that are no image, or a broken one.
_BROKEN: Final = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def open_image(path: Path, size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 H W"]:
    """One image as RGB.

    Gray is repeated, transparency dropped, CMYK converted, 16 bits scaled so that 65535 becomes 255. `size`
    is the (height, width) that the annotations say. As COCO's own tools do, EXIF orientation is not applied.
    Raises DataError naming the file where it is missing, broken, of another size, or of pixels that have no
    RGB, and ReadError where it cannot be read just now.
    """
    content = read_bytes(path, "image file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_size(path, image, size)
            # Not torchvision.io 0.29: a broken PNG ends the process there, and it is on its way out.
            return _to_rgb(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except _BROKEN as error:
        # Pillow names the buffer that it read from, at an address that means nothing.
        reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{path}: is not a whole image ({reason})") from None


def _check_size(path: Path, image: Image.Image, size: tuple[int, int] | None) -> None:
    width, height = image.size
    if size is None or size == (height, width):
        return
    hint = ""
    if size == (width, height) and image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        hint = "; its EXIF orientation asks for a quarter turn, which COCO format does not apply"
    raise DataError(f"is {width}x{height}, and the annotations say {size[1]}x{size[0]}{hint}")


def _to_rgb(image: Image.Image) -> UInt8[Tensor, "3 H W"]:
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.uint32)
        pixels = np.repeat(((gray * 255 + 32767) // 65535).astype(np.uint8)[:, :, None], 3, axis=2)
    elif image.mode in ("I", "F"):
        raise DataError(f"has {image.mode}-mode pixels (32 bits a pixel), for which no scale to 8 bits is known")
    else:
        # Palettes may carry transparency, which Pillow drops without a word only by way of RGBA.
        source = image.convert("RGBA") if image.mode in ("P", "PA") else image
        pixels = np.array(source if source.mode == "RGB" else source.convert("RGB"))
    # A view with the channels last in memory, which also resizes faster.
    return torch.from_numpy(pixels).permute(2, 0, 1)


def check_images(
    paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    num_threads: int = 8,
    count: Counter | None = None,
) -> dict[int, str]:
    """Open and decode every image: the positions of those that fail, with reasons that name the files.

    Raises ReadError where an image cannot be read just now, which is no reason to leave it out.
    """

    def reason(path: Path, size: tuple[int, int]) -> str | None:
        try:
            open_image(path, size)
        except DataError as error:
            return str(error)
        return None

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for position, found in enumerate(pool.map(reason, paths, sizes)):
            if found is not None:
                bad[position] = found
            if count is not None:
                count(position + 1, len(paths))
    return bad
