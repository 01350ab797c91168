"""Image files: opened as RGB tensors, and checked before anything expensive begins."""

import hashlib
import io
import json
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from fcos.data.reading import file_facts, read_bytes
from fcos.errors import DataError

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


Size = tuple[int, int]
# Name, bytes and modification time (ns) of a file; -1 where there is none.
FileFacts = tuple[str, int, int]


@dataclass(frozen=True)
class ImageFiles:
    """Files of one folder with the (height, width) that their images have, and that they are wanted at."""

    folder: Path
    facts: tuple[FileFacts, ...]
    sizes: tuple[Size, ...]
    wanted_sizes: tuple[Size, ...]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name, _, _ in self.facts]

    @property
    def fingerprint(self) -> str:
        """Stands for the files and for what they are annotated to be."""
        text = json.dumps([str(self.folder.resolve()), self.facts, self.sizes])
        return hashlib.sha256(text.encode()).hexdigest()

    def select(self, positions: Int64[np.ndarray, " n"]) -> "ImageFiles":
        """The files at these positions, in this order."""

        def chosen(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[position] for position in positions.tolist())

        return ImageFiles(self.folder, chosen(self.facts), chosen(self.sizes), chosen(self.wanted_sizes))


def files_on_disk(folder: Path, names: Sequence[str]) -> tuple[FileFacts, ...]:
    """Size and time of each file, -1 for both where there is none that may be read; raises ReadError."""
    facts = []
    for name in names:
        try:
            found = file_facts(folder / name)
        except DataError:
            # Opening it says why.
            found = None
        facts.append((name, -1, -1) if found is None else (name, found.st_size, found.st_mtime_ns))
    return tuple(facts)


def check_files(files: ImageFiles, cache: Path, count: Counter | None) -> dict[int, str]:
    """Positions of the images that do not open, with reasons; in an instant if nothing changed since all did."""
    kept = cache / "image_checks" / files.fingerprint[:32]
    if file_facts(kept) is not None:
        return {}
    bad = check_images(files.paths, files.sizes, count=count)
    # Failures are not kept: what kept an image from opening may pass without a trace on the file.
    if not bad:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch()
    return bad
