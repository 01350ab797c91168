"""List the files of a folder once, and find the images that annotations name."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from fcos.config.choices import ExifOrientation
from fcos.errors import DataError
from fcos.formats.structures import EXAMPLES, Remarks
from fcos.formats.walk import walk
from fcos.images.open_image import read_size
from fcos.storage.reading import file_stat, is_folder, read_block, read_bytes

IMAGE_SUFFIXES: Final = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm",
        ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".jpx",
    )
)  # fmt: skip
# Of images that are not decoded.
_OTHER_IMAGES: Final = frozenset(
    (
        ".heic", ".heif", ".hif", ".jxl", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
        ".psd", ".svg", ".eps",
    )
)  # fmt: skip
# Of files that may hold annotations, names of classes or lists of images, beside JSON.
_TEXT_SUFFIXES: Final = frozenset((".xml", ".txt", ".yaml", ".yml", ".names"))
# With which the common kinds of images begin.
_SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")
_OTHER_SPELLING: Final = "images that are named in another spelling than on disk are read"
_BY_LAST_PART: Final = "images that are named with folders that are not there are found by the last part of the name"
# Of a path, what an annotation file may name.
_NAME, _STEM = attrgetter("name"), attrgetter("stem")


@dataclass(frozen=True)
class Listing:
    """All files below a folder as sorted paths relative to it; hidden files and folders are left out.

    `exif_orientation` decides the sizes of images.
    """

    root: Path
    files: tuple[PurePosixPath, ...]
    # Links to folders, which are not followed.
    folder_links: tuple[PurePosixPath, ...] = ()
    # Links that lead nowhere, to folders as a rule: their names have no suffix.
    lost_links: tuple[PurePosixPath, ...] = ()
    exif_orientation: ExifOrientation = "ignore"
    _sizes: dict[PurePosixPath, tuple[int, int]] = field(default_factory=dict)
    _by_kind: dict[str, list[PurePosixPath]] = field(default_factory=dict)

    @cached_property
    def images(self) -> tuple[PurePosixPath, ...]:
        """Return the files whose suffix is that of an image."""
        return tuple(file for file in self.files if file.suffix.lower() in IMAGE_SUFFIXES)

    @cached_property
    def other_images(self) -> tuple[PurePosixPath, ...]:
        """Return the files of kinds of images that are not decoded, and images without a suffix."""
        return tuple(
            file
            for file in self.files
            if file.suffix.lower() in _OTHER_IMAGES or (not file.suffix and self._begins_as_image(file))
        )

    def _begins_as_image(self, file: PurePosixPath) -> bool:
        try:
            return self.read_start(file, 4, "file").startswith(_SIGNATURES)
        except DataError:
            # A socket or a file of another user; that it may be an image would be a note alone.
            return False

    @cached_property
    def known(self) -> frozenset[PurePosixPath]:
        """Return all files as a set."""
        return frozenset(self.files)

    def with_suffix(self, *suffixes: str) -> list[PurePosixPath]:
        """Return the files with one of the suffixes, which are in lower case."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    def files_of_kind(self, kind: str, find: Callable[[], list[PurePosixPath]]) -> list[PurePosixPath]:
        """Return the files of a kind, such as "COCO", which `find` looks for the first time alone."""
        if kind not in self._by_kind:
            self._by_kind[kind] = find()
        return self._by_kind[kind]

    @cached_property
    def _by_path(self) -> dict[str, list[PurePosixPath]]:
        return _by_folded(self.images, str)

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        return _by_folded(self.images, _NAME)

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        return _by_folded(self.images, _STEM)

    def find_image(
        self, name: str, near: PurePosixPath, remarks: Remarks, taken: Collection[PurePosixPath] = frozenset()
    ) -> PurePosixPath | None:
        """Return the image that an annotation file in the folder `near` means by `name`, or None.

        The name is tried below `near` and below the root, then by its last part alone, as tools write absolute paths
        of other machines. Of several images of that name the one that shares most folders with `near` is taken. Upper
        and lower case, Unicode forms and %20 are no difference; where several images are left, the one that is spelled
        as named is taken, else none. An image that is `taken` by another name is none of this one. What is not found
        exactly as named is counted in the remarks. A name never leads out of the folder: only listed files are found.
        """
        parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
        if not parts:
            return None
        for text in ("/".join(parts), unquote("/".join(parts))):
            for folder in (near, PurePosixPath()):
                path = _joined(folder, text)
                found = _only_spelled(self._by_path.get(folded(path), []), path, str)
                if found is not None and found not in taken:
                    if str(found) != _joined(folder, name):
                        remarks.add(_OTHER_SPELLING, f"{name!r} as {found}")
                    return found
        for last in (parts[-1], unquote(parts[-1])):
            if folded(last) in self._by_name:
                found = _only_spelled(nearest(self._by_name[folded(last)], near), last, _NAME)
                if found is None or found in taken:
                    return None
                if len(parts) > 1:
                    remarks.add(_BY_LAST_PART, f"{name!r} as {found}")
                elif found.name != name:
                    remarks.add(_OTHER_SPELLING, f"{name!r} as {found}")
                return found
        return None

    def image_of_stem(self, stem: str, near: PurePosixPath) -> PurePosixPath | None:
        """Return the image whose name without suffix is `stem`, chosen as by `find_image`, or None."""
        return _only_spelled(nearest(self._by_stem.get(folded(stem), []), near), stem, _STEM)

    def read(self, file: PurePosixPath, kind: str) -> bytes:
        """Return the content of a listed file; `kind` names it in messages."""
        return read_bytes(self.root / file, kind)

    def read_start(self, file: PurePosixPath, length: int, kind: str) -> bytes:
        """Return at most `length` bytes of the beginning of a listed file."""
        return read_block(self.root / file, 0, length, kind)

    def read_ends(self, file: PurePosixPath, start: int, end: int, kind: str) -> bytes:
        """Return at most `start` bytes of the beginning of a listed file, and `end` bytes of its end."""
        beginning = self.read_start(file, start, kind)
        found = file_stat(self.root / file) if len(beginning) == start else None
        if found is None or found.st_size <= start:
            return beginning
        return beginning + read_block(self.root / file, max(start, found.st_size - end), end, kind)

    def read_text(self, file: PurePosixPath, kind: str) -> str:
        """Return the text of a listed file; raises DataError where it is not UTF-8."""
        try:
            return self.read(file, kind).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.root / file}: is not UTF-8 text ({error.reason} at byte {error.start})") from None

    def image_size(self, file: PurePosixPath) -> tuple[int, int] | None:
        """Return (width, height) of an image by its header; None where its content is none.

        They are those of the turned image where EXIF orientations are applied. Raises DataError and ReadError where the
        file cannot be read, which is no reason to leave it out.
        """
        if file not in self._sizes:
            size = read_size(self.root / file, self.exif_orientation)
            if size is None:
                return None
            self._sizes[file] = size
        return self._sizes[file]


def list_folder(root: Path, exif_orientation: ExifOrientation = "ignore") -> Listing:
    """List a folder without following links to folders.

    Raises DataError where it is missing, holds no image or cannot be listed whole, and for names that are not UTF-8 and
    links that lead nowhere, where they could be of images or annotations.
    """
    if not is_folder(root):
        raise DataError(f"{root}: no such folder")
    found = list(walk(root))
    _check_names(root, [file.path for file in found])
    files = sorted(file.path for file in found if file.kind == "file" and _is_utf8(file.path))
    links = sorted(file.path for file in found if file.kind == "folder_link")
    lost = sorted(file.path for file in found if file.kind == "lost_link" and _may_be_data(file.path))
    listing = Listing(root, tuple(files), tuple(links), tuple(lost), exif_orientation)
    _check_links(listing)
    if not listing.images:
        left_out = {"links to folders are not followed": links, "links lead nowhere": lost}
        linked = "".join(f"; {what}: {', '.join(map(str, of[:EXAMPLES]))}" for what, of in left_out.items() if of)
        raise DataError(
            f"{root}: holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))}, in all folders below){linked}"
        )
    return listing


def _check_links(listing: Listing) -> None:
    """Raise DataError for a link that leads nowhere and hides data: by its suffix, or beside images by having none."""
    with_images = {image.parent for image in listing.images}
    for link in listing.lost_links:
        if link.suffix or link.parent in with_images:
            raise DataError(f"{listing.root / link}: is a link to what is not there; mend it or remove it")


def _check_names(root: Path, paths: Sequence[PurePosixPath]) -> None:
    """Raise DataError for names of images and annotations that no COCO file could hold."""
    wrong = [path for path in paths if not _is_utf8(path) and _may_be_data(path)]
    if not _is_utf8(root) or wrong:
        shown = ", ".join(_printable(path) for path in wrong[:EXAMPLES])
        more = ", ..." if len(wrong) > EXAMPLES else ""
        found = f"{len(wrong)} names below it are not UTF-8 ({shown}{more})" if wrong else "its name is not UTF-8"
        raise DataError(
            f"{_printable(root)}: {found}, and JSON cannot hold such names; "
            "rename them, for instance with: convmv -r -f latin1 -t utf-8 --notest FOLDER"
        )


def is_json(path: PurePosixPath) -> bool:
    """Return whether a name is that of JSON, gzipped or not."""
    suffix = path.suffix.lower()
    return suffix == ".json" or (suffix == ".gz" and ".json" in map(str.lower, path.suffixes))


def may_hold_annotations(path: PurePosixPath) -> bool:
    """Return whether a name may be that of a file with annotations, names of classes or a list of images."""
    return path.suffix.lower() in _TEXT_SUFFIXES or is_json(path)


def _may_be_data(path: PurePosixPath) -> bool:
    return not path.suffix or path.suffix.lower() in IMAGE_SUFFIXES or may_hold_annotations(path)


def _is_utf8(path: Path | PurePosixPath) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: Path | PurePosixPath) -> str:
    """Return a path with the bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def folded(text: str) -> str:
    """Return a key that is equal for names that differ in case or in Unicode form alone."""
    return unicodedata.normalize("NFC", text).casefold()


def _by_folded(files: Iterable[PurePosixPath], part: Callable[[PurePosixPath], str]) -> dict[str, list[PurePosixPath]]:
    """Return files by a part of their path, without regard to case and Unicode form."""
    by_part = defaultdict(list)
    for file in files:
        by_part[folded(part(file))].append(file)
    return dict(by_part)


def _only_spelled(files: list[PurePosixPath], text: str, part: Callable[[PurePosixPath], str]) -> PurePosixPath | None:
    """Return the only file, of several the one of which a part of the path is spelled as `text`; else None."""
    best = [file for file in files if part(file) == text] or files
    return best[0] if len(best) == 1 else None


def nearest(files: Iterable[PurePosixPath], folder: PurePosixPath) -> list[PurePosixPath]:
    """Return the files that share most folders with `folder`."""
    shared = [(len({*file.parent.parts} & {*folder.parts}), file) for file in files]
    most = max((count for count, _ in shared), default=0)
    return [file for count, file in shared if count == most]


def _joined(folder: PurePosixPath, text: str) -> str:
    """Join a folder and a relative path, with `..` resolved."""
    return os.path.normpath(f"{folder}/{text}").removeprefix("./")
