"""Keep nothing of a PNG file but what its pixels need: no texts, times, profiles or positions."""

import struct
from collections.abc import Iterator
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
END: Final = b"IEND"
KEPT: Final = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", END))
# Chunks that a file has once, and the most bytes that the format gives them.
ONCE: Final = {b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, END: 0}
# Length, kind and checksum of a chunk.
AROUND: Final = 12


def strip_png(content: bytes) -> bytes | None:
    """Return a PNG file without chunks other than those of pixels, and nothing behind its end; None for no PNG file.

    Of chunks that a file has once the first is kept; one that is larger than the format allows is none.
    """
    if not content.startswith(SIGNATURE):
        return None
    kept = [SIGNATURE]
    seen: set[bytes] = set()
    for kind, chunk in _iterate_chunks(content):
        is_foreign = kind in ONCE and (kind in seen or len(chunk) > ONCE[kind] + AROUND)
        if kind in KEPT and not is_foreign:
            kept.append(chunk)
            seen.add(kind)
        if kind == END:
            return b"".join(kept) if END in seen else None
    return None


def _iterate_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and bytes of each whole chunk."""
    start = len(SIGNATURE)
    while start + AROUND <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + AROUND + length
        if end > len(content):
            return
        yield kind, content[start:end]
        start = end
