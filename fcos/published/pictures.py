"""Keep nothing of a PNG file but what its pixels need: no texts, times, profiles or positions."""

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))


def strip_png(content: bytes) -> bytes | None:
    """Return a PNG file without chunks other than those of pixels; None for what is no PNG file."""
    if not content.startswith(SIGNATURE):
        return None
    chunks = list(_iterate_chunks(content))
    if not chunks or chunks[-1][0] != b"IEND":
        return None
    return SIGNATURE + b"".join(chunk for kind, chunk in chunks if kind in KEPT)


def _iterate_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and bytes of each whole chunk."""
    start = len(SIGNATURE)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if end > len(content):
            return
        yield kind, content[start:end]
        start = end
