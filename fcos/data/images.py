"""Open image files as RGB tensors, and check them before a run starts."""

import hashlib
import io
import json
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from fcos.data.reading import CountCallback, file_stat, read_bytes
from fcos.errors import DataError

# What Pillow raises for files that are not images, or broken.
_PILLOW_ERRORS: Final = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def open_image(path: Path, size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 H W"]:
    """Read an image as RGB uint8, 3 x H x W.

    Gray is repeated, transparency dropped, CMYK converted, and 16 bits are scaled so that 65535 becomes 255. `size` is
    the annotated (height, width). EXIF orientation is not applied, as in COCO's own tools.

    Raises DataError naming the file where it is missing, broken, of another size, or has pixels that cannot be
    converted to RGB, and ReadError where it cannot be read for now.
    """
    content = read_bytes(path, "image file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_size(path, image, size)
            # Not torchvision.io 0.29, which crashes on a broken PNG and is deprecated.
            return _to_rgb(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except _PILLOW_ERRORS as error:
        # Pillow's message would name the buffer by its memory address.
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
        # Palettes may have transparency, which Pillow drops without a warning only through RGBA.
        source = image.convert("RGBA") if image.mode in ("P", "PA") else image
        pixels = np.array(source if source.mode == "RGB" else source.convert("RGB"))
    # A channels-last view, which is also faster to resize.
    return torch.from_numpy(pixels).permute(2, 0, 1)


def check_images(
    paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    num_threads: int = 8,
    on_count: CountCallback | None = None,
) -> dict[int, str]:
    """Open and decode every image; return the reasons of failures by position.

    Raises ReadError where an image cannot be read for now, which is no reason to leave it out.
    """

    def check(path: Path, size: tuple[int, int]) -> str | None:
        try:
            open_image(path, size)
        except DataError as error:
            return str(error)
        return None

    failures: dict[int, str] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for position, reason in enumerate(pool.map(check, paths, sizes)):
            if reason is not None:
                failures[position] = reason
            if on_count is not None:
                on_count(position + 1, len(paths))
    return failures


Size = tuple[int, int]
# (name, bytes, modification time in ns) of a file; -1 for both where it is missing.
FileStat = tuple[str, int, int]


@dataclass(frozen=True)
class ImageFiles:
    """Image files of one folder with their annotated (height, width) and the target (height, width)."""

    folder: Path
    stats: tuple[FileStat, ...]
    sizes: tuple[Size, ...]
    target_sizes: tuple[Size, ...]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name, _, _ in self.stats]

    @property
    def fingerprint(self) -> str:
        """Return a digest of the files and their annotated sizes."""
        text = json.dumps([str(self.folder.resolve()), self.stats, self.sizes])
        return hashlib.sha256(text.encode()).hexdigest()

    def select(self, positions: Int64[np.ndarray, " n"]) -> "ImageFiles":
        """Return the files at these positions, in this order."""

        def take(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[position] for position in positions.tolist())

        return ImageFiles(self.folder, take(self.stats), take(self.sizes), take(self.target_sizes))


def file_stats(folder: Path, names: Sequence[str]) -> tuple[FileStat, ...]:
    """Return size and time of each file, -1 for both where it is missing or must not be read.

    Raises ReadError.
    """
    stats = []
    for name in names:
        try:
            stat = file_stat(folder / name)
        except DataError:
            # The error is reported when the image is opened.
            stat = None
        stats.append((name, -1, -1) if stat is None else (name, stat.st_size, stat.st_mtime_ns))
    return tuple(stats)


def check_files(files: ImageFiles, cache: Path, on_count: CountCallback | None) -> dict[int, str]:
    """Return the reasons of images that do not open by position; cached while no file changes."""
    marker = cache / "image_checks" / files.fingerprint[:32]
    if file_stat(marker) is not None:
        return {}
    failures = check_images(files.paths, files.sizes, on_count=on_count)
    # Failures are not cached: their cause may disappear without a change of the file.
    if not failures:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return failures
