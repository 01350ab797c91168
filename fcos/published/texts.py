"""Texts and pictures of an archive that can be read in one way alone, and hold nothing that steers a terminal."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from fcos.published.archive import ArchiveError
from fcos.published.layout import MAX_NAME_CHARS, MAX_TEXT_BYTES
from fcos.published.pictures import strip_png

# Characters that show nothing, or turn the direction of what follows; for patterns.
MARKS: Final = (
    r"\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    # Tags, of which each stands for a letter.
    r"\U000e0000-\U000e007f"
)
_STEERING: Final = re.compile(rf"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f{MARKS}]")
_BOUNDED: Final = (".json", ".csv", ".html", ".md", ".txt", ".png")
# In place of each object of a JSON text, whose values are checked and not kept.
_OBJECT: Final = object()


def strip_steering(text: str) -> str:
    """Return a text without characters that steer a terminal or show nothing, such as colors of a library's message."""
    return _STEERING.sub("", text)


def read_text(path: Path) -> str:
    """Return the text of a file; raises ArchiveError for one that is missing, too large or not UTF-8."""
    _check_size(path)
    try:
        # As bytes: ends of lines stay what they are.
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ArchiveError(f"{_name(path)}: is not UTF-8 text") from None


def check_texts(files: Iterable[Path]) -> None:
    """Raise ArchiveError for a text above the bound, JSON that is no object or has a key twice, a picture with more.

    Of a key that is there twice one reader takes the first value and another the last one. A picture holds pixels.
    """
    for path in files:
        if path.suffix in _BOUNDED:
            _check_size(path)
        if path.suffix == ".json":
            _check_json(path)
        if path.suffix == ".png" and strip_png(content := path.read_bytes()) != content:
            raise ArchiveError(f"{_name(path)}: is no picture, or has more in it than its pixels")


def _check_json(path: Path) -> None:
    text = read_text(path)
    try:
        value = json.loads(text, object_pairs_hook=_check_keys)
    except RecursionError:
        raise ArchiveError(f"{_name(path)}: is nested too deeply") from None
    except ValueError as error:
        raise ArchiveError(f"{_name(path)}: is no JSON text that can be read in one way alone ({error})") from None
    if value is not _OBJECT:
        raise ArchiveError(f"{_name(path)}: is no JSON object")


def _check_keys(pairs: list[tuple[str, Any]]) -> object:
    """Raise ValueError for a key that an object has twice."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            # Keys come from the archive: nothing in them may steer a terminal.
            raise ValueError(f"the key {key.encode('unicode_escape').decode()[:MAX_NAME_CHARS]} is there twice")
        seen.add(key)
    return _OBJECT


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise ArchiveError(f"{_name(path)}: is missing")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ArchiveError(f"{_name(path)}: has more than {MAX_TEXT_BYTES >> 20} MiB")


def _name(path: Path) -> str:
    return f"{path.name} of {path.parent.name}"
