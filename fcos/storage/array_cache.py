"""Arrays cached in files with a checksum; the least recently used files are removed first."""

import hashlib
import io
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fcos.storage.files import evict_least_recently_used, reason_of, write_atomically

CACHE_FOLDER = "annotations"
SUFFIX = ".kept"
# Limit of all cached files together.
MAX_BYTES = 2 << 30
# A file is the sha256 of the arrays, followed by the arrays as npz.
DIGEST_BYTES = 32


def load_arrays(path: Path) -> dict[str, Any] | None:
    """Return the arrays of a cached file by name, or None where it is missing or damaged."""
    try:
        content = memoryview(path.read_bytes())
        if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
            return None
    except OSError:
        return None
    with suppress(OSError):
        # The modification time is the time of last use, for eviction.
        os.utime(path)
    with np.load(io.BytesIO(content[DIGEST_BYTES:]), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save_arrays(named_arrays: Mapping[str, Any], path: Path) -> None:
    """Save arrays in a file of the cache folder.

    A folder that cannot be written is logged as a warning.
    """
    arrays = io.BytesIO()
    np.savez(arrays, **named_arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Processes that parse the same file each write it; the last one stays.
        write_atomically(path, hashlib.sha256(arrays.getbuffer()).digest() + arrays.getbuffer())
        # The pattern includes temporary files that killed processes left behind.
        cached = path.parent.glob(f"*{SUFFIX}")
        evict_least_recently_used(cached, MAX_BYTES, Path.unlink, keep_newest=True)
    except OSError as error:
        reason = reason_of(error)
        logging.getLogger(__name__).warning("%s: cannot be written (%s); its content is computed anew", path, reason)
