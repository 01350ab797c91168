"""Decoded images in one memory-mapped file per split, so that several runs decode them once."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Int64, UInt8

from fcos.errors import DataError, ReadError
from fcos.images.image_files import ImageFiles, Size
from fcos.images.image_traits import Flags, ImageTraits, flags_of, load_traits, save_traits, traits_of
from fcos.images.open_image import read_image
from fcos.storage.files import evict_least_recently_used, retried
from fcos.storage.reading import CountCallback, file_stat

NO_TRAITS = ImageTraits()
# 3 x H x W.
Pixels = UInt8[np.ndarray, "3 _ _"]
CACHE_FOLDER, PIXELS_FILE = "decoded_images", "pixels.bin"
# Beside the pixels.
TRAITS_FILE = "traits.json"


class DecodedImages:
    """Decoded images by position, in a memory-mapped file whose pages all processes of a machine share.

    `sizes` are their (height, width). A pickled copy maps the file again in its own process.
    """

    def __init__(self, path: Path, sizes: Sequence[Size], traits: ImageTraits = NO_TRAITS) -> None:
        self.path = path
        self.sizes = tuple(sizes)
        self.traits = traits
        self._starts = _starts(sizes)
        self._map: np.memmap[Any, Any] | None = self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def __getitem__(self, position: int) -> UInt8[np.ndarray, "3 H W"]:
        if self._map is None:
            self._map = self._open()
        height, width = self.sizes[position]
        pixels = self._map[self._starts[position] : self._starts[position + 1]]
        # Channels last in memory, as decoders return images and batches hold them.
        image: UInt8[np.ndarray, "3 H W"] = pixels.reshape(height, width, 3).transpose(2, 0, 1)
        return image

    def _open(self) -> "np.memmap[Any, Any]":
        shape = (int(self._starts[-1]),)
        try:
            # Copy on write, because torch does not accept read-only arrays; nothing is ever written.
            return retried(lambda: np.memmap(self.path, dtype=np.uint8, mode="c", shape=shape), self.path)
        except (OSError, ValueError) as error:
            # Another process may have evicted the file; the next attempt decodes the images again.
            raise ReadError(f"{self.path}: the decoded images are no longer there or whole ({error})") from error


def decode_images(
    files: ImageFiles, cache: Path, limit: int, on_count: CountCallback | None = None, num_threads: int = 8
) -> DecodedImages | dict[int, str] | None:
    """Return the images at their target sizes from the cache folder, decoded first where they are not cached.

    Returns the reasons by position where images fail to open, and caches nothing then. Returns None where `limit` bytes
    for all splits together are too few or the disk is full. Least recently used sets are evicted first. One process
    decodes while others wait; a cached file is always complete. Nothing is written where everything is cached.

    Raises ReadError for an image that cannot be read for now, and OSError where the folder cannot be written.
    """
    num_bytes = _num_bytes(files.target_sizes)
    folder = cache / CACHE_FOLDER
    path = folder / _key(files) / PIXELS_FILE
    if not _is_complete(path, num_bytes):
        if num_bytes > limit:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{path.parent.name}.lock"):
            if not _is_complete(path, num_bytes):
                evict_least_recently_used(folder.glob(f"*/{PIXELS_FILE}"), limit - num_bytes, _remove_set)
                failures = _decode(files, path, num_bytes, on_count, num_threads)
                if failures is None or failures:
                    return failures
    with suppress(OSError):
        # The modification time is the time of last use, for eviction; fails for another user's file.
        os.utime(path)
    return DecodedImages(path, files.target_sizes, load_traits(path.with_name(TRAITS_FILE)) or NO_TRAITS)


def _num_bytes(sizes: Sequence[Size]) -> int:
    return 3 * sum(height * width for height, width in sizes)


def _key(files: ImageFiles) -> str:
    """Return the cache key: files, target sizes, and the versions of the decoder and the resizer."""
    text = json.dumps([files.fingerprint, files.target_sizes, version("pillow"), version("torchvision")])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_complete(path: Path, num_bytes: int) -> bool:
    stat = file_stat(path)
    return stat is not None and stat.st_size == num_bytes and load_traits(path.with_name(TRAITS_FILE)) is not None


def _remove_set(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)


def _decode(
    files: ImageFiles, path: Path, num_bytes: int, on_count: CountCallback | None, num_threads: int
) -> dict[int, str] | None:
    """Decode all images into a file.

    Returns the failures by position, or None where the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PIXELS_FILE}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            try:
                # Allocated now, which raises an error; writing a mapped file to a full disk kills the process.
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError:
                return None
        failures, traits = _fill(files, temporary, on_count, num_threads)
        if not failures:
            # First, since the pixels mark that all is there.
            save_traits(traits, path.with_name(TRAITS_FILE))
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return failures


def _fill(
    files: ImageFiles, temporary: Path, on_count: CountCallback | None, num_threads: int
) -> tuple[dict[int, str], ImageTraits]:
    """Decode and resize all images into the mapped file.

    Returns the failures by position, and the traits of the others.
    """
    target = np.memmap(temporary, dtype=np.uint8, mode="r+")
    starts = _starts(files.target_sizes)
    paths, resize = files.paths, _resizer(files)

    def decode(position: int) -> str | Flags:
        try:
            image = read_image(paths[position], files.sizes[position], files.rules)
        except DataError as error:
            return str(error)
        resized = resize(image.pixels, files.target_sizes[position])
        target[starts[position] : starts[position + 1]] = resized.transpose(1, 2, 0).reshape(-1)
        return flags_of(image)

    failures: dict[int, str] = {}
    flags: dict[int, Flags] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for position, result in enumerate(pool.map(decode, range(len(paths)))):
            if isinstance(result, str):
                failures[position] = result
            else:
                flags[position] = result
            if on_count is not None:
                on_count(position + 1, len(paths))
    target.flush()
    return failures, traits_of(flags)


def _resizer(files: ImageFiles) -> Callable[[Pixels, Size], Pixels]:
    """Return what brings decoded images to their target sizes; only where one has another size it loads torch."""
    if files.target_sizes == files.sizes:
        return lambda pixels, _: pixels
    from fcos.images.resize import resize_pixels

    return resize_pixels


def _starts(sizes: Sequence[Size]) -> Int64[np.ndarray, " n_plus_1"]:
    return np.cumsum([0, *(3 * height * width for height, width in sizes)], dtype=np.int64)
