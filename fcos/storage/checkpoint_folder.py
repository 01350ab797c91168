"""Folders of checkpoints: their names, their manifest, and what is read of them without loading a tensor.

Planning a sweep looks at checkpoints; nothing here imports torch, which takes seconds. checkpoint.py of fcos/training
writes and loads them.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcos.errors import Transient
from fcos.storage.average_files import average_files, own_decay
from fcos.storage.files import is_transient, reason_of, retried

MANIFEST = "manifest.json"
REQUIRED_FILES = {"model.safetensors", "state.pt", "config.json"}
PREFIX = "step_"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or does not match its manifest."""


class CheckpointReadError(Transient, CheckpointError):
    """A checkpoint cannot be read for now, whatever its content."""


def folder_of(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step in the folder of all checkpoints."""
    return folder / f"{PREFIX}{step:08d}"


def verify(path: Path) -> frozenset[str]:
    """Verify a checkpoint's files by their hashes and return their names; raises CheckpointError naming the problem."""
    with reading(path):
        return _verify(path)


def _verify(path: Path) -> frozenset[str]:
    manifest = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint folder")
    if not manifest.is_file():
        raise CheckpointError(f"{path}: holds no {MANIFEST}, so it is no whole checkpoint")
    try:
        hashes = json.loads(retried(manifest.read_text, manifest))
    except ValueError:
        raise CheckpointError(f"{manifest}: is damaged (not JSON)") from None
    if not isinstance(hashes, dict) or not set(hashes) >= REQUIRED_FILES:
        raise CheckpointError(f"{manifest}: is damaged (it must name {', '.join(sorted(REQUIRED_FILES))})")
    for name, expected in hashes.items():
        file = path / name
        if Path(name).name != name or not file.is_file():
            raise CheckpointError(f"{file}: is missing")
        if sha256_of(file) != expected:
            raise CheckpointError(f"{file}: is damaged (its sha256 is not the one in {MANIFEST})")
    return frozenset(hashes)


def averages_in(path: Path) -> frozenset[float]:
    """Return the decays of the moving averages that a checkpoint holds, which is verified.

    Raises CheckpointError naming the problem.
    """
    files = verify(path)
    with parsing(path):
        config = json.loads((path / "config.json").read_text())["config"]
        return frozenset(average_files(files, own_decay(config)))


@contextmanager
def parsing(path: Path, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn errors of a verified checkpoint's content into a CheckpointError that names folder and reason.

    also: errors of the reader's own libraries.
    """
    errors: tuple[type[Exception], ...] = (KeyError, TypeError, ValueError, *also)
    try:
        with reading(path):
            yield
    except CheckpointError:
        raise
    except errors as error:
        # Matching hashes do not guarantee that the files hold a checkpoint of this project.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: is no checkpoint of this project ({reason})") from None


def newest_step(folder: Path, averages: Collection[float] = ()) -> int:
    """Return the step of the checkpoint that training resumes from: the newest intact one with some moving averages.

    Returns 0 where there is none.
    """
    with suppress(CheckpointError):
        for path in reversed(checkpoints_in(folder)):
            with suppress(CheckpointError):
                if averages_in(path) >= set(averages):
                    return step_of(path)
    return 0


def prune(folder: Path, keep: int, best: int | None = None, newest: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`, and leftovers of interrupted writes.

    Those after step `newest`, which the training passed over as damaged or without an average that it needs, go too.
    """
    paths = checkpoints_in(folder)
    kept = [path for path in paths if newest is None or step_of(path) <= newest][-keep:]
    for path in paths:
        if path not in kept and (best is None or path != folder_of(folder, best)):
            remove(path)
    for path in folder.glob(".partial_*"):
        remove(path)


def digest(path: Path) -> str:
    """Return the sha256 of a checkpoint's manifest, which covers all its files.

    Raises CheckpointError where it is missing.
    """
    with reading(path):
        return sha256_of(path / MANIFEST)


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoint folders and links to such, oldest first; none where the folder is missing."""
    with reading(folder):
        try:
            # Not glob, which treats a folder without read permission as empty.
            entries = retried(lambda: list(folder.iterdir()), folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    named = (path for path in entries if path.name.startswith(PREFIX))
    return sorted((path for path in named if path.name.removeprefix(PREFIX).isdecimal()), key=step_of)


def steps_in(folder: Path) -> frozenset[int]:
    """Return the steps of the checkpoints in a folder, which are not verified.

    Raises CheckpointError for a folder that cannot be read.
    """
    return frozenset(map(step_of, checkpoints_in(folder)))


def step_of(path: Path) -> int:
    """Return the step of a checkpoint's folder, which is named after it."""
    return int(path.name.removeprefix(PREFIX))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError of reading into a CheckpointError that names file and reason."""
    try:
        yield
    except OSError as error:
        kind = CheckpointReadError if is_transient(error) else CheckpointError
        raise kind(f"{error.filename or path}: cannot be read ({reason_of(error)})") from error


def remove(path: Path) -> None:
    """Remove a folder, or a link without its target."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def sha256_of(file: Path) -> str:
    def read() -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    return retried(read, file)
