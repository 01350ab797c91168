"""Records of a sweep: what it set out to compare, and what the tracking store holds of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fcos.statistics.factorial import Factor, FactorialDesign
from fcos.storage.store_conventions import RunStatus

DEFAULT_METRICS = ("val/AP", "val/AP50", "val/AP75")
# Of a coverage run that names no metrics.
COVERAGE_METRICS = ("coverage/bpr", "coverage/ambiguous")
TRAIN_LOSS = "train/loss"
# After any start of a run.
LAST = datetime.max.replace(tzinfo=UTC)


class Distribution(BaseModel):
    """How a search samples one key: `choice`, or one of several numeric ways, of which reports need these."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    choice: list[Any] | None = None
    loguniform: tuple[float, float] | None = None
    # low, high, count: so many increasing whole numbers.
    rising: tuple[int, int, int] | None = None
    # Other keys and the values of them under which this one is set.
    when: dict[str, Any] = Field(default_factory=dict)
    # low, high, count: level ranges [0, a], [a, b], ... [z, null] with so many inner ends.
    ranges: tuple[int, int, int] | None = None


class SearchStrategy(BaseModel):
    """How a search picks its points, and whether it stops poor trainings early."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    searcher: str | None = None
    early_stopping: str = "none"


class Search(BaseModel):
    """Space, size, objective and strategy of a search."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Dotted key -> how it is sampled.
    space: dict[str, Distribution]
    trials: int
    metric: str
    mode: str
    # Several metrics that are optimized at once, the first of which is `metric`, and the end of each; else empty.
    objectives: list[str] = Field(default_factory=list)
    modes: list[str] = Field(default_factory=list)
    strategy: SearchStrategy = Field(default_factory=SearchStrategy)
    # Key of the space -> its value in what the search starts from; None of searches by older versions.
    base: dict[str, Any] | None = None
    # Arguments of its command line.
    overrides: list[str] = Field(default_factory=list)
    # By which its commands chose points; empty of searches by older versions, which had those of the experiment.
    all_seeds: list[int] = Field(default_factory=list)


class Experiment(BaseModel):
    """What a sweep set out to compare: its artifact experiment.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    claim: str | None = None
    baseline: str | None = None
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=lambda: list(DEFAULT_METRICS), min_length=1)
    # decided: seeds were added, one at a time, until every arm was decided; seeds are those of the first round.
    until: str = "seeds"
    # All seeds in the order in which looks count them, those of rounds that were not needed too: that in which commands
    # planned them. Empty of searches, and of sweeps by older versions.
    seed_order: list[int] = Field(default_factory=list)
    # Largest difference that does not matter, in percent points of AP.
    margin: float = Field(default=1.0, gt=0, lt=100)
    # None where the arms are declared by name.
    search: Search | None = None
    # See is_noise_floor; anything else compares arms.
    kind: str = "comparison"
    # Arm -> ids of the rows of papers that it stands for (see analysis/papers/rows.py).
    paper: dict[str, list[str]] = Field(default_factory=dict)
    # Factor -> level -> dotted keys, the first level being the baseline's; empty where the arms are given by name.
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    # Generators of a fraction of the cells, and effects that alone are tested; see design.
    fraction: tuple[str, ...] = ()
    claimed_effects: tuple[str, ...] = ()

    @property
    def is_noise_floor(self) -> bool:
        """Whether the arms are the baseline itself, with other seeds fixed."""
        return self.kind == "noise_floor"

    @property
    def design(self) -> FactorialDesign | None:
        """The design of the factors, None where the arms are given by name; raises ValueError for what is none."""
        if not self.factors:
            return None
        factors = tuple(Factor(name, tuple(levels)) for name, levels in self.factors.items())
        return FactorialDesign(factors, self.fraction, self.claimed_effects)

    @model_validator(mode="after")
    def _check_design(self) -> Self:
        # What is no design raises.
        _ = self.design
        return self


class OtherTraining(BaseModel):
    """The same training, done otherwise: its run, the value of a metric, and the reason that was stated.

    training: id of the run that trained it, in the store where that was.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    training: str
    value: float | None = None
    reason: str = ""


class StoredRepeats(BaseModel):
    """What a run records of its training done otherwise (Tag.REPEATS). more: that are counted alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trainings: tuple[OtherTraining, ...] = ()
    more: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Provenance:
    """What a trial's result was made from; "" for what its run does not record."""

    data: str = ""
    data_digest: str = ""
    git_commit: str = ""
    git_dirty: bool = False
    hardware: str = ""
    identity: str = ""
    # Digest of the code, and the deciding versions as JSON.
    code: str = ""
    versions: str = ""
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    # Id of the run that trained the weights, and the name of its sweep where that is another one.
    trained_by: str = ""
    trained_in: str = ""
    # Why it was trained again although it was finished, as its command stated.
    retrain_reason: str = ""
    # The step of another training from which it went on, such as "step 667 of step · seed 0 of ablation_decay".
    begun_from: str = ""
    # Checkpoint of another schedule that it went on from by choice: its SHA-256.
    extends: str = ""
    # Why it is not what its configuration gives: what it did otherwise for want of memory.
    inexact: str = ""
    # Of a trial that was imported: where it was trained, and the id of its archive.
    laboratory: str = ""
    archive: str = ""


@dataclass(frozen=True)
class Trial:
    """One MLflow run of a sweep: an arm with a seed.

    params: dotted key -> value as it was configured. metrics: name -> last logged value.
    """

    arm: str
    seed: int
    run_id: str
    # One of RunStatus.
    status: str
    started: datetime
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    # Another run replaced this one, or was preferred to it for the same arm and seed.
    superseded: bool = False
    failure: str = ""
    notes: tuple[str, ...] = ()
    # Step at which a search stopped it early.
    pruned_at: int | None = None
    # Dotted key -> value that a search sampled.
    sampled: Mapping[str, Any] = field(default_factory=dict)
    # How many workers trained it ("2, from step 9 on 1"), "" where unknown; why that number matters, "" where it
    # does not.
    workers: str = ""
    workers_matter: str = ""
    # Id of the run that trained it, in the store where that was; see store_conventions.training_of.
    training: str = ""
    # Of a published trial: the same training done otherwise, as the publisher's store had them.
    repeats: StoredRepeats = field(default_factory=StoredRepeats)
    # By which the seeds of several sweeps are ordered, before their starts; see analysis.combining.
    rank: int = 0

    @property
    def label(self) -> str:
        """Name for people: `branch seed 0`."""
        return f"{self.arm} seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether it ran to its end."""
        return self.status == RunStatus.FINISHED

    @property
    def is_pruned(self) -> bool:
        """Whether a search stopped it early."""
        return self.status == RunStatus.KILLED and self.pruned_at is not None


@dataclass(frozen=True)
class Sweep:
    """A sweep as the store holds it now.

    trials: every run, by arm and seed, the one that counts first.
    points: a frame with columns run_id, key, step, value; one row for each (run, key, step), the last one written.
    looks: after how many seeds decisions were taken; empty where the seeds were fixed, which is one look at all.
    winner: the point that leads a search over several seeds; None where there is none, or it has not ended.
    """

    name: str
    run_id: str
    # sweep, or run for a single run that is read as a sweep of one trial.
    kind: str
    status: str
    started: datetime
    uri: str
    experiment: Experiment
    trials: tuple[Trial, ...]
    points: pd.DataFrame
    notes: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    winner: str | None = None

    @property
    def current(self) -> tuple[Trial, ...]:
        """The trials that count: for each arm and seed the finished attempt, or else the newest."""
        return tuple(trial for trial in self.trials if not trial.superseded)

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The trials that count and have finished."""
        return tuple(trial for trial in self.current if trial.is_finished)

    def of_arms(self, arms: Collection[str]) -> "Sweep":
        """Return the sweep with the trials of some arms alone."""
        return replace(self, trials=tuple(trial for trial in self.trials if trial.arm in arms))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that are planned or have a trial, in the order in which looks count them.

        That is the recorded one; without it that of the earliest start of a trial, and those without one come last. Of
        equal starts the order is the experiment's, then that of the numbers. Seeds of a higher rank, such as those
        joined from other sweeps, come later.
        """
        order = self._recorded_order()
        known = dict.fromkeys([*order, *self.experiment.seeds, *sorted(trial.seed for trial in self.current)])
        # A repeated training began when it was trained first.
        starts = dict.fromkeys(known, LAST)
        for trial in self.trials:
            if trial.seed in starts:
                starts[trial.seed] = min(starts[trial.seed], trial.started)
        ranks = {trial.seed: trial.rank for trial in sorted(self.current, key=lambda trial: trial.rank)}
        indices = {seed: index for index, seed in enumerate(order)}
        return tuple(sorted(known, key=lambda seed: (ranks.get(seed, 0), indices.get(seed, len(order)), starts[seed])))

    def _recorded_order(self) -> list[int]:
        """Return the recorded order of the seeds up to the last one that is planned or has a trial.

        One without a trial before that counted, and its runs are missing; those behind it belong to rounds that were
        not needed.
        """
        begun = {*self.experiment.seeds, *(trial.seed for trial in self.current if trial.rank == 0)}
        order = self.experiment.seed_order
        return order[: max((count for count, seed in enumerate(order, start=1) if seed in begun), default=0)]
