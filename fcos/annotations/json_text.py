"""The JSON text of a file: decompressed, without a byte order mark, and parsed."""

import codecs
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from fcos.errors import DataError


def json_text(content: bytes, path: Path, max_bytes: int | None = None) -> bytes:
    """Return the JSON text of a file in UTF-8, gzipped or not, without a byte order mark.

    A mark is skipped, as RFC 8259 allows readers. Raises DataError for broken gzip data, for UTF-16 and UTF-32, and for
    a text of more than `max_bytes`, before more than that is decompressed.
    """
    try:
        text = _decompressed(content, max_bytes) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data are broken ({error})") from None
    if max_bytes is not None and len(text) > max_bytes:
        raise DataError(
            f"{path}: its text has more than {max_bytes / 1e6:.0f} MB, the most that is read of such a file"
        )
    encoding = json.detect_encoding(text).upper()
    if not encoding.startswith("UTF-8"):
        raise DataError(
            f"{path}: is {encoding} text, and JSON files are UTF-8; save it as UTF-8, for instance with "
            f"iconv -f {encoding} -t UTF-8"
        )
    return text.removeprefix(codecs.BOM_UTF8)


def _decompressed(content: bytes, max_bytes: int | None) -> bytes:
    """Return the decompressed content, or its first `max_bytes` + 1."""
    if max_bytes is None:
        return gzip.decompress(content)
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(max_bytes + 1)


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
