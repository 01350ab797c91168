"""fcos.train: one training in this process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from fcos.api.load import Device
from fcos.api.user_errors import check_choice, check_type, raises_config_error
from fcos.assignment.own_rule import Match, assign_by
from fcos.config.model import ModelConfig
from fcos.config.parse import flatten
from fcos.config.run import Config
from fcos.device import pick_device
from fcos.errors import ConfigError
from fcos.inference import Trained, load_trained
from fcos.runtime import LocalRuntime
from fcos.storage.checkpoint_folder import checkpoints_in
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import CHECKPOINTS, MetricPoint, ProgressRecord
from fcos.storage.store_conventions import RUN_ONLY
from fcos.training_run import run

# Name of the caller's assignment in a run's folder, which its configuration does not have.
MATCH_FILE: Final = "match.txt"
# Settings that a message names where a folder has another training.
MOST_DIFFERENCES: Final = 5


@dataclass(frozen=True)
class Training:
    """A finished training: its detector, the metrics of its last evaluation, and what it reported on the way.

    metrics: fractions, by names such as val/AP. points: of this call alone, where it went on from a checkpoint.
    notes: remarks, as a report has them. checkpoint: the folder that `load` takes, as it does `folder`.
    """

    folder: Path
    checkpoint: Path
    detector: Trained = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    step: int
    seconds: float
    notes: tuple[str, ...]
    points: tuple[MetricPoint, ...] = field(repr=False)

    def curve(self, key: str) -> list[tuple[int, float]]:
        """Return the (step, value) of a metric, such as train/loss; an unknown one has none."""
        return [(point.step, point.value) for point in self.points if point.key == key]


@raises_config_error
def train(
    config: Config,
    folder: str | Path,
    *,
    device: Device = "auto",
    match: Match | None = None,
    on_point: Callable[[MetricPoint], object] | None = None,
) -> Training:
    """Train a detector in this process, to the last step of its schedule.

    Checkpoints, evaluation and sample detections are written to the folder; a training that was interrupted goes on
    from there. match: an assignment of one's own, see docs/api.md. on_point: is called with each value of a metric as
    it comes. Seeds torch's generators, so that the same configuration gives the same numbers on the same machine.
    Raises ConfigError for a mistake, also for a folder with another training; Diverged, a RuntimeError, where the loss
    is no longer finite.

        >>> training = fcos.train(config, folder)
        >>> training.step, training.detector.step
        (6, 6)
        >>> [step for step, _ in training.curve("train/loss")]
        [2, 3, 4, 6]
    """
    check_type("config", config, Config, "give what fcos.configure returns")
    check_choice("device", device, get_args(Device))
    if config.task != "train":
        raise ConfigError(f"task={config.task}: trains nothing; leave it out")
    path = Path(folder)
    if match is not None:
        check_own_rule(config.model)
    _check_folder(path, config, _name_of(match))
    points: list[MetricPoint] = []

    def on_report(record: ProgressRecord) -> None:
        points.extend(record.points)
        if on_point is not None:
            for point in record.points:
                on_point(point)

    runtime = LocalRuntime(path, pick_device(device), on_report)
    summary = run(config, runtime, assign=None if match is None else assign_by(match))
    assert summary.checkpoint is not None, "a training ends with a checkpoint"
    own = (f"targets were assigned by {_name_of(match)}, and not by model.assignment",) if match is not None else ()
    return Training(
        folder=path,
        checkpoint=path / summary.checkpoint,
        detector=load_trained(path / summary.checkpoint, runtime.device, {}),
        metrics=summary.metrics[""],
        step=summary.step,
        seconds=summary.seconds,
        notes=(*own, *summary.notes),
        points=tuple(points),
    )


def check_own_rule(model: ModelConfig) -> None:
    """Raise ConfigError where a model needs an assignment that its configuration names."""
    for key in ("anchors_per_location", "targets_per_location"):
        if getattr(model, key) > 1:
            raise ConfigError(f"model.{key}={getattr(model, key)}: match gives each location one box; set it to 1")
    if model.postprocess.oracle != "none" or "ambiguous" in model.postprocess.analyses:
        raise ConfigError(
            "model.postprocess: oracles and the analysis `ambiguous` take model.assignment, and not match; leave them "
            "out"
        )


def _name_of(match: Match | None) -> str:
    if match is None:
        return ""
    return f"{getattr(match, '__module__', '')}.{getattr(match, '__qualname__', type(match).__qualname__)}"


def _check_folder(folder: Path, config: Config, match: str) -> None:
    """Raise ConfigError for a folder that holds another training; note the rule of one that begins."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"folder={folder}: is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoints_in(folder / CHECKPOINTS)
    file = folder / MATCH_FILE
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if not found:
        if match or before:
            write_atomically(file, match)
        return
    if before != match:
        raise ConfigError(f"folder={folder}: has a training with match={before or None}; give another folder")
    differences = _differences(_config_in(found[-1]), config)
    if differences:
        shown = ", ".join(differences[:MOST_DIFFERENCES]) + (", ..." if len(differences) > MOST_DIFFERENCES else "")
        raise ConfigError(f"folder={folder}: has a training with other settings ({shown}); give another folder")


def _config_in(checkpoint: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint; nothing of one that is damaged, which the training passes over."""
    try:
        return dict(json.loads((checkpoint / "config.json").read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _differences(before: Mapping[str, Any], config: Config) -> list[str]:
    """Return the settings that decide a result and were other ones, with their values then."""
    if not before:
        return []
    old, new = flatten(before), flatten(config.model_dump(mode="json"))
    return [f"{key}={old.get(key)}" for key in sorted({*old, *new} - set(RUN_ONLY)) if old.get(key) != new.get(key)]
