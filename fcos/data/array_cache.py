"""Arrays kept in files of the cache folder, with a checksum; the least recently used are removed first."""

import hashlib
import io
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = "annotations"
# Of all that is kept; what was not used for longest goes first.
MOST_BYTES = 2 << 30
# In front of the arrays stands their own sha256.
DIGEST_BYTES = 32


def load_arrays(kept: Path) -> dict[str, Any] | None:
    """Arrays by name as `keep_arrays` kept them; None for what is not there, or is not what was written."""
    try:
        stored = memoryview(kept.read_bytes())
        if hashlib.sha256(stored[DIGEST_BYTES:]).digest() != stored[:DIGEST_BYTES]:
            return None
    except OSError:
        return None
    with suppress(OSError):
        # Used just now, as far as making room goes.
        os.utime(kept)
    with np.load(io.BytesIO(stored[DIGEST_BYTES:]), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def keep_arrays(columns: Mapping[str, Any], kept: Path) -> None:
    """Keep arrays in a file of the cache folder, as far as it can be written."""
    arrays = io.BytesIO()
    np.savez(arrays, **columns)
    # Processes that parse the same file each write a draft of their own; the last one stays.
    draft = kept.with_name(f".{uuid.uuid4().hex}.kept")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as target:
                target.write(hashlib.sha256(arrays.getbuffer()).digest())
                target.write(arrays.getbuffer())
            draft.replace(kept)
        finally:
            draft.unlink(missing_ok=True)
        _make_room(kept.parent)
    except OSError as error:
        reason = error.strerror or error
        logging.getLogger(__name__).warning("%s: cannot be written (%s); annotations are parsed anew", kept, reason)


def _make_room(folder: Path) -> None:
    """Drop what was not used for longest, drafts of killed processes too; the newest stays, whatever its size."""
    # Another process may be making room as well.
    with suppress(FileNotFoundError):
        facts = [(file.stat(), file) for file in folder.glob("*.kept")]
        facts.sort(key=lambda fact: fact[0].st_mtime, reverse=True)
        total = 0
        for place, (fact, file) in enumerate(facts):
            total += fact.st_size
            if place and total > MOST_BYTES:
                file.unlink()
