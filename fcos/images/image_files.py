"""The image files of a split: their state on disk, and a check that all of them open, done once."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcos.errors import DataError
from fcos.images.image_traits import Flags, ImageTraits, flags_of, load_traits, save_traits, traits_of
from fcos.images.open_image import DEFAULT_RULES, ImageRules, read_image
from fcos.storage.reading import CountCallback, file_stat

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
    rules: ImageRules = DEFAULT_RULES

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name, _, _ in self.stats]

    @property
    def fingerprint(self) -> str:
        """Return a digest of the files, their annotated sizes and the rules for reading them."""
        text = json.dumps([str(self.folder.resolve()), self.stats, self.sizes, asdict(self.rules)])
        return hashlib.sha256(text.encode()).hexdigest()

    def select(self, positions: Int64[np.ndarray, " n"]) -> "ImageFiles":
        """Return the files at these positions, in this order."""

        def take(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[position] for position in positions.tolist())

        return ImageFiles(self.folder, take(self.stats), take(self.sizes), take(self.target_sizes), self.rules)


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


@dataclass(frozen=True)
class ImageCheck:
    """What reading the images of a split showed, by position."""

    # Reasons of those that do not open.
    failures: dict[int, str] = field(default_factory=dict)
    traits: ImageTraits = field(default_factory=ImageTraits)


def check_images(files: ImageFiles, on_count: CountCallback | None = None, num_threads: int = 8) -> ImageCheck:
    """Open and decode every image.

    Raises ReadError where an image cannot be read for now, which is no reason to leave it out.
    """

    def check(path: Path, size: Size) -> str | Flags:
        try:
            return flags_of(read_image(path, size, files.rules))
        except DataError as error:
            return str(error)

    failures: dict[int, str] = {}
    flags: dict[int, Flags] = {}
    with ThreadPoolExecutor(num_threads) as pool:
        for position, result in enumerate(pool.map(check, files.paths, files.sizes)):
            if isinstance(result, str):
                failures[position] = result
            else:
                flags[position] = result
            if on_count is not None:
                on_count(position + 1, len(files.stats))
    return ImageCheck(failures, traits_of(flags))


def check_files(files: ImageFiles, cache: Path, on_count: CountCallback | None) -> ImageCheck:
    """Return the result of `check_images`, cached while no file changes."""
    marker = cache / "image_checks" / files.fingerprint[:32]
    traits = load_traits(marker)
    if traits is not None:
        return ImageCheck(traits=traits)
    check = check_images(files, on_count)
    # Failures are not cached: their cause may disappear without a change of the file.
    if not check.failures:
        marker.parent.mkdir(parents=True, exist_ok=True)
        save_traits(check.traits, marker)
    return check
