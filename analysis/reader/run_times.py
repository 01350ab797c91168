"""When and on what every run of a store ran: what experiments cost, those that no report shows too."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis.reader.client import connect, find_experiment_ids, raise_store_errors, search_runs
from analysis.reader.trials import to_datetime
from fcos.storage.store_conventions import RunKind, Tag

if TYPE_CHECKING:
    from mlflow.entities import Run


class SpentHours(BaseModel):
    """Hours that a sweep's trainings took over all commands, as its own run records them.

    wall: in which at least one training ran. cpu, gpu: times the processors and GPUs that trainings reserved.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    wall: float = Field(ge=0, allow_inf_nan=False)
    cpu: float = Field(ge=0, allow_inf_nan=False)
    gpu: float = Field(ge=0, allow_inf_nan=False)


@dataclass(frozen=True)
class TimedRun:
    """A run of a store: a sweep's own, a trial or a single run; "" or None for what it does not record.

    sweep: its name. parent: run id of the sweep. experiment: the name that sweeps of one question share. trained_by:
    the run that trained the weights. seconds, steps_timed: of its training in one go, and how many steps that took.
    goes_on: whether it took its first steps from another training. spent: of a sweep's own run.
    """

    run_id: str
    kind: str
    sweep: str
    parent: str
    experiment: str
    arm: str
    seed: str
    status: str
    started: datetime
    ended: datetime | None
    is_superseded: bool
    is_imported: bool
    trained_by: str
    hardware: str
    resources: str
    seconds: float | None
    steps_timed: int | None
    steps: int | None
    goes_on: bool
    spent: SpentHours | None


def read_timed_runs(uri: str) -> tuple[TimedRun, ...]:
    """Return all runs of a store that this project wrote, by id; raises StoreError where it cannot be read."""
    client = connect(uri)
    with raise_store_errors(uri):
        ids = find_experiment_ids(client, None)
        kinds = (RunKind.SWEEP, RunKind.TRIAL, RunKind.RUN)
        runs = [run for kind in kinds for run in search_runs(client, ids, {Tag.KIND: kind})]
    return tuple(sorted((_read_run(run) for run in runs), key=lambda run: run.run_id))


def _read_run(run: "Run") -> TimedRun:
    tags: Mapping[str, str] = run.data.tags
    return TimedRun(
        run_id=run.info.run_id,
        kind=tags.get(Tag.KIND, ""),
        sweep=tags.get(Tag.SWEEP, ""),
        parent=tags.get(Tag.PARENT_RUN, ""),
        experiment=tags.get(Tag.EXPERIMENT, ""),
        arm=tags.get(Tag.ARM, ""),
        seed=tags.get(Tag.SEED, ""),
        status=run.info.status,
        started=to_datetime(run.info.start_time),
        ended=None if run.info.end_time is None else to_datetime(run.info.end_time),
        is_superseded=Tag.SUPERSEDED in tags,
        is_imported=Tag.ARCHIVE in tags,
        trained_by=tags.get(Tag.TRAINED_BY, ""),
        hardware=tags.get(Tag.HARDWARE, ""),
        resources=tags.get(Tag.RESOURCES, ""),
        seconds=_parse_number(tags.get(Tag.SECONDS, "")),
        steps_timed=_parse_count(tags.get(Tag.STEPS_TIMED, "")),
        steps=_parse_count(run.data.params.get("schedule.steps", "")),
        goes_on=Tag.BEGUN_FROM in tags,
        spent=_parse_spent(tags.get(Tag.SPENT)),
    )


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _parse_count(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _parse_spent(text: str | None) -> SpentHours | None:
    try:
        return None if text is None else SpentHours.model_validate_json(text)
    except ValidationError:
        return None
