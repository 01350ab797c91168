"""Walk a folder of labelled images: every file below it, or the reason why one cannot be known."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from fcos.storage.files import retried
from fcos.storage.reading import file_stat, raise_read_error

# Folders that archives and file systems add, the last of which only its owner may read.
_NOT_DATA: Final = frozenset(("__MACOSX", "lost+found"))


@dataclass(frozen=True)
class FoundFile:
    """A file below the folder, or a link to a folder, which is not followed, or to what is not there.

    The path is relative to the folder.
    """

    path: PurePosixPath
    kind: Literal["file", "folder_link", "lost_link"] = "file"


def walk(root: Path) -> Iterator[FoundFile]:
    """Iterate over the files below a folder; hidden files and folders are left out.

    Raises DataError for a folder that must not be read, since what is in it could be annotations, and ReadError where
    another attempt may succeed.
    """
    return _walk(root, PurePosixPath())


def _walk(root: Path, below: PurePosixPath) -> Iterator[FoundFile]:
    for entry in _entries(root / below):
        path = below / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and file_stat(root / path) is None:
            yield FoundFile(path, "lost_link")
        elif not _is_folder(entry):
            yield FoundFile(path)
        elif entry.is_symlink():
            yield FoundFile(path, "folder_link")
        elif entry.name not in _NOT_DATA:
            yield from _walk(root, path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return retried(partial(_list, folder), folder)
    except OSError as error:
        raise_read_error(folder, error)


def _list(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    path = Path(entry.path)
    try:
        return retried(entry.is_dir, path)
    except OSError as error:
        raise_read_error(path, error)
