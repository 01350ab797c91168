"""Files that are written piece by piece and are there only when they are whole."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcos.storage.files import flush_to_disk


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Return a path beside that of a file, which what is written there replaces when the block ends without an error.

    It is flushed to disk before, and removed on failure; a killed process leaves one with the suffix of the path. For
    content that is in memory there is `write_atomically`. Raises OSError.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The new name itself; some file systems cannot flush a folder.
    with suppress(OSError):
        flush_to_disk(path.parent)
