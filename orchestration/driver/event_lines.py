"""Events of a sweep's trainings for programs, as they happen (--json)."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

from fcos.storage.run_folder import MetricPoint
from fcos.storage.store_conventions import MetricPrefix
from orchestration.cli.event_records import (
    ArmMetrics,
    LookEvent,
    TrainingFailed,
    TrainingFinished,
    TrainingFollowed,
    TrainingProgress,
    TrainingRetried,
    TrainingReused,
    TrainingStarted,
    TrainingStopped,
)
from orchestration.cli.event_stream import EventStream
from orchestration.driver.events import (
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialFollowed,
    TrialReported,
    TrialRetried,
    TrialReused,
    TrialStarted,
    TrialStopped,
)
from orchestration.driver.progress import SweepProgress
from orchestration.planning.plan import Plan
from orchestration.planning.seed_rounds import Needed

# Of an attempt, between two events on its progress that have no evaluation.
QUIET_SECONDS = 5.0


class EventLines:
    """Emits a line of JSON for each event of a training, after the progress has handled it."""

    def __init__(self, plan: Plan, progress: SweepProgress, stream: EventStream) -> None:
        self._plan, self._progress, self._stream = plan, progress, stream
        # By index: seconds of its attempt at the last event on its progress.
        self._shown: dict[int, float] = {}
        # Numbers of seeds of the looks that have an event in this command, or are part of a later one.
        self._looked: set[int] = set()

    def handle(self, event: TrialEvent) -> None:
        """Emit an event."""
        if not self._stream.is_open:
            return
        training = _training_of(event)
        match event:
            case TrialStarted(trial=trial, first=first):
                self._shown.pop(event.index, None)
                self._stream.emit(TrainingStarted(**training, seed=trial.seed, arms=tuple(trial.arms), first=first))
            case TrialReported():
                self._emit_progress(event)
            case TrialRetried(reason=reason):
                self._stream.emit(TrainingRetried(**training, reason=reason))
            case TrialFinished():
                self._stream.emit(self._finished(event))
            case TrialFailed(reason=reason):
                self._stream.emit(TrainingFailed(**training, reason=reason))
            case TrialStopped(reason=reason, begun=begun):
                self._stream.emit(TrainingStopped(**training, reason=reason, begun=begun))
            case TrialFollowed():
                self._stream.emit(self._followed(event))
            case TrialReused():
                self._stream.emit(self._reused(event))

    def emit_look(self, needed: Needed, begun: int) -> None:
        """Emit what a round of seeds showed, each look once; begun: trainings of the next one."""
        if not needed.looks or needed.looks[-1] in self._looked:
            return
        # Where results were there already, several looks are one event: the last one shows what is decided.
        self._looked.update(needed.looks)
        if self._stream.is_open:
            self._stream.emit(
                LookEvent(
                    seeds=needed.looks[-1],
                    outcomes={name: str(outcome) for name, outcome in needed.outcomes.items()},
                    undecided=needed.undecided,
                    without_pairs=needed.without_pairs,
                    complete=needed.complete,
                    begun=begun,
                )
            )

    def emit_given_look(self, seeds: int, *, complete: bool) -> None:
        """Emit a look whose outcomes the report has: at given seeds, or at those of a round that was stopped."""
        if seeds in self._looked:
            return
        self._looked.add(seeds)
        if self._stream.is_open:
            self._stream.emit(
                LookEvent(seeds=seeds, outcomes={}, undecided=(), without_pairs=(), complete=complete, begun=0)
            )

    def _emit_progress(self, event: TrialReported) -> None:
        record, state = event.record, self._progress.all_trials[event.index]
        metrics = _by_arm(record.points)
        # A new attempt counts its seconds from zero.
        quiet = 0 <= record.seconds - self._shown.get(event.index, -QUIET_SECONDS) < QUIET_SECONDS
        if quiet and not metrics:
            return
        self._shown[event.index] = record.seconds
        self._stream.emit(
            TrainingProgress(
                **_training_of(event),
                unit=state.unit,
                step=record.step,
                total_steps=record.total_steps,
                seconds=record.seconds,
                seconds_left=state.seconds_left,
                loss=state.loss,
                metrics=metrics,
            )
        )

    def _followed(self, event: TrialFollowed) -> TrainingFollowed:
        return TrainingFollowed(
            **_training_of(event),
            sweep=event.sweep,
            host=event.host,
            step=event.step,
            total_steps=self._progress.all_trials[event.index].total_steps,
            loss=event.loss,
        )

    def _reused(self, event: TrialReused) -> TrainingReused:
        return TrainingReused(
            **_training_of(event),
            sweep=event.sweep,
            metrics=_metrics_of(event),
            folder=str(self._plan.folder_of(event.trial)),
        )

    def _finished(self, event: TrialFinished) -> TrainingFinished:
        summary, folder = event.summary, self._plan.folder_of(event.trial)
        return TrainingFinished(
            **_training_of(event),
            step=summary.step,
            pruned=summary.pruned is not None,
            metrics=_metrics_of(event),
            folder=str(folder),
            checkpoint=None if summary.checkpoint is None else str(folder / summary.checkpoint),
        )


class _Training(TypedDict):
    """The fields that all events of a training have, as TrainingEvent has them."""

    index: int
    identity: str
    label: str


def _training_of(event: TrialEvent) -> _Training:
    return {"index": event.index, "identity": event.trial.identity, "label": event.trial.label}


def _metrics_of(event: TrialFinished | TrialReused) -> ArmMetrics:
    """Return the metrics of a result by arm of the trial."""
    arms = event.trial.arms
    return {arm: _without_classes(values) for arm, values in event.summary.metrics.items() if arm in arms}


def _by_arm(points: Iterable[MetricPoint]) -> ArmMetrics:
    """Return the metrics of an evaluation by arm; empty where none was made."""
    metrics: dict[str, dict[str, float | None]] = {}
    for point in points:
        if not point.key.startswith(MetricPrefix.TRAIN):
            metrics.setdefault(point.arm or "", {})[point.key] = point.value
    return {arm: _without_classes(values) for arm, values in metrics.items()}


def _without_classes(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {key: value for key, value in values.items() if not key.startswith(MetricPrefix.CLASS_AP)}
