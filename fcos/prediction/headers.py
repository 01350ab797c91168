"""Headers of image files: which files are images, and how large they are, without decoding them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from fcos.images.open_image import NOT_DECODED, has_several_frames

THREADS: Final = 8


@dataclass(frozen=True)
class Header:
    """Whether a file is an image, its (height, width), and whether it has frames or pages beside the first."""

    is_image: bool
    size: tuple[int, int] | None = None
    has_several_frames: bool = False


def read_headers(paths: Sequence[Path]) -> Iterator[Header]:
    """Iterate over the headers of files, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(read_header, paths)


def read_header(path: Path) -> Header:
    """Read the header of a file.

    One that fails for another reason than its content counts as an image without a size: opening it gives the reason.
    """
    if path.exists() and not path.is_file():  # a pipe or a device would wait for ever
        return Header(is_image=False)
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_image = image.format not in NOT_DECODED
            return Header(is_image, (height, width) if is_image else None, has_several_frames(image))
    except UnidentifiedImageError:
        return Header(is_image=False)
    except Exception:  # whatever a decoder raises on a broken file
        return Header(is_image=True)


def is_image_suffix(path: Path) -> bool:
    """Return whether a file has the suffix of a kind of image that can be decoded."""
    return path.suffix.lower() in _image_suffixes()


@lru_cache(maxsize=1)
def _image_suffixes() -> frozenset[str]:
    kinds = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in kinds.items() if kind in Image.OPEN and kind not in NOT_DECODED)
