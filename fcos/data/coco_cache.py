"""What a COCO file holds, kept in the cache folder, so that the arms and workers of a sweep parse it once."""

import hashlib
import io
import json
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fcos.data import coco_file
from fcos.data.coco_file import CocoFile, parse_coco_file
from fcos.data.reading import read_bytes

FOLDER = "annotations"
# What messages call the file.
KIND = "annotation file"
# Files below this many bytes are parsed as fast as found.
LEAST_BYTES = 1 << 20
# Of all that is kept; what was not used for longest goes first.
MOST_BYTES = 2 << 30
# In front of the arrays stands their own sha256.
DIGEST_BYTES = 32
# Fields that are no arrays, as JSON in one array of bytes.
WORDS = ("names", "classes", "digest")


def read_coco_file(path: Path, cache: Path | None) -> CocoFile:
    """As `parse_coco_file`, from the cache folder where this very content was parsed before; None keeps nothing.

    Kept by the content of the file and by the code that parses it. What does not read back whole is parsed anew, and
    so is everything where the folder cannot be written. Raises DataError naming the file and the entry.
    """
    content = read_bytes(path, KIND)
    if cache is None or len(content) < LEAST_BYTES:
        return parse_coco_file(content, path)
    kept = cache / FOLDER / f"{_key(content)}.kept"
    found = _load(kept)
    if found is None:
        found = parse_coco_file(content, path)
        _keep(found, kept)
    return found


def _key(content: bytes) -> str:
    key = hashlib.sha256(content)
    for module in (coco_file.__file__, __file__):
        key.update(hashlib.sha256(Path(module).read_bytes()).digest())
    return key.hexdigest()[:32]


def _load(kept: Path) -> CocoFile | None:
    columns = load_arrays(kept)
    if columns is None:
        return None
    words = json.loads(columns.pop("words").tobytes())
    names, classes = tuple(words["names"]), tuple(words["classes"])
    return CocoFile(**columns, names=names, classes=classes, digest=words["digest"])


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


def _keep(file: CocoFile, kept: Path) -> None:
    words = {name: getattr(file, name) for name in WORDS}
    columns = {item.name: getattr(file, item.name) for item in fields(file) if item.name not in WORDS}
    keep_arrays({"words": np.frombuffer(json.dumps(words).encode(), dtype=np.uint8), **columns}, kept)


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
