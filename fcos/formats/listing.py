"""List the files of a folder once, and find the images that annotations name."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from PIL import Image

from fcos.errors import DataError
from fcos.storage.reading import is_folder, read_bytes

IMAGE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2")
)


@dataclass(frozen=True)
class Listing:
    """All files below a folder as sorted paths relative to it; hidden files and folders are left out."""

    root: Path
    files: tuple[PurePosixPath, ...]
    _sizes: dict[PurePosixPath, tuple[int, int]] = field(default_factory=dict)

    @cached_property
    def images(self) -> tuple[PurePosixPath, ...]:
        """Return the files whose suffix is that of an image."""
        return tuple(file for file in self.files if file.suffix.lower() in IMAGE_SUFFIXES)

    @cached_property
    def known(self) -> frozenset[PurePosixPath]:
        """Return all files as a set."""
        return frozenset(self.files)

    def with_suffix(self, *suffixes: str) -> list[PurePosixPath]:
        """Return the files with one of the suffixes, which are in lower case."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    @cached_property
    def _by_path(self) -> dict[str, PurePosixPath]:
        return {folded(str(file)): file for file in self.images}

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        by_name = defaultdict(list)
        for file in self.images:
            by_name[folded(file.name)].append(file)
        return dict(by_name)

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        by_stem = defaultdict(list)
        for file in self.images:
            by_stem[folded(file.stem)].append(file)
        return dict(by_stem)

    def find_image(self, name: str, near: PurePosixPath) -> PurePosixPath | None:
        """Return the image that an annotation file in the folder `near` means by `name`, or None.

        The name is tried below `near` and below the root, then by its last part alone, as tools write absolute paths
        of other machines. Of several images of that name the one that shares most folders with `near` is taken, and
        none where two share equally many. Upper and lower case, Unicode forms and %20 are no difference. A name never
        leads out of the folder: only listed files are found.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        if not parts:
            return None
        for text in ("/".join(parts), unquote("/".join(parts))):
            for folder in (near, PurePosixPath()):
                found = self._by_path.get(folded(_joined(folder, text)))
                if found is not None:
                    return found
        for last in (parts[-1], unquote(parts[-1])):
            if folded(last) in self._by_name:
                return nearest(self._by_name[folded(last)], near)
        return None

    def image_of_stem(self, stem: str, near: PurePosixPath) -> PurePosixPath | None:
        """Return the image whose name without suffix is `stem`, chosen as by `find_image`, or None."""
        return nearest(self._by_stem.get(folded(stem), []), near)

    def read(self, file: PurePosixPath, kind: str) -> bytes:
        """Return the content of a listed file; `kind` names it in messages."""
        return read_bytes(self.root / file, kind)

    def read_text(self, file: PurePosixPath, kind: str) -> str:
        """Return the text of a listed file; raises DataError where it is not UTF-8."""
        try:
            return self.read(file, kind).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.root / file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None

    def image_size(self, file: PurePosixPath) -> tuple[int, int] | None:
        """Return (width, height) of an image file as stored, without its EXIF orientation; None where unreadable."""
        if file not in self._sizes:
            try:
                with Image.open(self.root / file) as image:
                    self._sizes[file] = image.size
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return None
        return self._sizes[file]


def list_folder(root: Path) -> Listing:
    """List a folder without following links; raises DataError where it is missing or holds no image."""
    if not is_folder(root):
        raise DataError(f"{root}: no such folder")
    files: list[PurePosixPath] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        below = PurePosixPath(*Path(folder).relative_to(root).parts)
        files += [below / name for name in names if not name.startswith(".")]
    listing = Listing(root, tuple(sorted(files)))
    if not listing.images:
        raise DataError(
            f"{root}: holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))}, in all folders below)"
        )
    return listing


def folded(text: str) -> str:
    """Return a key that is equal for names that differ in case or in Unicode form alone."""
    return unicodedata.normalize("NFC", text).casefold()


def nearest(files: Iterable[PurePosixPath], folder: PurePosixPath) -> PurePosixPath | None:
    """Return the file that shares most folders with `folder`; None for no file and for a tie."""
    shared = [(len({*file.parent.parts} & {*folder.parts}), file) for file in files]
    most = max((count for count, _ in shared), default=0)
    best = [file for count, file in shared if count == most]
    return best[0] if len(best) == 1 else None


def _joined(folder: PurePosixPath, text: str) -> str:
    """Join a folder and a relative path, with `..` resolved."""
    return os.path.normpath(f"{folder}/{text}").removeprefix("./")
