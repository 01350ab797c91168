"""Which JSON files of a folder are COCO's: by their content, of large files by its beginning and its end."""

import codecs
import gzip
import io
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic_core import from_json

from fcos.annotations.json_text import json_text, parse_json
from fcos.errors import DataError
from fcos.formats.listing import Listing, is_json

_SECTIONS: Final = ("images", "annotations", "categories")
# Files up to this size are parsed to see what they are; of larger ones the first and last bytes decide.
_PARSED_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 65536
_KIND: Final = "JSON file"

# unclear: all of the content decides. broken: cut short, and without a section that would make it COCO's.
JsonKind = Literal["coco", "other", "unclear", "broken"]


def annotation_files(listing: Listing) -> list[PurePosixPath]:
    """Return the JSON files, gzipped or not, that hold annotations in COCO format.

    Raises DataError for one that is no whole JSON and could be such a file: it names a section of COCO's, or was cut
    short and lies in a folder that has others.
    """
    return listing.files_of_kind("COCO", partial(_annotation_files, listing))


def _annotation_files(listing: Listing) -> list[PurePosixPath]:
    kinds = {file: _kind(_window(listing, file)) for file in listing.files if is_json(file)}
    for file, kind in kinds.items():
        if kind == "unclear":
            kinds[file] = _whole_kind(listing, file)
    if "coco" in kinds.values():
        for file, kind in kinds.items():
            if kind == "broken":
                kinds[file] = _whole_kind(listing, file)
    return [file for file, kind in kinds.items() if kind == "coco"]


@dataclass(frozen=True)
class _Window:
    """What is read of a file to see what it is, without a byte order mark."""

    text: bytes
    part: Literal["whole", "ends", "beginning", "broken"]


def _window(listing: Listing, file: PurePosixPath) -> _Window:
    if file.suffix.lower() != ".gz":
        text = listing.read_ends(file, _PARSED_BYTES, _WINDOW_BYTES, _KIND)
        return _Window(text.removeprefix(codecs.BOM_UTF8), "whole" if len(text) < _PARSED_BYTES else "ends")
    start = listing.read_start(file, _PARSED_BYTES, _KIND)
    try:
        # Of several members, too, as bgzip writes them.
        with gzip.GzipFile(fileobj=io.BytesIO(start)) as stream:
            text = stream.read(_PARSED_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return _Window(b"", "broken")
    return _Window(text.removeprefix(codecs.BOM_UTF8), "whole" if len(text) < _PARSED_BYTES else "beginning")


def _kind(window: _Window) -> JsonKind:
    # Of UTF-16, which is refused, every second byte is zero.
    letters = window.text.replace(b"\0", b"")
    named = [name for name in _SECTIONS if f'"{name}"'.encode() in letters]
    if window.part == "broken":
        return "unclear"
    if window.part == "whole":
        try:
            return _kind_of(from_json(window.text))
        except ValueError as error:
            if _is_json_lines(window.text):
                return "other"
            # Text with comments, or in another encoding, is of other programs.
            return "unclear" if named else "broken" if _ends_early(window.text, error) else "other"
    if window.part == "ends" and not letters.rstrip().endswith((b"}", b"]")):
        return "unclear" if named else "broken"
    if window.part == "beginning" and len(named) == 1:
        return "unclear"
    # A section in the middle of half a gigabyte is not in the window, its boxes are.
    has_boxes = window.part == "beginning" or b'"bbox"' in letters
    return "coco" if len(named) >= 2 and has_boxes and b'"imagePath"' not in letters else "other"


def _kind_of(values: Any) -> JsonKind:
    """Return the kind of a file by its parsed content."""
    has_sections = isinstance(values, dict) and all(isinstance(values.get(name), list) for name in _SECTIONS)
    return "coco" if has_sections else "other"


def _is_json_lines(text: bytes) -> bool:
    """Return whether the first line of a text is JSON by itself, as in a log of values."""
    try:
        from_json(text.split(b"\n", 1)[0])
    except ValueError:
        return False
    return True


def _ends_early(text: bytes, error: ValueError) -> bool:
    """Return whether a text is no JSON as its end is missing, by the error of parsing it."""
    return not text.strip() or str(error).startswith("EOF while parsing")


def _whole_kind(listing: Listing, file: PurePosixPath) -> JsonKind:
    """Return the kind of a file by all of its content; raises DataError with the reason where that is no JSON."""
    path = listing.root / file
    try:
        return _kind_of(parse_json(json_text(listing.read(file, _KIND), path), path))
    except DataError as error:
        way_out = (
            "it could be annotations in COCO format: mend it, move it out of the folder, or, for a folder of another "
            "format, name that, such as auto.format=voc"
        )
        raise DataError(f"{error}; {way_out}") from None
