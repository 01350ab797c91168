"""Names of images that annotations spell otherwise than the disk: backslashes, percent-encoding, Unicode forms."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from fcos.annotations.coco_file import is_below_folder
from fcos.images.image_files import FileStat, file_stats

# What exporters and archives change in a name. Encoded names are encoded once more where they become part of an
# address. macOS stores decomposed letters, other systems composed ones.
_MENDS: Final[tuple[Callable[[str], str], ...]] = (
    str.strip,
    unquote,
    unquote,
    lambda name: name.replace("\\", "/"),
    partial(unicodedata.normalize, "NFC"),
    partial(unicodedata.normalize, "NFD"),
)


@dataclass(frozen=True)
class LocatedImages:
    """The files of a split under the names that they have on disk."""

    # Of a missing file under its annotated name.
    stats: tuple[FileStat, ...]
    # Annotated names that were read under another, with that name.
    mended: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.stats)

    def notes(self, split: str) -> list[str]:
        """Return the note on mended names, with up to three examples."""
        if not self.mended:
            return []
        shown = ", ".join(f"{name!r} as {mended!r}" for name, mended in list(self.mended.items())[:3])
        ellipsis = ", ..." if len(self.mended) > 3 else ""
        images = "image is" if len(self.mended) == 1 else "images are"
        return [f"{split}: {len(self.mended)} {images} read under another spelling of the name: {shown}{ellipsis}"]


def locate_images(folder: Path, names: Sequence[str]) -> LocatedImages:
    """Return name, size and time of each file, under another spelling where only that exists.

    A spelling that would leave the folder is never tried. Raises ReadError.
    """
    stats = list(file_stats(folder, names))
    mended: dict[str, str] = {}
    for position, (name, size, _) in enumerate(stats):
        if size >= 0:
            continue
        found = next((stat for stat in file_stats(folder, other_spellings(name, folder.name)) if stat[1] >= 0), None)
        if found is not None:
            stats[position], mended[name] = found, found[0]
    return LocatedImages(tuple(stats), mended)


def other_spellings(name: str, folder: str) -> list[str]:
    """Return the other spellings of a name that stay below its folder, whose own name may be repeated in it."""
    spellings = {name: None}
    mends: list[Callable[[str], str]] = [*_MENDS, partial(_without_folder, folder)]
    for mend in mends:
        spellings |= dict.fromkeys([mend(spelling) for spelling in spellings])
    return [spelling for spelling in spellings if spelling != name and is_below_folder(spelling)]


def _without_folder(folder: str, name: str) -> str:
    return name.removeprefix(f"{folder}/")
