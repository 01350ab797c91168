"""The plan of an archive's sweep, and what of its trials, its looks and its seeds is in it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from fcos.published.layout import RUN, SWEEP
from fcos.published.records import PublishedRun, read_record
from fcos.published.trials import PublishedTrial
from fcos.storage.store_conventions import Artifact, Tag

# Tag.STATUS of a sweep whose last command has ended, by itself or for want of hours.
CLOSED = ("finished", "failed", "stopped")


class _PlannedTraining(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    seed: int
    # Arm -> identity of its evaluation; several arms may share a training.
    arms: dict[str, str] = {}


class _PlannedPoint(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    keys: dict[str, JsonValue] = {}


class _PlannedSearch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    # Arm -> its point.
    drawn: dict[str, _PlannedPoint] = {}


class PublishedPlan(BaseModel):
    """The trainings of plan.json with their identities, and the configurations of their arms."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    # Every arm that a command has planned, also of those that a later one leaves out or names otherwise -> its whole
    # configuration.
    arms: dict[str, dict[str, JsonValue]] = {}
    trials: list[_PlannedTraining]
    search: _PlannedSearch | None = None
    # Numbers of seeds at which decisions were taken, and the order in which they count seeds; empty in plans by older
    # versions, the order of searches too.
    looks: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    @cached_property
    def trainings(self) -> frozenset[tuple[str, str]]:
        """The identity and the seed of each training."""
        return frozenset((training.identity, str(training.seed)) for training in self.trials)

    def has(self, trial: PublishedTrial) -> bool:
        """Return whether a training of a trial's identity and seed is planned."""
        return _training(trial) in self.trainings


class _Declared(BaseModel):
    """The order of the seeds in experiment.json, which reports count them in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seed_order: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlanComparison:
    """Trials of an archive beside its plan.

    unplanned: of the plan's code, whose training it does not have. of_other_code: of code that it is not about, so that
    it may lack them. misnamed: whose arm, evaluation or code is another one in it. missing: labels of what it has and
    the archive has not.
    """

    unplanned: tuple[PublishedTrial, ...]
    of_other_code: tuple[PublishedTrial, ...]
    misnamed: tuple[PublishedTrial, ...]
    missing: tuple[str, ...]


def read_plan(folder: Path) -> PublishedPlan | None:
    """Return the plan of an archive, None where it has none; raises ArchiveError for a broken one."""
    path = folder / SWEEP / Artifact.PLAN
    return read_record(path, PublishedPlan) if path.is_file() else None


def compare_plan(folder: Path, trials: Sequence[PublishedTrial]) -> PlanComparison | None:
    """Compare the trials of an archive with its plan, None where it has none; raises ArchiveError for a broken one."""
    plan = read_plan(folder)
    if plan is None:
        return None
    is_planned = {trial.folder: plan.has(trial) for trial in trials}
    others = [trial for trial in trials if not is_planned[trial.folder]]
    names = _Names(plan)
    return PlanComparison(
        unplanned=tuple(trial for trial in others if trial.run.tags.get(Tag.CODE) == plan.code),
        of_other_code=tuple(trial for trial in others if trial.run.tags.get(Tag.CODE) != plan.code),
        misnamed=tuple(trial for trial in trials if is_planned[trial.folder] and not names.has(trial)),
        missing=tuple(_list_missing(plan, trials)),
    )


def compare_looks(folder: Path) -> list[str]:
    """Return where looks and order of seeds, which a report takes from run and experiment, are not those of the plan.

    A sweep whose command has not ended may have looks of an earlier one. Raises ArchiveError for a broken record.
    """
    plan = read_plan(folder)
    if plan is None:
        return []
    problems = []
    tags, expected = read_record(folder / SWEEP / RUN, PublishedRun).tags, json.dumps(list(plan.looks))
    if has_planned_looks(plan, tags.get(Tag.STATUS)) and tags.get(Tag.LOOKS) != expected:
        ours = f"{SWEEP}/{RUN}: {Tag.LOOKS} is {tags.get(Tag.LOOKS, 'not there')[:80]}"
        problems.append(f"{ours}, and {Artifact.PLAN} has looks after {expected} seeds")
    path = folder / SWEEP / Artifact.EXPERIMENT
    order = read_record(path, _Declared).seed_order if path.is_file() else plan.seeds
    # Seeds that follow may be those of a command whose plan did not arrive.
    if order[: len(plan.seeds)] != plan.seeds:
        ours = f"{SWEEP}/{Artifact.EXPERIMENT}: seed_order is {list(order)}"
        problems.append(f"{ours}, and {Artifact.PLAN} has the seeds {list(plan.seeds)}")
    return problems


def has_planned_looks(plan: PublishedPlan | None, status: str | None) -> bool:
    """Return whether the looks of a sweep's run must be those of its plan. status: its Tag.STATUS."""
    return plan is not None and len(plan.looks) > 0 and status in CLOSED


class _Names:
    """By which training and evaluation the plan knows an arm with a seed."""

    def __init__(self, plan: PublishedPlan) -> None:
        self._code, self._arms = plan.code, plan.arms
        self._known: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for training in plan.trials:
            for arm, evaluation in training.arms.items():
                of_arm = self._known.setdefault((arm, str(training.seed)), set())
                of_arm.add((training.identity, evaluation))

    def has(self, trial: PublishedTrial) -> bool:
        """Return whether a trial of a planned training is the arm that its tags name, of the plan's code."""
        tags = trial.run.tags
        # The identity of a training stands for its code too.
        if tags.get(Tag.CODE, self._code) != self._code:
            return False
        arm, (identity, seed) = tags.get(Tag.ARM, ""), _training(trial)
        if (arm, seed) in self._known:
            return (identity, tags.get(Tag.IDENTITY, "")) in self._known[arm, seed]
        # A later command left this arm out of a training that others share, or named it otherwise.
        return not self._known or arm in self._arms


def _training(trial: PublishedTrial) -> tuple[str, str]:
    """Return the identity of a trial's training and its seed."""
    return trial.run.tags.get(Tag.TRAIN_IDENTITY, ""), trial.run.tags.get(Tag.SEED, "")


def _list_missing(plan: PublishedPlan, trials: Sequence[PublishedTrial]) -> list[str]:
    trained = {_training(trial) for trial in trials}
    present = {(*_training(trial), trial.run.tags.get(Tag.ARM, "")) for trial in trials}
    missing = []
    for training in plan.trials:
        key = training.identity, str(training.seed)
        if not training.arms and key not in trained:
            missing.append(f"seed {training.seed}")
        missing += [f"{arm} seed {training.seed}" for arm in training.arms if (*key, arm) not in present]
    return missing
