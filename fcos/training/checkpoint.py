"""Checkpoints of complete training states: written atomically, verified when read, without unpickling code.

A checkpoint is a folder: model.safetensors, a file for each moving average of the weights (see average_files.py),
state.pt (optimizer, schedule, step, random generators), config.json (configuration and classes) and manifest.json with
the sha256 of the others, which is written last. The folder gets its final name only when all files are on disk.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Collection, Iterator, Mapping
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
from fcos.training.average_files import average_file, average_files, own_decay

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
    # Moving averages of the weights by their decay.
    averages: Mapping[float, dict[str, Tensor]]
    state: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate: the average of the configuration's own schedule.ema, if there is one."""
        decay = own_decay(self.config)
        return self.model if decay is None else self.averages.get(decay, self.model)

    def weights_of(self, decay: float | None) -> dict[str, Tensor]:
        """Return the average of a decay, or with None the weights themselves.

        Raises CheckpointError for an average that is not there.
        """
        if decay is None:
            return self.model
        if decay not in self.averages:
            held = ", ".join(["null", *(f"{each:g}" for each in sorted(self.averages))])
            raise CheckpointError(f"{self.path}: holds no moving average of schedule.ema={decay:g}; there are {held}")
        return self.averages[decay]


def save(
    folder: Path,
    *,
    step: int,
    config: dict[str, Any],
    classes: tuple[str, ...],
    model: nn.Module,
    averages: Mapping[float, nn.Module],
    state: dict[str, Any],
) -> Path:
    """Write a checkpoint into folder/step_<step> and return that path.

    `averages` are those of the weights, by decay. `state` may hold tensors and plain values only. A checkpoint of the
    same step is replaced; where it is a link to another run's checkpoint, only the link is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial_{step:08d}_{os.getpid()}"
    _remove(partial)
    partial.mkdir()
    try:
        save_file(_contiguous(model), partial / "model.safetensors")
        for decay, average in averages.items():
            save_file(_contiguous(average), partial / average_file(decay, own_decay(config)))
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
    with _parsing(path):
        metadata = json.loads((path / "config.json").read_text())
        config = dict(metadata["config"])
        averages = average_files(files, own_decay(config))
        return Checkpoint(
            path=path,
            step=int(metadata["step"]),
            config=config,
            classes=tuple(map(str, metadata["classes"])),
            model=load_file(path / "model.safetensors"),
            averages={decay: load_file(path / name) for decay, name in averages.items()},
            state=torch.load(path / "state.pt", map_location="cpu", weights_only=True),
        )


def averages_in(path: Path) -> frozenset[float]:
    """Return the decays of the moving averages that a checkpoint holds, which is verified.

    Raises CheckpointError naming the problem.
    """
    files = verify(path)
    with _parsing(path):
        config = json.loads((path / "config.json").read_text())["config"]
        return frozenset(average_files(files, own_decay(config)))


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turn errors of a verified checkpoint's content into a CheckpointError that names folder and reason."""
    try:
        with _reading(path):
            yield
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        # Matching hashes do not guarantee that the files hold a checkpoint of this project.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: is no checkpoint of this project ({reason})") from None


def latest(folder: Path, averages: Collection[float] = ()) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest intact checkpoint with some moving averages, and why newer ones were passed over.

    Raises CheckpointError for a folder that cannot be read.
    """
    problems: list[str] = []
    for path in reversed(_checkpoints_in(folder)):
        try:
            found = load(path)
            for decay in averages:
                found.weights_of(decay)
            return found, problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def newest_step(folder: Path, averages: Collection[float] = ()) -> int:
    """Return the step of the checkpoint that training resumes from: the newest intact one with some moving averages.

    Returns 0 where there is none.
    """
    with suppress(CheckpointError):
        for path in reversed(_checkpoints_in(folder)):
            with suppress(CheckpointError):
                if averages_in(path) >= set(averages):
                    return step_of(path)
    return 0


def prune(folder: Path, keep: int, best: int | None = None, newest: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`, and leftovers of interrupted writes.

    Those after step `newest`, which the training passed over as damaged or without an average that it needs, go too.
    """
    paths = _checkpoints_in(folder)
    kept = [path for path in paths if newest is None or step_of(path) <= newest][-keep:]
    for path in paths:
        if path not in kept and (best is None or path != folder_of(folder, best)):
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
    named = (path for path in entries if path.name.startswith(PREFIX))
    return sorted((path for path in named if path.name.removeprefix(PREFIX).isdecimal()), key=step_of)


def steps_in(folder: Path) -> frozenset[int]:
    """Return the steps of the checkpoints in a folder, which are not verified; raises as `latest`."""
    return frozenset(map(step_of, _checkpoints_in(folder)))


def step_of(path: Path) -> int:
    """Return the step of a checkpoint's folder, which is named after it."""
    return int(path.name.removeprefix(PREFIX))


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
