"""Names of images that annotations spell otherwise than the disk: backslashes, percent-encoding, Unicode, capitals."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from fcos.annotations.coco_file import is_below_folder
from fcos.images.image_files import FileStat, file_stats
from fcos.storage.files import is_transient, retried
from fcos.storage.reading import raise_read_error

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

    Names that differ in capitals alone come last, and only where there is one. The name of another image is never taken
    for that of a missing one, and a spelling that would leave the folder is never tried. Raises ReadError.
    """
    stats = list(file_stats(folder, names))
    mended: dict[str, str] = {}
    listed, named = _ListedFolders(folder), frozenset(names)
    for position, (name, size, _) in enumerate(stats):
        if size >= 0:
            continue
        spellings = [spelling for spelling in other_spellings(name, folder) if spelling not in named]
        found = next((stat for stat in file_stats(folder, spellings) if stat[1] >= 0), None)
        if found is None:
            in_other_case = [path for path in map(listed.find, (name, *spellings)) if path and path not in named]
            found = next((stat for stat in file_stats(folder, in_other_case) if stat[1] >= 0), None)
        if found is not None:
            stats[position], mended[name] = found, found[0]
    return LocatedImages(tuple(stats), mended)


def other_spellings(name: str, folder: Path) -> list[str]:
    """Return the other spellings of a name that stay below its folder, the end of whose path may be repeated in it."""
    spellings = {name: None}
    mends: list[Callable[[str], str]] = [*_MENDS, partial(_without_folders, folder)]
    for mend in mends:
        spellings |= dict.fromkeys([mend(spelling) for spelling in spellings])
    return [spelling for spelling in spellings if spelling != name and is_below_folder(spelling)]


def _without_folders(folder: Path, name: str) -> str:
    """Return a name without the folders at its beginning that are the last ones of the folder's own path."""
    parts, own = name.split("/"), folder.absolute().parts
    for count in range(min(len(parts) - 1, len(own)), 0, -1):
        if list(map(_folded, parts[:count])) == list(map(_folded, own[-count:])):
            return "/".join(parts[count:])
    return name


@dataclass(frozen=True)
class _ListedFolders:
    """What the folders below a root hold, each listed at most once, by names without regard to capitals."""

    root: Path
    _names: dict[PurePosixPath, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """Return the only path below the root that equals a name but for capitals, or None; raises ReadError."""
        found = PurePosixPath()
        for part in PurePosixPath(name).parts:
            candidates = self._in(found).get(_folded(part), ())
            if part not in candidates and len(candidates) != 1:
                return None
            found /= part if part in candidates else candidates[0]
        return str(found)

    def _in(self, folder: PurePosixPath) -> Mapping[str, Sequence[str]]:
        if folder not in self._names:
            names: dict[str, list[str]] = defaultdict(list)
            for name in _names_in(self.root / folder):
                names[_folded(name)].append(name)
            self._names[folder] = dict(names)
        return self._names[folder]


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none where it may not be listed or is no folder; raises ReadError."""
    try:
        return retried(partial(os.listdir, folder), folder)
    except OSError as error:
        if is_transient(error):
            raise_read_error(folder, error)
        return []


def _folded(text: str) -> str:
    """Return a key that is equal for names that differ in capitals or in Unicode form alone."""
    return unicodedata.normalize("NFC", text).casefold()
