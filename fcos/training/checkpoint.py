"""Checkpoints of complete training states: written atomically, verified when read, without unpickling code.

A checkpoint is a folder: model.safetensors, a file for each moving average of the weights (see average_files.py),
state.pt (optimizer, schedule, step, random generators), config.json (configuration and classes) and manifest.json with
the sha256 of the others, which is written last. The folder gets its final name only when all files are on disk.
"""

import json
import os
import pickle
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fcos.storage.average_files import average_file, average_files, own_decay
from fcos.storage.checkpoint_folder import (
    MANIFEST,
    CheckpointError,
    checkpoints_in,
    folder_of,
    parsing,
    remove,
    sha256_of,
    verify,
)
from fcos.storage.files import flush_to_disk


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
    remove(partial)
    partial.mkdir()
    try:
        save_file(_contiguous(model), partial / "model.safetensors")
        for decay, average in averages.items():
            save_file(_contiguous(average), partial / average_file(decay, own_decay(config)))
        torch.save(state, partial / "state.pt")
        metadata = {"step": step, "config": config, "classes": list(classes)}
        (partial / "config.json").write_text(json.dumps(metadata, indent=1))
        _copy_mode(partial / "config.json", partial.glob("*.safetensors"))
        hashes = {file.name: sha256_of(file) for file in sorted(partial.iterdir())}
        for name in hashes:
            flush_to_disk(partial / name)
        (partial / MANIFEST).write_text(json.dumps(hashes, indent=1))
        flush_to_disk(partial / MANIFEST)
        final = folder_of(folder, step)
        remove(final)
        os.replace(partial, final)
        flush_to_disk(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def load(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; raises CheckpointError naming the problem."""
    files = verify(path)
    with parsing(path, (RuntimeError, SafetensorError, pickle.UnpicklingError)):
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


def latest(folder: Path, averages: Collection[float] = ()) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest intact checkpoint with some moving averages, and why newer ones were passed over.

    Raises CheckpointError for a folder that cannot be read.
    """
    problems: list[str] = []
    for path in reversed(checkpoints_in(folder)):
        try:
            found = load(path)
            for decay in averages:
                found.weights_of(decay)
            return found, problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


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
