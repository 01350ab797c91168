"""Weights of a training for an archive: the safetensors files of its last checkpoint, checked, and nothing pickled."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from fcos.published.archive import ArchiveError
from fcos.published.layout import WEIGHTS, WORD
from fcos.storage.checkpoint_folder import MANIFEST, CheckpointError, digest, verify
from fcos.storage.store_conventions import Tag


def copy_weights(tags: Mapping[str, str], folder: Path, name: str) -> list[str]:
    """Copy the weights that a run's checkpoint holds into a trial's folder; returns notes on what is not there.

    The manifest of the checkpoint comes along, whose SHA-256 the run recorded. Raises ArchiveError for files that are
    not those that were saved.
    """
    source = Path(tags.get(Tag.CHECKPOINT, ""))
    if not tags.get(Tag.CHECKPOINT) or not (source / MANIFEST).is_file():
        return [f"the weights of {name} are left out: its checkpoint is not here"]
    try:
        if digest(source) != tags.get(Tag.CHECKPOINT_SHA256):
            raise ArchiveError(f"the checkpoint of {name} is not the one that its run saved; publish without weights")
        files = verify(source)
    except CheckpointError as error:
        raise ArchiveError(f"the checkpoint of {name}: {error}; publish without weights") from None
    target = folder / WEIGHTS
    target.mkdir()
    for file in sorted({MANIFEST, *(each for each in files if re.fullmatch(rf"{WORD}\.safetensors", each))}):
        shutil.copyfile(source / file, target / file)
    return []
