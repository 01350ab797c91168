"""Write how far a command is into its sweep's folder, for status.py and for metrics."""

import logging
import math
import os
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fcos.errors import ConfigError
from fcos.metrics import better_end
from fcos.storage.files import reason_of
from orchestration.cli.status_records import BestRow, WorkerRow
from orchestration.config.schema import LabConfig
from orchestration.driver.events import (
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialReported,
    TrialRetried,
    TrialReused,
    TrialStarted,
    TrialStopped,
)
from orchestration.driver.progress import SweepProgress, TrialProgress
from orchestration.experiment.training_folder import STATUS
from orchestration.experiment.trials import Trial
from orchestration.monitor.record import Phase, StatusRecord, TrainingRecord, write_status
from orchestration.planning.plan import Plan
from orchestration.planning.plan_events import budget_records
from orchestration.planning.spent import Spent, read_spent
from orchestration.tracking.tracker import Tracker
from orchestration.trial.failures import read_failure
from orchestration.trial.heartbeat import TRIAL, Heartbeats, read_heartbeats

# Of a failed attempt whose process left no record.
UNKNOWN = "unknown"
# Of a single run.
DEFAULT_METRIC = "val/AP"

_log = logging.getLogger(__name__)


@dataclass
class _Course:
    """What became of a training in this command; times are those of this machine's clock."""

    began: float | None = None
    ended: float | None = None
    signed: float | None = None
    attempt: int = 0
    reason: str | None = None
    heartbeats: Heartbeats = field(default_factory=dict)
    workers: tuple[WorkerRow, ...] = ()
    values: dict[str, float] = field(default_factory=dict)


class StatusWriter:
    """Collects what events report beside the progress, and writes both with hours and the store's lag."""

    def __init__(
        self,
        lab: LabConfig,
        plan: Plan,
        progress: SweepProgress,
        tracker: Tracker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lab, self._plan, self._progress, self._tracker, self._clock = lab, plan, progress, tracker, clock
        self._metric = metric_of(lab, plan)
        self._courses: defaultdict[int, _Course] = defaultdict(_Course)
        # By index: what was last written of a training, and its progress with the moment of its last sign then. Of
        # thousands most wait or have ended.
        self._written: dict[int, tuple[object, TrainingRecord]] = {}
        self._best: BestRow | None = None
        self._retries, self._failures = 0, Counter[str]()
        self._spent = Spent.nothing()
        self._started, self._count = clock(), 0
        self._cannot_write = False
        # Where the head of a cluster is lost, the end is written while the thread of the others still runs.
        self._writing = threading.Lock()
        self._end: StatusRecord | None = None
        for each, trial in progress.planned("kept"):
            summary = plan.summary_of(trial)
            if summary is not None:
                self._take(each.index, trial, summary.step, _of_metric(summary.metrics, self._metric))

    def handle(self, event: TrialEvent) -> None:
        """Take over what an event reports; the progress has handled it."""
        course, now = self._courses[event.index], self._clock()
        match event:
            case TrialStarted():
                course.attempt += 1
                course.began, course.ended = course.began or now, None
                course.heartbeats, course.workers = {}, ()
            case TrialReported(trial=trial, record=record):
                points = [point for point in record.points if point.key == self._metric]
                for point in points:
                    arms = trial.arms if point.arm is None else (point.arm,)
                    self._take(event.index, trial, point.step, dict.fromkeys(arms, point.value))
            case TrialRetried(reason=reason):
                self._retries += 1
                self._fail(course, event.trial, reason)
            case TrialFinished(trial=trial, summary=summary) | TrialReused(trial=trial, summary=summary):
                self._take(event.index, trial, summary.step, _of_metric(summary.metrics, self._metric))
            case TrialFailed(reason=reason):
                self._fail(course, event.trial, reason)
            case TrialStopped(reason=reason):
                course.reason = _first_line(reason)
        course.signed = now
        if isinstance(event, TrialFinished | TrialFailed | TrialStopped):
            course.ended = now

    def _fail(self, course: _Course, trial: Trial, reason: str) -> None:
        course.reason = _first_line(reason)
        failure = None
        with suppress(OSError):
            failure = read_failure(self._plan.folder_of(trial))
        self._failures[UNKNOWN if failure is None else str(failure.kind)] += 1

    def _take(self, index: int, trial: Trial, step: int, values: Mapping[str, float]) -> None:
        """Take over values of the metric, by arm, and the best of them if it is better than all before."""
        self._courses[index].values.update(values)
        mode = better_end(self._metric)
        for arm, value in values.items():
            if mode is None or not math.isfinite(value) or arm not in trial.arms:
                continue
            best = self._best
            if best is None or (value > best.value if mode == "max" else value < best.value):
                self._best = BestRow(metric=self._metric, arm=arm, seed=trial.seed, step=step, value=value)

    def write(self, phase: Phase, exit_code: int | None = None) -> StatusRecord:
        """Write the record of now and return it, or that of the end where the command has ended."""
        with self._writing:
            if self._end is not None:
                return self._end
            self._count += 1
            record = self._record(phase, exit_code)
            if phase == "ended":
                self._end = record
            self._store(record)
            return record

    def _store(self, record: StatusRecord) -> None:
        """Write the record into the sweep's folder; one that takes none is a warning, once."""
        try:
            write_status(self._plan.folder, record)
        except OSError as error:
            if not self._cannot_write:
                path = self._plan.folder / STATUS
                _log.warning("%s cannot be written (%s): status.py does not show how far it is", path, reason_of(error))
            self._cannot_write = True

    def _record(self, phase: Phase, exit_code: int | None) -> StatusRecord:
        progress = self._progress
        outage = self._tracker.outage
        with suppress(ConfigError):
            # One that cannot be read ended the command before; it may be in the middle of a change of the disk.
            self._spent = read_spent(self._plan.folder)
        return StatusRecord(
            name=self._plan.name,
            experiment=None if self._lab.experiment is None else self._lab.experiment.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            written=self._clock(),
            count=self._count,
            phase=phase,
            exit_code=exit_code,
            max_concurrent=progress.max_concurrent,
            seconds_left=progress.seconds_left if phase == "running" else None,
            steps=progress.steps_done,
            total_steps=progress.steps,
            budget=budget_records(self._lab.budget, self._spent),
            best=self._best,
            retries=self._retries,
            failures=dict(self._failures),
            store=None if outage is None else str(outage),
            store_lag_seconds=self._tracker.lag_seconds,
            trainings=tuple(self._current(each) for each in tuple(progress.all_trials)),
        )

    def _current(self, progress: TrialProgress) -> TrainingRecord:
        """Return what is written of a training; of one that does not run it is the same until something happens."""
        version = (id(progress), progress.state, progress.step, progress.note, self._courses[progress.index].signed)
        known = self._written.get(progress.index)
        if known is None or progress.state == "running" or known[0] != version:
            known = self._written[progress.index] = (version, self._training(progress))
        return known[1]

    def _training(self, progress: TrialProgress) -> TrainingRecord:
        course, trial = self._courses[progress.index], progress.trial
        if progress.state == "running" and trial is not None:
            self._look_for_heartbeats(course, self._plan.folder_of(trial))
        done = progress.step - progress.began_at
        ended = progress.state in ("finished", "kept")
        total = progress.total_steps or None
        return TrainingRecord(
            index=progress.index,
            identity="" if trial is None else trial.identity,
            label=progress.label,
            arms=() if trial is None else tuple(trial.arms),
            seed=None if trial is None else trial.seed,
            state=progress.state,
            unit=progress.unit,
            step=progress.total_steps if ended else progress.step,
            total_steps=total,
            loss=progress.loss,
            steps_per_second=done / progress.seconds if done > 0 and progress.seconds > 0 else None,
            seconds_left=progress.seconds_left,
            began=course.began,
            ended=course.ended,
            signed=course.signed,
            attempt=course.attempt,
            reason=course.reason,
            workers=course.workers,
            # A copy: the main thread adds to it.
            values={arm: value for arm, value in dict(course.values).items() if trial is None or arm in trial.arms},
        )

    def _look_for_heartbeats(self, course: _Course, folder: Path) -> None:
        """Take over where a training's processes run, and that one has given a heartbeat since the last time."""
        heartbeats: Heartbeats = {}
        with suppress(OSError):
            heartbeats = read_heartbeats(folder)
        if heartbeats and heartbeats != course.heartbeats:
            course.heartbeats, course.signed = heartbeats, self._clock()
            # The process of the trial waits where workers train.
            names = [name for name in heartbeats if name != TRIAL] or list(heartbeats)
            processes = [heartbeats[name][0] for name in names]
            course.workers = tuple(WorkerRow(host=process.host, gpus=process.gpus) for process in processes)


def metric_of(lab: LabConfig, plan: Plan) -> str:
    """Return the metric that is shown of trainings: a search's, or the first of an experiment."""
    if plan.search is not None:
        return plan.search.config.metrics[0]
    return DEFAULT_METRIC if lab.experiment is None else lab.experiment.metrics[0]


def _of_metric(metrics: Mapping[str, Mapping[str, float]], metric: str) -> dict[str, float]:
    return {arm: values[metric] for arm, values in metrics.items() if metric in values}


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
