"""Decoded images in one memory-mapped file for each split: what N runs read is decoded once."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from filelock import FileLock
from jaxtyping import Int64, UInt8
from torch import Tensor

from fcos.data.images import Counter, ImageFiles, Size, open_image
from fcos.data.reading import file_facts
from fcos.data.transforms import resize_image
from fcos.errors import DataError, ReadError
from fcos.files import retried

FOLDER, PIXELS = "decoded_images", "pixels.bin"


class DecodedImages:
    """Images by position, as they lie in the file; pages are shared by all processes of a machine.

    `sizes` are the (height, width) that they are kept at. A copy in another process maps the file anew.
    """

    def __init__(self, path: Path, sizes: Sequence[Size]) -> None:
        self.path = path
        self.sizes = tuple(sizes)
        self._starts = _starts(sizes)
        self._map: np.memmap[Any, Any] | None = self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def __getitem__(self, position: int) -> UInt8[Tensor, "3 H W"]:
        if self._map is None:
            self._map = self._open()
        height, width = self.sizes[position]
        pixels = self._map[self._starts[position] : self._starts[position + 1]]
        # The channels last in memory, as decoders give them and batches take them.
        return torch.from_numpy(pixels).view(height, width, 3).permute(2, 0, 1)

    def _open(self) -> "np.memmap[Any, Any]":
        shape = (int(self._starts[-1]),)
        try:
            # Copy on write: torch takes no arrays that are read-only, and nothing here ever writes.
            return retried(lambda: np.memmap(self.path, dtype=np.uint8, mode="c", shape=shape), self.path)
        except (OSError, ValueError) as error:
            # Another process may have made room since; the next attempt decodes the images anew.
            raise ReadError(f"{self.path}: the decoded images are no longer there or whole ({error})") from error


def decoded_images(
    files: ImageFiles, cache: Path, limit: int, count: Counter | None = None, num_threads: int = 8
) -> DecodedImages | dict[int, str] | None:
    """The images at their wanted sizes, from the cache folder; decoded first where they are not there yet.

    Images that do not open give a mapping of their positions to reasons, and nothing is kept. None where `limit`
    bytes for all splits together are too few, or the disk has no room; what was used longest ago goes first. One
    process decodes while others wait for it, and a file that is there is whole. Nothing is written where all is there.
    Raises ReadError for an image that cannot be read just now, and OSError where the folder cannot be written.
    """
    num_bytes = _num_bytes(files.wanted_sizes)
    folder = cache / FOLDER
    path = folder / _key(files) / PIXELS
    if not _is_whole(path, num_bytes):
        if num_bytes > limit:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{path.parent.name}.lock"):
            if not _is_whole(path, num_bytes):
                _make_room(folder, limit - num_bytes)
                bad = _decode(files, path, num_bytes, count, num_threads)
                if bad is None or bad:
                    return bad
    with suppress(OSError):
        # The time of its last use, as far as making room goes; another user's file keeps its own.
        os.utime(path)
    return DecodedImages(path, files.wanted_sizes)


def _num_bytes(sizes: Sequence[Size]) -> int:
    return 3 * sum(height * width for height, width in sizes)


def _key(files: ImageFiles) -> str:
    """Files, sizes, and the versions of what decodes and resizes them."""
    text = json.dumps([files.fingerprint, files.wanted_sizes, PIL.__version__, torchvision.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_whole(path: Path, num_bytes: int) -> bool:
    facts = file_facts(path)
    return facts is not None and facts.st_size == num_bytes


def _make_room(folder: Path, limit: int) -> None:
    """Remove the sets that were used longest ago until the rest stays below a number of bytes."""
    found = [(path.stat(), path) for path in folder.glob(f"*/{PIXELS}")]
    total = 0
    for facts, path in sorted(found, key=lambda pair: -pair[0].st_mtime):
        total += facts.st_size
        if total > limit:
            shutil.rmtree(path.parent, ignore_errors=True)


def _decode(
    files: ImageFiles, path: Path, num_bytes: int, count: Counter | None, num_threads: int
) -> dict[int, str] | None:
    """Positions of images that do not open, none if the file is there now; None without room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(f"{PIXELS}.{os.getpid()}")
    try:
        with growing.open("wb") as file:
            try:
                # Now, as an error: a mapped file that meets a full disk ends the process.
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            except OSError:
                return None
        bad = _fill(files, growing, count, num_threads)
        if not bad:
            growing.replace(path)
    finally:
        growing.unlink(missing_ok=True)
    return bad


def _fill(files: ImageFiles, growing: Path, count: Counter | None, num_threads: int) -> dict[int, str]:
    target = np.memmap(growing, dtype=np.uint8, mode="r+")
    starts = _starts(files.wanted_sizes)
    paths = files.paths

    def decode(position: int) -> str | None:
        try:
            image = open_image(paths[position], files.sizes[position])
        except DataError as error:
            return str(error)
        kept = resize_image(image, files.wanted_sizes[position])
        target[starts[position] : starts[position + 1]] = kept.permute(1, 2, 0).reshape(-1).numpy()
        return None

    bad = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for position, reason in enumerate(pool.map(decode, range(len(paths)))):
            if reason is not None:
                bad[position] = reason
            if count is not None:
                count(position + 1, len(paths))
    target.flush()
    return bad


def _starts(sizes: Sequence[Size]) -> Int64[np.ndarray, " n_plus_1"]:
    return np.cumsum([0, *(3 * height * width for height, width in sizes)], dtype=np.int64)
