"""How far a sweep is, from its folder alone: the record of its driver, its lock, its plan, its trainings' folders."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fcos.storage.files import reason_of
from orchestration.cli.entry import OK, TRAINING_FAILED
from orchestration.cli.lock import read_owner
from orchestration.cli.status_records import SweepRow, SweepState, SweepStatusEvent, TrainingRow, TrainingState
from orchestration.experiment.training_folder import TRIALS, short_identity
from orchestration.monitor.liveness import FRESH_SECONDS, Driver, Sign, belongs_to, find_sign, ignore, watch_unsure
from orchestration.monitor.record import StatusRecord, TrainingRecord, read_status
from orchestration.monitor.stored_plan import (
    list_trainings,
    read_listed_plan,
    reason_of_failure,
    state_after_end,
)

DONE: tuple[TrainingState, ...] = ("finished", "kept")
LEFT: tuple[TrainingState, ...] = ("waiting", "followed", "stopped", "interrupted")
# By which the clock of another machine may differ without a note.
CLOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """What the files of a sweep's folder hold."""

    sign: Sign
    # From the record of its driver, else from its plan.
    trainings: tuple[TrainingRecord, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.sign.folder


def read_folder(folder: Path, now: float) -> Reading:
    """Read the files of a sweep's folder; those that cannot be read are named in notes, and the others are used."""
    notes, owner, record = [], None, None
    trainings: tuple[TrainingRecord, ...] = ()
    try:
        owner = read_owner(folder)
    except OSError as error:
        notes.append(f"lock cannot be read ({reason_of(error)}): whether a command works here is not known")
    try:
        record = read_status(folder)
    except (OSError, ValueError) as error:
        notes.append(f"{_why(error)}; shown is what the other files hold")
    if record is not None:
        trainings = record.trainings
    else:
        try:
            plan = read_listed_plan(folder)
            trainings = () if plan is None else tuple(list_trainings(folder, plan))
        except (OSError, ValueError) as error:
            notes.append(f"{_why(error)}; its trainings are not known")
    return Reading(find_sign(folder, owner, record, now), trainings, tuple(notes))


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name or 'a file'} cannot be read ({reason_of(error)})"
    return str(error)


def settle(
    folders: Sequence[Path], clock: Callable[[], float], refresh: Callable[[Sequence[Path]], None] = ignore
) -> list[SweepStatusEvent]:
    """Return how far sweeps are; the folders of those whose drivers may be dead are watched together for seconds.

    refresh: called with those that are about to be looked at again.
    """
    now = clock()
    readings = [read_folder(folder, now) for folder in folders]
    signs = watch_unsure([reading.sign for reading in readings], refresh=refresh)
    now = clock()
    return [_with_sign(*pair, now) for pair in zip(readings, signs, strict=True)]


def _with_sign(reading: Reading, sign: Sign, now: float) -> SweepStatusEvent:
    record = sign.record
    if sign != reading.sign and record is not None and record is not reading.sign.record:
        reading = replace(reading, trainings=record.trainings)
    return describe(replace(reading, sign=sign), now)


def describe(reading: Reading, now: float) -> SweepStatusEvent:
    """Return what is shown of a sweep whose driver is known to be alive or not."""
    sign, record = reading.sign, reading.sign.record
    current = record if record is not None and _is_current(sign) else None
    driver = sign.driver
    state = find_state(sign, reading.trainings)
    trainings = tuple(_row(reading.folder, each, driver, current, now) for each in reading.trainings)
    return SweepStatusEvent(
        sweep=_sweep_row(reading, state, trainings, now),
        trainings=trainings,
        best=None if record is None else record.best,
        steps=None if record is None else record.steps,
        total_steps=None if record is None else record.total_steps,
        budget=() if record is None else record.budget,
        retries=0 if record is None else record.retries,
        failures={} if record is None else record.failures,
        store=None if current is None or driver == "gone" else current.store,
        store_lag_seconds=None if current is None or driver != "alive" else current.store_lag_seconds,
    )


def _is_current(sign: Sign) -> bool:
    """Return whether the record is of the newest command: not where another one has taken the lock since."""
    return sign.record is not None and (sign.owner is None or belongs_to(sign.record, sign.owner))


def find_state(sign: Sign, trainings: Sequence[TrainingRecord]) -> SweepState:
    """Return the state of a sweep from its driver, the phase of its record, and what is left to train."""
    record = sign.record
    if sign.driver == "gone":
        return "dead"
    if sign.driver in ("alive", "unsure"):
        if record is None or not _is_current(sign) or record.phase == "starting":
            return "planning"
        # A command that has ended holds its lock a moment longer.
        if record.phase != "ended":
            return "running"
    # Also where a search found no point to draw for a training that it may have had.
    if record is not None and record.exit_code == OK:
        return "finished"
    if record is not None and record.exit_code is None and record.phase == "ended":
        return "stopped"
    left = [each for each in trainings if each.state in ("waiting", "followed", "running", "stopped")]
    over = record is None or record.exit_code in (TRAINING_FAILED, None)
    return "finished" if over and trainings and not left else "stopped"


def _row(
    folder: Path, training: TrainingRecord, driver: Driver, record: StatusRecord | None, now: float
) -> TrainingRow:
    """Return what is shown of a training; record: of the newest command."""
    own = folder / TRIALS / short_identity(training.identity)
    over = driver in ("gone", "none") or record is None
    state: TrainingState = state_after_end(training.state, own) if over and training.identity else training.state
    runs = state == "running"
    failed = training.identity and state in ("failed", "interrupted", "waiting", "followed", "stopped")
    return TrainingRow(
        index=training.index,
        identity=training.identity,
        label=training.label,
        arms=training.arms,
        seed=training.seed,
        state=state,
        unit=training.unit,
        step=training.step,
        total_steps=training.total_steps,
        loss=training.loss,
        steps_per_second=training.steps_per_second if runs else None,
        workers=training.workers if state in ("running", "interrupted", "failed") else (),
        seconds=_elapsed(training, runs, now),
        seconds_left=training.seconds_left if runs else None,
        silent_seconds=_age(training.signed, now) if state in ("running", "interrupted") else None,
        attempt=training.attempt,
        reason=training.reason or (reason_of_failure(own) if failed else None),
        values=training.values,
    )


def _elapsed(training: TrainingRecord, runs: bool, now: float) -> float | None:
    if training.began is None:
        return None
    end = now if runs else training.ended or training.signed
    return None if end is None else max(0.0, end - training.began)


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)


def _sweep_row(reading: Reading, state: SweepState, trainings: Sequence[TrainingRow], now: float) -> SweepRow:
    """Return what is shown of the sweep as a whole."""
    sign, record = reading.sign, reading.sign.record
    owner, current = sign.owner, sign.record if _is_current(sign) else None
    alive = sign.driver == "alive"
    known = trainings or None
    return SweepRow(
        name=reading.folder.name,
        folder=str(reading.folder),
        experiment=None if record is None else record.experiment,
        state=state,
        done=None if known is None else _count(known, DONE),
        running=None if known is None else _count(known, ("running",)),
        failed=None if known is None else _count(known, ("failed",)),
        left=None if known is None else _count(known, LEFT),
        started=None if current is None else datetime.fromtimestamp(current.started, UTC).isoformat(timespec="seconds"),
        seconds=None if current is None else max(0.0, (now if alive else current.written) - current.started),
        seconds_left=current.seconds_left if current is not None and alive else None,
        host=owner.host if owner is not None else None if record is None else record.host,
        pid=owner.pid if owner is not None else None,
        silent_seconds=None if current is None or owner is None else _age(current.written, now),
        exit_code=None if record is None or owner is not None else record.exit_code,
        notes=(*reading.notes, *_notes(sign, now)),
    )


def _count(trainings: Iterable[TrainingRow], states: Sequence[TrainingState]) -> int:
    return sum(each.state in states for each in trainings)


def _notes(sign: Sign, now: float) -> list[str]:
    """Describe what the state alone does not show."""
    owner, record, notes = sign.owner, sign.record, []
    if owner is not None and sign.driver == "gone":
        seen = f"; its last sign of life is of {_time(record.written)}" if record and _is_current(sign) else ""
        how = "is gone" if owner.is_here else "does not write its record any more"
        driver = f"the driver, process {owner.pid} on {owner.host} since {owner.since}"
        notes.append(f"{driver}, {how}{seen}; the same command goes on")
    if record is not None and sign.driver == "alive" and _is_current(sign):
        age = now - record.written
        if age >= FRESH_SECONDS or age <= -CLOCK_SECONDS:
            notes.append(
                f"the record is {age:.0f} s old by this machine's clock, and its driver is alive: no newer one has "
                f"arrived, or the clock of {record.host} differs"
            )
    return notes


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
