"""The JSON text of a file: decompressed, without a byte order mark, and parsed."""

import codecs
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from fcos.errors import DataError


def json_text(content: bytes, path: Path) -> bytes:
    """Return the JSON text of a file in UTF-8, gzipped or not, without a byte order mark.

    A mark is skipped, as RFC 8259 allows readers. Raises DataError for broken gzip data and for UTF-16 and UTF-32.
    """
    try:
        text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data are broken ({error})") from None
    encoding = json.detect_encoding(text).upper()
    if not encoding.startswith("UTF-8"):
        raise DataError(
            f"{path}: is {encoding} text, and JSON files are UTF-8; save it as UTF-8, for instance with "
            f"iconv -f {encoding} -t UTF-8"
        )
    return text.removeprefix(codecs.BOM_UTF8)


def parse_json(text: bytes, path: Path) -> Any:
    """Parse a JSON text; raises DataError naming the file and the reason."""
    try:
        # Twice as fast as the json module; COCO's file has half a gigabyte.
        return from_json(text)
    except ValueError as error:
        raise DataError(f"{path}: {_why_not_json(text, error)}") from None


def _why_not_json(text: bytes, error: ValueError) -> str:
    if not text.strip():
        return "is empty"
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return f"is not JSON: byte {text[wrong.start]:#04x} at position {wrong.start} is not UTF-8; save it as UTF-8"
    return f"is not JSON ({error})"
