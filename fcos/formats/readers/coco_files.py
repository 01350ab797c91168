"""Which JSON files of a folder are COCO's: by their content, of large files by its beginning and its end."""

import codecs
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from pydantic_core import from_json

from fcos.annotations.json_text import json_text, parse_json
from fcos.errors import DataError
from fcos.formats.listing import Listing

_SECTIONS: Final = ("images", "annotations", "categories")
# Files up to this size are parsed to see what they are; of larger ones the first and last bytes decide.
_PARSED_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 65536
_KIND: Final = "JSON file"
# Of zlib, for data with the header of gzip.
_GZIP: Final = 31

JsonKind = Literal["coco", "other", "broken", "broken_coco"]


def annotation_files(listing: Listing) -> list[PurePosixPath]:
    """Return the JSON files, gzipped or not, that hold annotations in COCO format.

    Raises DataError for one that is no whole JSON and could be such a file: it names a section of COCO's, or lies in a
    folder that has others.
    """
    files = listing.with_suffix(".json") + [file for file in listing.with_suffix(".gz") if ".json" in file.suffixes]
    kinds = {file: _kind(_window(listing, file)) for file in sorted(files)}
    found = [file for file, kind in kinds.items() if kind == "coco"]
    for file, kind in kinds.items():
        if kind == "broken_coco" or (kind == "broken" and found):
            _refuse(listing, file)
    return found


@dataclass(frozen=True)
class _Window:
    """What is read of a file to see what it is, without a byte order mark."""

    text: bytes
    part: Literal["whole", "ends", "beginning", "broken"]


def _window(listing: Listing, file: PurePosixPath) -> _Window:
    if file.suffix.lower() != ".gz":
        text = listing.read_ends(file, _PARSED_BYTES, _WINDOW_BYTES, _KIND)
        return _Window(text.removeprefix(codecs.BOM_UTF8), "whole" if len(text) < _PARSED_BYTES else "ends")
    inflate = zlib.decompressobj(_GZIP)
    try:
        text = inflate.decompress(listing.read_start(file, _PARSED_BYTES, _KIND), _PARSED_BYTES)
    except zlib.error:
        return _Window(b"", "broken")
    if len(text) == _PARSED_BYTES:
        return _Window(text.removeprefix(codecs.BOM_UTF8), "beginning")
    return _Window(text.removeprefix(codecs.BOM_UTF8), "whole" if inflate.eof else "broken")


def _kind(window: _Window) -> JsonKind:
    text = window.text
    # Of UTF-16, which is refused, every second byte is zero.
    letters = text.replace(b"\0", b"")
    named = [name for name in _SECTIONS if f'"{name}"'.encode() in letters]
    broken: JsonKind = "broken_coco" if named or window.part == "broken" else "broken"
    if window.part == "whole":
        try:
            values = from_json(text)
        except ValueError:
            return "other" if _is_json_lines(text) else broken
        has_sections = isinstance(values, dict) and all(isinstance(values.get(name), list) for name in _SECTIONS)
        return "coco" if has_sections else "other"
    if window.part == "broken" or (window.part == "ends" and not text.rstrip().endswith((b"}", b"]"))):
        return broken
    # A section in the middle of half a gigabyte is not in the window, its boxes are.
    has_boxes = window.part == "beginning" or b'"bbox"' in text
    return "coco" if len(named) >= 2 and has_boxes and b'"imagePath"' not in text else "other"


def _is_json_lines(text: bytes) -> bool:
    """Return whether the first line of a text is JSON by itself, as in a log of values."""
    try:
        from_json(text.split(b"\n", 1)[0])
    except ValueError:
        return False
    return True


def _refuse(listing: Listing, file: PurePosixPath) -> None:
    """Raise DataError with the reason why a file is no JSON; return for one that has changed meanwhile."""
    path = listing.root / file
    try:
        parse_json(json_text(listing.read(file, _KIND), path), path)
    except DataError as error:
        way_out = "it could be annotations in COCO format: mend it, or move it out of the folder"
        raise DataError(f"{error}; {way_out}") from None
