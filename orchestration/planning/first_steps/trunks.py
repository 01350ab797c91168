"""Trainings of other sweeps in the tracking store that have first steps in common with one that is planned."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fcos.config.parse import parse
from fcos.config.run import ScheduleConfig
from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import CheckpointError, averages_in
from fcos.storage.store_conventions import Tag
from orchestration.experiment.prefixes import Trunk
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.planned_prefixes import held_checkpoints
from orchestration.planning.plan import Plan
from orchestration.tracking.history import History, TaggedRun
from orchestration.trial import files


def find_trunks(history: History, plan: Plan, trials: Iterable[Trial]) -> dict[str, Sequence[Trunk]]:
    """Return by identity the trainings of other sweeps whose checkpoints hold first steps of the trials.

    They may be finished, failed, stopped or running. Raises TrackingError where the store stops answering.
    """
    trunk_of = {trial.identity: trial.trunk for trial in trials if not trial.is_coverage}
    runs = history.of_trunks(set(trunk_of.values()))
    by_trunk = {trunk: tuple(_trunks_of(of_trunk, plan.folder)) for trunk, of_trunk in runs.items()}
    return {identity: by_trunk[trunk] for identity, trunk in trunk_of.items()}


def _trunks_of(runs: Sequence[TaggedRun], own: Path) -> Iterable[Trunk]:
    """Yield a trunk for each folder of the runs outside of a sweep's own that holds a whole checkpoint."""
    by_folder: dict[Path, list[TaggedRun]] = {}
    for run in runs:
        folder = Path(run.tags.get(Tag.FOLDER, ""))
        if folder.is_absolute() and own not in folder.parents:
            by_folder.setdefault(folder, []).append(run)
    for folder, of_folder in by_folder.items():
        trunk = _trunk_in(folder, of_folder)
        if trunk is not None:
            yield trunk


def _trunk_in(folder: Path, runs: Sequence[TaggedRun]) -> Trunk | None:
    """Return the training in a folder; None where it holds another one by now, or no checkpoint that can be read."""
    run = runs[0]
    try:
        held = held_checkpoints(folder)
        if not held or files.training_id(folder) != run.tags.get(Tag.TRAINING_ID, ""):
            return None
        newest = held[max(held)]
        config = json.loads((newest / "config.json").read_text())["config"]
        schedule, averages = parse(ScheduleConfig, config["schedule"]), averages_in(newest)
    except (CheckpointError, ConfigError, OSError, ValueError, KeyError, TypeError):
        return None
    evaluations = {each.arm: each.identity for each in runs}
    identity = run.tags.get(Tag.TRAIN_IDENTITY, "")
    return Trunk(identity, run.name, run.sweep, folder, schedule, averages, evaluations)
