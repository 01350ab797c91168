"""The image files of a split as they lie on disk, and whether each of them opens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcos.data.errors import DataError
from fcos.data.images import Counter, check_images
from fcos.data.reading import file_facts

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
