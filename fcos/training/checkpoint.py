"""Checkpoints of complete training states: written atomically, verified when read, without unpickling code.

A checkpoint is a folder: model.safetensors, ema.safetensors (if there is a moving average), state.pt (optimizer,
schedule, step, random generators), config.json (configuration and classes) and manifest.json with the sha256 of the
others, which is written last. The folder gets its final name only when all files are on disk.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fcos.errors import Transient
from fcos.storage.files import flush_to_disk, is_transient, reason_of, retried

MANIFEST = "manifest.json"
REQUIRED_FILES = {"model.safetensors", "state.pt", "config.json"}
PREFIX = "step_"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or does not match its manifest."""


class CheckpointReadError(Transient, CheckpointError):
    """A checkpoint cannot be read for now, which says nothing about its content."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: weights for evaluation, and the state that training resumes from."""

    path: Path
    step: int
    config: dict[str, Any]
    classes: tuple[str, ...]
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    state: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate: the moving average, if there is one."""
        return self.model if self.ema is None else self.ema


def save(
    folder: Path,
    *,
    step: int,
    config: dict[str, Any],
    classes: tuple[str, ...],
    model: nn.Module,
    ema: nn.Module | None,
    state: dict[str, Any],
) -> Path:
    """Write a checkpoint into folder/step_<step> and return that path.

    `state` may hold tensors and plain values only. A checkpoint of the same step is replaced; where it is a link to
    another run's checkpoint, only the link is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial_{step:08d}_{os.getpid()}"
    _remove(partial)
    partial.mkdir()
    try:
        save_file(_contiguous(model), partial / "model.safetensors")
        if ema is not None:
            save_file(_contiguous(ema), partial / "ema.safetensors")
        torch.save(state, partial / "state.pt")
        metadata = {"step": step, "config": config, "classes": list(classes)}
        (partial / "config.json").write_text(json.dumps(metadata, indent=1))
        _copy_mode(partial / "config.json", partial.glob("*.safetensors"))
        hashes = {file.name: _sha256(file) for file in sorted(partial.iterdir())}
        for name in hashes:
            flush_to_disk(partial / name)
        (partial / MANIFEST).write_text(json.dumps(hashes, indent=1))
        flush_to_disk(partial / MANIFEST)
        final = folder_of(folder, step)
        _remove(final)
        os.replace(partial, final)
        flush_to_disk(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def folder_of(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step in the folder of all checkpoints."""
    return folder / f"{PREFIX}{step:08d}"


def verify(path: Path) -> frozenset[str]:
    """Verify a checkpoint's files by their hashes and return their names; raises CheckpointError naming the problem."""
    with _reading(path):
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
        if _sha256(file) != expected:
            raise CheckpointError(f"{file}: is damaged (its sha256 is not the one in {MANIFEST})")
    return frozenset(hashes)


def load(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; raises CheckpointError naming the problem."""
    files = verify(path)
    try:
        with _reading(path):
            metadata = json.loads((path / "config.json").read_text())
            return Checkpoint(
                path=path,
                step=int(metadata["step"]),
                config=dict(metadata["config"]),
                classes=tuple(map(str, metadata["classes"])),
                model=load_file(path / "model.safetensors"),
                ema=load_file(path / "ema.safetensors") if "ema.safetensors" in files else None,
                state=torch.load(path / "state.pt", map_location="cpu", weights_only=True),
            )
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        # Matching hashes do not guarantee that the files hold a checkpoint of this project.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: is no checkpoint of this project ({reason})") from None


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest intact checkpoint, and the problems of newer ones; CheckpointError for an unreadable folder."""
    problems: list[str] = []
    for path in reversed(_checkpoints_in(folder)):
        try:
            return load(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def newest_step(folder: Path) -> int:
    """Return the step of the newest intact checkpoint, from which training resumes.

    Returns 0 where none can be read.
    """
    with suppress(CheckpointError):
        for path in reversed(_checkpoints_in(folder)):
            with suppress(CheckpointError):
                verify(path)
                return int(path.name.removeprefix(PREFIX))
    return 0


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`, and leftovers of interrupted writes."""
    for path in _checkpoints_in(folder)[:-keep]:
        if best is None or path != folder_of(folder, best):
            _remove(path)
    for path in folder.glob(".partial_*"):
        _remove(path)


def digest(path: Path) -> str:
    """Return the sha256 of a checkpoint's manifest, which covers all its files.

    Raises CheckpointError where it is missing.
    """
    with _reading(path):
        return _sha256(path / MANIFEST)


def _checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoint folders and links to such, oldest first; none where the folder is missing."""
    with _reading(folder):
        try:
            # Not glob, which treats a folder without read permission as empty.
            entries = retried(lambda: list(folder.iterdir()), folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    steps = {path: path.name.removeprefix(PREFIX) for path in entries if path.name.startswith(PREFIX)}
    return sorted((path for path, step in steps.items() if step.isdecimal()), key=lambda path: int(steps[path]))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an OSError of reading into a CheckpointError that names file and reason."""
    try:
        yield
    except OSError as error:
        kind = CheckpointReadError if is_transient(error) else CheckpointError
        raise kind(f"{error.filename or path}: cannot be read ({reason_of(error)})") from error


def _remove(path: Path) -> None:
    """Remove a folder, or a link without its target."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def _copy_mode(reference: Path, files: Iterator[Path]) -> None:
    """Give files the mode of a reference file, which follows the umask.

    safetensors writes files for the owner only.
    """
    mode = reference.stat().st_mode & 0o777
    for file in files:
        # On file systems without modes all files have the same mode, and chmod may fail.
        if file.stat().st_mode & 0o777 != mode:
            file.chmod(mode)


def _contiguous(model: nn.Module) -> dict[str, Tensor]:
    # safetensors stores plain row-major tensors; channels_last weights are not.
    return {name: value.detach().contiguous() for name, value in model.state_dict().items()}


def _sha256(file: Path) -> str:
    def read() -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    return retried(read, file)
