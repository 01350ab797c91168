"""Progress of a sweep: one state for each training, or point that is still to be drawn."""

import operator
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Literal, Self

from fcos.storage.run_folder import ProgressRecord, RunSummary
from orchestration.driver.events import (
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialFollowed,
    TrialReported,
    TrialReused,
    TrialStarted,
    TrialStopped,
)
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.search_race import count_to_come
from orchestration.search.points import name_of
from orchestration.trial.failures import FailureKind, failure_reason, has_failed
from orchestration.trial.files import read_reused

# later: of a round of seeds that has not begun, or of a race that needs no more: it may never be needed.
# followed: another command trains it now, and its result will be taken over.
State = Literal["later", "waiting", "followed", "running", "finished", "failed", "kept", "stopped"]
ENDED: tuple[State, ...] = ("finished", "failed", "kept", "stopped")
UNFINISHED: tuple[State, ...] = ("waiting", "followed", "running")


@dataclass
class TrialProgress:
    """One training; without one it is a point that a search has still to draw."""

    index: int
    trial: Trial | None
    # 0 where it is not known yet: how many images there are to count is known when a count begins.
    total_steps: int
    unit: Literal["step", "image"] = "step"
    # What a training without trial waits for.
    to_be: Literal["drawn", "chosen"] = "drawn"
    state: State = "waiting"
    step: int = 0
    # Step and seconds of the running attempt; a resumed one did not begin at zero.
    began_at: int = 0
    seconds: float = 0.0
    loss: float | None = None
    # Arm -> its newest AP.
    ap: dict[str, float] = field(default_factory=dict)
    # Round and objective of a search for level ranges, which comes before the first image is counted.
    search: tuple[int, float] | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The training's arms and seed, or the name of its point."""
        if self.trial is not None:
            return self.trial.label
        # In a race the next training may be of any point.
        name = name_of(self.index) if self.to_be == "drawn" else f"training {self.index}"
        return f"{name} · to be {self.to_be}"

    def update(self, record: ProgressRecord) -> None:
        """Take over what the training reported."""
        self.step, self.total_steps = record.step, record.total_steps
        self.seconds, self.began_at = record.seconds, record.resumed_from
        for point in record.points:
            if point.key == "train/loss":
                self.loss = point.value
            elif point.key == "val/AP":
                self.ap[point.arm or ""] = point.value
            elif point.key == "coverage/search_objective":
                self.search = (point.step, point.value)

    def finish(self, state: Literal["finished", "kept"], summary: RunSummary) -> None:
        """Take over the result; one that was stopped early has no more steps to come."""
        self.state, self.note = state, "done before" if state == "kept" else ""
        self.ap = {arm: values["val/AP"] for arm, values in summary.metrics.items() if "val/AP" in values}
        if summary.pruned is not None:
            self.note = f"pruned at step {summary.pruned}"
            self.step = self.total_steps = summary.pruned

    def end(self, state: Literal["failed", "stopped"], reason: str) -> None:
        """Take over why there is no result."""
        self.state, self.note = state, reason.splitlines()[0]

    def follow(self, event: TrialFollowed) -> None:
        """Take over how far another command is with it."""
        self.state, self.note = "followed", f"trained by sweep {event.sweep} on {event.host}"
        self.step, self.total_steps = event.step, event.total_steps or self.total_steps
        # No time of this command's own.
        self.began_at, self.seconds, self.loss = event.step, 0.0, event.loss

    @property
    def position(self) -> str:
        """How far a running training is."""
        if self.step:
            return f"{self.unit} {self.step} of {self.total_steps}"
        if self.search is None:
            return "starts"
        return f"level ranges, round {self.search[0]}: objective {100 * self.search[1]:.2f}"

    @property
    def seconds_left(self) -> float | None:
        """Time to the last step at this attempt's pace; None before there is one."""
        done = self.step - self.began_at
        if self.state != "running" or done <= 0:
            return None
        return self.seconds / done * (self.total_steps - self.step)

    @property
    def ap_text(self) -> str:
        """AP of the arms, in their order."""
        if not self.ap:
            return ""
        return "AP " + " / ".join(f"{value:.3f}" for value in self.ap.values())


@dataclass(frozen=True)
class Totals:
    """Sums over trainings; those that are not needed count for nothing."""

    trainings: int = 0
    ended: int = 0
    unfinished: int = 0
    # Whose number of steps is not known yet; that of the longest one stands in for it.
    unknown: int = 0
    steps: int = 0
    steps_done: int = 0
    steps_left: int = 0
    # Of this command's attempts.
    timed_steps: int = 0
    timed_seconds: float = 0.0

    @classmethod
    def of(cls, progress: TrialProgress, longest: int = 1) -> Self:
        """Return what one training adds to the sums."""
        if progress.state == "later":
            return cls()
        total, is_timed = progress.total_steps or longest, progress.step > progress.began_at and progress.seconds > 0
        unfinished = progress.state in UNFINISHED
        return cls(
            trainings=1,
            ended=progress.state in ENDED,
            unfinished=unfinished,
            unknown=progress.total_steps == 0,
            steps=total,
            steps_done=total if progress.state in ("finished", "kept") else progress.step,
            steps_left=total - progress.step if unfinished else 0,
            timed_steps=progress.step - progress.began_at if is_timed else 0,
            timed_seconds=progress.seconds if is_timed else 0.0,
        )

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(*map(operator.sub, astuple(self), astuple(other)))


@dataclass
class SweepProgress:
    """All trainings of a sweep, by index.

    A sweep may have thousands: their sums follow from event to event, and are made anew where anything else changes.
    """

    # By index in the plan.
    all_trials: list[TrialProgress]
    # Trainings that run at the same time.
    max_concurrent: int = 1
    # None where they have to be made anew.
    _totals: Totals | None = field(default=None, init=False)
    # Events are handled in one thread, and the sums are read in others too.
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def of(cls, plan: Plan, needed: Collection[int] | None = None) -> "SweepProgress":
        """Return the progress of a plan at the start of a command; what is finished is kept.

        `needed` are the indices of trainings of the rounds that have begun; None where there are no rounds.
        """
        trials = [_begin(plan, index, trial) for index, trial in enumerate(plan.trials)]
        if plan.search is not None and plan.search.samples_as_it_goes:
            steps = plan.search.base.schedule.steps
            what: Literal["drawn", "chosen"] = "chosen" if plan.search.races else "drawn"
            trials += [
                TrialProgress(len(trials) + number, None, steps, to_be=what) for number in range(count_to_come(plan))
            ]
        if needed is not None:
            for progress in trials:
                if progress.index not in needed:
                    progress.state, progress.note = "later", ""
        return cls(trials)

    @property
    def trials(self) -> list[TrialProgress]:
        """The trainings that are needed, without those of later rounds."""
        return [progress for progress in self.all_trials if progress.state != "later"]

    def include(self, plan: Plan, indices: Iterable[int]) -> None:
        """Include trainings of a round that begins; what is finished is kept."""
        with self._changing():
            for index in indices:
                if self.all_trials[index].state == "later":
                    self.all_trials[index] = _begin(plan, index, plan.trials[index])

    def add(self, plan: Plan, index: int) -> None:
        """Show a training that the race of a search has added in the place of one that was to come."""
        with self._changing():
            self.all_trials[index] = _begin(plan, index, plan.trials[index])

    def leave_out_rest(self) -> None:
        """Leave out what was to come and is not needed."""
        with self._changing():
            for progress in self.all_trials:
                if progress.trial is None and progress.state == "waiting":
                    progress.state = "later"

    def stop_waiting(self, reason: str) -> list[TrialProgress]:
        """Leave what has not begun to a later command, and return it."""
        with self._changing():
            left = [each for each in self.trials if each.state in ("waiting", "followed")]
            for progress in left:
                progress.end("stopped", reason)
        return left

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change trainings while the block runs."""
        with self._lock:
            self._totals = None
            yield

    def handle(self, event: TrialEvent) -> None:
        """Update the training that an event is about."""
        progress = self.all_trials[event.index]
        with self._lock:
            before = Totals.of(progress)
            self._update(progress, event)
            if self._totals is not None:
                self._totals = None if before.unknown else self._totals + Totals.of(progress) - before

    def _update(self, progress: TrialProgress, event: TrialEvent) -> None:
        match event:
            case TrialStarted():
                if progress.state == "followed":
                    # How far the other command was is not how far this one is.
                    progress.step, progress.began_at, progress.loss = 0, 0, None
                progress.trial = event.trial
                progress.state, progress.note = "running", ""
            case TrialReported():
                progress.update(event.record)
            case TrialFinished():
                progress.finish("finished", event.summary)
            case TrialFailed():
                progress.end("failed", event.reason)
            case TrialStopped():
                progress.end("stopped", event.reason if event.begun else "not started")
            case TrialFollowed():
                progress.follow(event)
            case TrialReused():
                progress.finish("kept", event.summary)
                progress.note = f"reused from {event.sweep}"

    def planned(self, *states: State) -> Iterator[tuple[TrialProgress, Trial]]:
        """Iterate over the trainings in one of the states; points that were never drawn are left out."""
        for progress in tuple(self.trials):
            if progress.state in states and progress.trial is not None:
                yield progress, progress.trial

    def running_folders(self, plan: Plan) -> list[Path]:
        """Return the folders of the trainings that run now."""
        return [plan.folder_of(trial) for _, trial in self.planned("running")]

    def count(self, *states: State) -> int:
        """Return how many trainings are in one of the states."""
        return sum(progress.state in states for progress in self.trials)

    @property
    def totals(self) -> Totals:
        """Sums over the trainings that are needed."""
        with self._lock:
            # What stands in for a number that is not known changes with the others.
            if self._totals is None or self._totals.unknown:
                trials = self.trials
                longest = max((each.total_steps for each in trials), default=0) or 1
                self._totals = sum((Totals.of(each, longest) for each in trials), Totals())
            return self._totals

    @property
    def steps_done(self) -> int:
        """Steps of all trainings so far."""
        return self.totals.steps_done

    @property
    def steps(self) -> int:
        """Steps of all trainings."""
        return self.totals.steps

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the mean pace of this command's trainings; None before there is one."""
        totals = self.totals
        if not totals.timed_steps:
            return None
        pace = totals.timed_seconds / totals.timed_steps
        return pace * totals.steps_left / max(1, min(self.max_concurrent, totals.unfinished))


def _begin(plan: Plan, index: int, trial: Trial) -> TrialProgress:
    folder, summary = plan.folder_of(trial), plan.summary_of(trial)
    if trial.is_coverage:
        progress = TrialProgress(index, trial, 0 if summary is None else summary.step, "image")
    else:
        progress = TrialProgress(index, trial, trial.config.schedule.steps)
    if summary is not None:
        progress.finish("kept", summary)
        progress.ap = {arm: progress.ap[arm] for arm in trial.arms if arm in progress.ap}
        if (reused := read_reused(folder)) is not None:
            progress.note = f"reused from {reused.sweep}"
    elif (taken := plan.prefixes.steps_of(trial)) > 0:
        # Steps that another training does for it.
        progress.step = progress.began_at = taken
    elif plan.search is not None and has_failed(folder, FailureKind.DIVERGED):
        # It would again, and the searcher has learned from it.
        progress.end("failed", failure_reason(folder))
    return progress
