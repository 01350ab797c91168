"""Events of a sweep: published by the Tune callback, handled by progress, console and recorder."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fcos.storage.run_folder import ProgressRecord, RunSummary
from orchestration.experiment.trials import Trial


@dataclass(frozen=True)
class TrialStarted:
    """An attempt at a training begins."""

    index: int
    trial: Trial
    # Whether it is the first attempt of this command.
    first: bool


@dataclass(frozen=True)
class TrialReported:
    """A training reported progress."""

    index: int
    trial: Trial
    record: ProgressRecord


@dataclass(frozen=True)
class TrialRetried:
    """An attempt failed, and another one goes on from the newest checkpoint."""

    index: int
    trial: Trial
    reason: str


@dataclass(frozen=True)
class TrialFinished:
    """A training ended with a result."""

    index: int
    trial: Trial
    summary: RunSummary


@dataclass(frozen=True)
class TrialFailed:
    """A training failed for good."""

    index: int
    trial: Trial
    reason: str


@dataclass(frozen=True)
class TrialStopped:
    """A training was stopped, or not begun, for want of hours or disk space; a later command goes on with it."""

    index: int
    trial: Trial
    reason: str
    begun: bool


@dataclass(frozen=True)
class TrialFollowed:
    """Another command trains it; this one waits for the result, and how far it is has changed."""

    index: int
    trial: Trial
    sweep: str
    host: str
    step: int
    total_steps: int
    loss: float | None


@dataclass(frozen=True)
class TrialReused:
    """The result of a training that another command has finished meanwhile was taken over."""

    index: int
    trial: Trial
    summary: RunSummary
    sweep: str


TrialEvent = (
    TrialStarted
    | TrialReported
    | TrialRetried
    | TrialFinished
    | TrialFailed
    | TrialStopped
    | TrialFollowed
    | TrialReused
)


@dataclass
class Events:
    """Passes each event to all handlers, in their order."""

    handlers: list[Callable[[TrialEvent], None]] = field(default_factory=list)

    def publish(self, event: TrialEvent) -> None:
        """Call every handler."""
        for handle in self.handlers:
            handle(event)
