"""status.json of a sweep's folder: how far its newest command is, written by the driver, read without Ray or store."""

from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.events import Number
from fcos.storage.files import write_atomically
from orchestration.cli.status_records import BestRow, BudgetRecord, DriverState, WorkerRow
from orchestration.experiment.training_folder import STATUS

# Rises when a field changes its meaning or goes away.
STATUS_VERSION: Final = 1
# Between two records of a driver.
WRITE_SECONDS = 2.0

# starting: until the first training may begin. ending: the report is written, the store takes what is left.
Phase = Literal["starting", "running", "ending", "ended"]


class Record(BaseModel):
    """A part of the file; keys that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


RecordT = TypeVar("RecordT", bound=Record)


class TrainingRecord(Record):
    """A training as the driver has it; times are in seconds since 1970, by the driver's clock."""

    index: int
    # Empty for a point that a search has still to draw.
    identity: str
    label: str
    arms: tuple[str, ...]
    seed: int | None
    state: DriverState
    unit: Literal["step", "image"]
    step: int
    total_steps: int | None
    loss: Number = None
    steps_per_second: Number = None
    seconds_left: Number = None
    # In this command: its first attempt's start, its end, its last report or heartbeat.
    began: float | None = None
    ended: float | None = None
    signed: float | None = None
    attempt: int = 0
    reason: str | None = None
    workers: tuple[WorkerRow, ...] = ()
    # Arm -> newest value of the metric that `best` is about.
    values: dict[str, Number] = {}


class StatusRecord(Record):
    """The content of status.json, of one command."""

    version: Literal[1] = STATUS_VERSION
    name: str
    experiment: str | None
    host: str
    pid: int
    # In seconds since 1970, by the driver's clock; `count` rises with each record.
    started: float
    written: float
    count: int
    phase: Phase
    exit_code: int | None = None
    max_concurrent: int
    seconds_left: Number
    steps: int
    total_steps: int
    budget: tuple[BudgetRecord, ...]
    best: BestRow | None
    retries: int
    # Kind of failure (FailureKind, or "unknown") -> failed attempts of this command.
    failures: dict[str, int] = {}
    store: str | None
    store_lag_seconds: float
    trainings: tuple[TrainingRecord, ...]


def write_status(folder: Path, record: StatusRecord) -> None:
    """Write the record whole or not at all; raises OSError."""
    write_atomically(folder / STATUS, record.model_dump_json())


def read_status(folder: Path) -> StatusRecord | None:
    """Return the record of a sweep's folder, None where there is none.

    Raises OSError for a file that cannot be read, ValueError for one that is no such record.
    """
    return read_part(folder / STATUS, StatusRecord, "a record of this version")


def read_part(path: Path, model: type[RecordT], what: str) -> RecordT | None:
    """Return what a file of a sweep's folder holds, None where there is none.

    Raises OSError for a file that cannot be read, ValueError for one that is no such record.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise ValueError(f"{path.name} is not readable as {what}") from error
