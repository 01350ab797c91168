"""Trainings of a sweep by plan.json and their folders, where its driver left no record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fcos.storage.run_folder import POINTS, SUMMARY, MetricPoint
from fcos.storage.store_conventions import Artifact
from orchestration.cli.status_records import TrainingState
from orchestration.experiment.plan_additions import read_planned
from orchestration.experiment.training_folder import TRIALS, short_identity
from orchestration.monitor.record import Record, TrainingRecord
from orchestration.trial.failures import read_failure

# From the end of a file of points.
TAIL_BYTES = 16384
LOSS = "train/loss"


class _Schedule(Record):
    steps: int


class _ArmConfig(Record):
    schedule: _Schedule
    task: str = "train"


class _ListedTraining(Record):
    identity: str
    seed: int
    arms: dict[str, str]


class ListedPlan(Record):
    """The trainings of plan.json."""

    arms: dict[str, _ArmConfig]
    trials: tuple[_ListedTraining, ...]


def read_listed_plan(folder: Path) -> ListedPlan | None:
    """Return the trainings that a sweep's folder lists, None where it has no plan yet.

    Raises OSError for a file that cannot be read, ValueError for one that is no plan.
    """
    try:
        return ListedPlan.model_validate(read_planned(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{Artifact.PLAN} is not readable as a plan") from error


def list_trainings(folder: Path, plan: ListedPlan) -> Iterator[TrainingRecord]:
    """Iterate over the trainings of a plan, as far as their folders show how far they are."""
    for index, training in enumerate(plan.trials):
        arms = tuple(training.arms)
        config = plan.arms.get(arms[0]) if arms else None
        counts = config is not None and config.task == "coverage"
        total = None if config is None or counts else config.schedule.steps
        own = folder / TRIALS / short_identity(training.identity)
        last = read_last_loss(own)
        finished = is_finished(own)
        yield TrainingRecord(
            index=index,
            identity=training.identity,
            label=f"{', '.join(arms)} · seed {training.seed}" if any(arms) else f"seed {training.seed}",
            arms=arms,
            seed=training.seed,
            state="finished" if finished else "waiting",
            unit="image" if counts else "step",
            step=total if finished and total is not None else last.step,
            total_steps=total,
            loss=last.value,
        )


class LastLoss(NamedTuple):
    """The newest loss that a training has written, and its step; None and 0 before there is one."""

    step: int
    value: float | None


def read_last_loss(folder: Path) -> LastLoss:
    """Return the newest loss in a training's folder, from the end of its points alone."""
    try:
        with (folder / POINTS).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return LastLoss(0, None)
    for line in reversed(lines):
        # The first line of a tail is cut, and so is the last one of a training that was killed while it wrote.
        try:
            point = MetricPoint(*json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        if point.key == LOSS and isinstance(point.step, int):
            return LastLoss(point.step, point.value)
    return LastLoss(0, None)


def is_finished(folder: Path) -> bool:
    """Return whether a training's folder has a result; False where one may not look."""
    try:
        return (folder / SUMMARY).exists()
    except OSError:
        return False


def state_after_end(state: TrainingState, folder: Path) -> TrainingState:
    """Return the state of a training whose driver is gone: a result may have come after the last record."""
    if state in ("running", "waiting", "followed", "later") and is_finished(folder):
        return "finished"
    return "interrupted" if state == "running" else state


def reason_of_failure(folder: Path) -> str | None:
    """Return the first line of why the last attempt at a training failed; None where no reason is recorded."""
    try:
        failure = read_failure(folder)
    except OSError:
        return None
    lines = [] if failure is None else failure.message.splitlines()
    return lines[0] if lines else None
