"""What status.py prints for programs: all sweeps of an output folder, or the trainings of one."""

from typing import Literal

from pydantic import Field

from fcos.storage.events import EventRecord, Number, Part

# dead: its driver is gone without a word. stopped: it ended before all was trained, and the same command goes on.
SweepState = Literal["planning", "running", "finished", "stopped", "dead"]
# As the driver has it. later: of a round of seeds that has not begun. followed: another command trains it now. kept: an
# earlier command finished it, or another sweep. stopped: it ended before its last step, by a limit or by the user.
DriverState = Literal["later", "waiting", "followed", "running", "finished", "kept", "failed", "stopped"]
# interrupted: it ran when the driver died.
TrainingState = Literal[DriverState, "interrupted"]


class BudgetRecord(Part):
    """Hours of a sweep over all its commands. limit: null for none."""

    name: Literal["gpu_hours", "cpu_hours", "wall_hours"]
    limit: Number
    spent: float


class SweepRow(Part):
    """How far a sweep is, or a single run.

    started: of its newest command, ISO 8601, UTC. seconds: since then, or until its end. silent_seconds: since the last
    sign of life of its driver. exit_code: of a command that ended. Counts of trainings are null where they are unknown.
    """

    name: str
    folder: str
    experiment: str | None
    state: SweepState
    done: int | None
    running: int | None
    failed: int | None
    left: int | None
    started: str | None
    seconds: Number
    seconds_left: Number
    host: str | None
    pid: int | None
    silent_seconds: Number
    exit_code: int | None
    notes: tuple[str, ...]


class WorkerRow(Part):
    """Where a process of a training runs. gpus: their numbers there; empty on processors."""

    host: str
    gpus: str


class TrainingRow(Part):
    """How far a training is.

    state: later is of a round of seeds that has not begun; followed is trained by another command now; kept was
    finished by an earlier command or taken from another sweep; interrupted ran when the driver died. seconds: since it
    began in this command, or how long it took. silent_seconds: since it reported progress or gave a heartbeat. attempt:
    of this command. reason: of the last failure. values: of the metric of `best`, by arm.
    """

    index: int
    identity: str
    label: str
    arms: tuple[str, ...]
    seed: int | None
    state: TrainingState
    unit: Literal["step", "image"]
    step: int
    total_steps: int | None
    loss: Number
    steps_per_second: Number
    workers: tuple[WorkerRow, ...]
    seconds: Number
    seconds_left: Number
    silent_seconds: Number
    attempt: int
    reason: str | None
    values: dict[str, Number]


class BestRow(Part):
    """The best value of a metric among all evaluations so far, for information: results are in the sweep's report."""

    metric: str
    arm: str
    seed: int
    step: int
    value: float


class SweepsEvent(EventRecord):
    """All sweeps of an output folder. notes: on what could not be read."""

    type: Literal["sweeps"] = "sweeps"
    output: str
    sweeps: tuple[SweepRow, ...]
    notes: tuple[str, ...]


class SweepStatusEvent(EventRecord):
    """One sweep with its trainings.

    failures: failed attempts of its newest command, by kind. store: why the tracking store takes nothing now; null
    where it does.
    """

    type: Literal["sweep_status"] = "sweep_status"
    sweep: SweepRow
    trainings: tuple[TrainingRow, ...]
    best: BestRow | None
    steps: int | None
    total_steps: int | None
    budget: tuple[BudgetRecord, ...]
    retries: int
    failures: dict[str, int]
    store: str | None
    store_lag_seconds: Number = Field(description="how long the oldest call that the store has not taken waits")
