"""Checkpoints of a sweep's lesser trainings make room, but none that another sweep rests on."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration import trial_files
from orchestration.config import LabConfig
from orchestration.experiment import Trial, is_coverage
from orchestration.planning import TRIALS, Plan

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Removed:
    """A training whose checkpoints made room."""

    trial: Trial
    # Its place among those that are finished, best first, counted from 1.
    rank: int
    bytes: int


@dataclass(frozen=True)
class Retention:
    """What was removed, and what would have been if nobody needed it."""

    metric: str
    ranked: int
    removed: Sequence[Removed] = ()
    needed: Sequence[Trial] = ()

    def lines(self, keep: int) -> list[str]:
        """What a person is told."""
        if not self.removed and not self.needed:
            return []
        freed = sum(each.bytes for each in self.removed) / 1e6
        head = f"keep.trained={keep}: of {self.ranked} trainings ranked by {self.metric}"
        names = ", ".join(each.trial.label for each in self.removed)
        lines = [f"{head}, the checkpoints of {len(self.removed)} were removed ({freed:.1f} MB): {names}"]
        if self.needed:
            lines.append(f"kept all the same, as other sweeps need them: {', '.join(t.label for t in self.needed)}")
        return lines if self.removed else lines[1:]


def make_room(lab: LabConfig, plan: Plan) -> Retention:
    """Remove the checkpoints of finished trainings that rank below keep.trained; all else of them stays.

    Trainings that are not finished go on from theirs, and those of other sweeps are not this one's to remove.
    """
    metric, mode = _measure(lab)
    finished = {
        trial.identity: (trial, summary["metrics"])
        for trial in plan.trials
        if not is_coverage(trial) and (summary := plan.summary_of(trial)) is not None
    }
    order = rank({identity: metrics for identity, (_, metrics) in finished.items()}, metric, mode)
    if lab.keep.trained is None or lab.keep.trained >= len(order):
        return Retention(metric, len(order))
    elsewhere = needed_elsewhere(lab.folder, plan.folder)
    removed, needed = [], []
    for place, identity in enumerate(order[lab.keep.trained :], start=lab.keep.trained + 1):
        trial = finished[identity][0]
        folder = plan.folder_of(trial) / CHECKPOINTS
        if trial_files.read_reused(folder.parent) is not None or not folder.is_dir():
            continue
        if folder.resolve() in elsewhere:
            needed.append(trial)
        else:
            removed.append(Removed(trial, place, _size(folder)))
            shutil.rmtree(folder)
    return Retention(metric, len(order), removed, needed)


def rank(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], metric: str, mode: str) -> list[str]:
    """Trainings best first, each by its best arm; of equals the earlier one, those without a number last."""

    def key(name: str) -> float:
        values = [float(arm[metric]) for arm in metrics[name].values() if metric in arm]
        finite = [value if mode == "max" else -value for value in values if math.isfinite(value)]
        return -max(finite, default=-math.inf)

    return sorted(metrics, key=key)


def needed_elsewhere(output: Path, own: Path) -> set[Path]:
    """Folders of checkpoints to which trainings that another sweep took over point."""
    reused = [path.parent for path in output.glob(f"*/{TRIALS}/*/{trial_files.REUSED}") if own not in path.parents]
    links = [link for folder in reused for link in (folder / CHECKPOINTS).glob("*") if link.is_symlink()]
    return {link.resolve().parent for link in links}


def _measure(lab: LabConfig) -> tuple[str, str]:
    if lab.experiment is None:
        return "val/AP", "max"
    if lab.experiment.search is not None:
        return lab.experiment.search.metric, lab.experiment.search.mode
    return lab.experiment.metrics[0], "max"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
