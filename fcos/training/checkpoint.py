"""Whole training states on disk: written whole or not at all, verified when read, nothing unpickled but tensors.

A checkpoint is a folder: model.safetensors, ema.safetensors (where one is kept), state.pt (optimizer, schedule, step,
random generators), config.json (configuration and classes) and manifest.json with the sha256 of the others, which is
written last. The folder gets its name only when all of it is on disk.
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
from fcos.files import is_transient, reason_of, retried

MANIFEST = "manifest.json"
NEEDED = {"model.safetensors", "state.pt", "config.json"}
PREFIX = "step_"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or not what its manifest says."""


class CheckpointReadError(Transient, CheckpointError):
    """A checkpoint cannot be read just now, which says nothing about what it holds."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: weights to evaluate with, and all that training needs to go on."""

    path: Path
    step: int
    config: dict[str, Any]
    classes: tuple[str, ...]
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    state: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """What is evaluated: the moving average where one is kept."""
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

    `state` may hold tensors and plain values only. A checkpoint of the same step is replaced; where that is a link to
    another run's, the link alone.
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
        about = {"step": step, "config": config, "classes": list(classes)}
        (partial / "config.json").write_text(json.dumps(about, indent=1))
        _share_mode(partial / "config.json", partial.glob("*.safetensors"))
        hashes = {file.name: _sha256(file) for file in sorted(partial.iterdir())}
        for name in hashes:
            _flush(partial / name)
        (partial / MANIFEST).write_text(json.dumps(hashes, indent=1))
        _flush(partial / MANIFEST)
        final = folder_of(folder, step)
        _remove(final)
        os.replace(partial, final)
        _flush(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies below the folder of all."""
    return folder / f"{PREFIX}{step:08d}"


def verify(path: Path) -> frozenset[str]:
    """Names of a checkpoint's files, each held against its hash; raises CheckpointError naming what is wrong."""
    with _readable(path):
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
    if not isinstance(hashes, dict) or not set(hashes) >= NEEDED:
        raise CheckpointError(f"{manifest}: is damaged (it must name {', '.join(sorted(NEEDED))})")
    for name, expected in hashes.items():
        file = path / name
        if Path(name).name != name or not file.is_file():
            raise CheckpointError(f"{file}: is missing")
        if _sha256(file) != expected:
            raise CheckpointError(f"{file}: is damaged (its sha256 is not the one in {MANIFEST})")
    return frozenset(hashes)


def load(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; raises CheckpointError naming what is wrong with it."""
    files = verify(path)
    try:
        with _readable(path):
            about = json.loads((path / "config.json").read_text())
            return Checkpoint(
                path=path,
                step=int(about["step"]),
                config=dict(about["config"]),
                classes=tuple(map(str, about["classes"])),
                model=load_file(path / "model.safetensors"),
                ema=load_file(path / "ema.safetensors") if "ema.safetensors" in files else None,
                state=torch.load(path / "state.pt", map_location="cpu", weights_only=True),
            )
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        # Hashes that agree say who wrote the manifest, not what the files hold.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: is no checkpoint of this project ({reason})") from None


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and what was wrong with newer ones; CheckpointError for a closed folder."""
    problems: list[str] = []
    for path in reversed(_all_in(folder)):
        try:
            return load(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def newest_step(folder: Path) -> int:
    """The step that a training goes on from: that of the newest whole checkpoint, 0 where none can be read."""
    with suppress(CheckpointError):
        for path in reversed(_all_in(folder)):
            with suppress(CheckpointError):
                verify(path)
                return int(path.name.removeprefix(PREFIX))
    return 0


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`, and what an interrupted write left."""
    for path in _all_in(folder)[:-keep]:
        if best is None or path != folder_of(folder, best):
            _remove(path)
    for path in folder.glob(".partial_*"):
        _remove(path)


def digest(path: Path) -> str:
    """sha256 of a checkpoint's manifest, which holds that of everything else; CheckpointError where there is none."""
    with _readable(path):
        return _sha256(path / MANIFEST)


def _all_in(folder: Path) -> list[Path]:
    """List the checkpoints' folders and links to such, oldest first; none where there is no folder."""
    with _readable(folder):
        try:
            # Not glob, which takes a folder that may not be looked into for an empty one.
            entries = retried(lambda: list(folder.iterdir()), folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    steps = {path: path.name.removeprefix(PREFIX) for path in entries if path.name.startswith(PREFIX)}
    return sorted((path for path, step in steps.items() if step.isdecimal()), key=lambda path: int(steps[path]))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise CheckpointError naming file and reason for an OSError of reading below a path."""
    try:
        yield
    except OSError as error:
        kind = CheckpointReadError if is_transient(error) else CheckpointError
        raise kind(f"{error.filename or path}: cannot be read ({reason_of(error)})") from error


def _remove(path: Path) -> None:
    """Remove a folder, or a link without what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def _share_mode(pattern: Path, files: Iterator[Path]) -> None:
    """Give files the mode of one that was written as the umask has it; safetensors writes for the owner alone."""
    mode = pattern.stat().st_mode & 0o777
    for file in files:
        # Where modes cannot be set, all files have the same.
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


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
