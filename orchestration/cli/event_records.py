"""Events of the commands that train, for programs; docs/events.schema.json is generated from them.

Those that reports share are in fcos/storage/events.py. Metrics are fractions where reports show percent.
"""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from fcos.storage.events import ErrorEvent, EventRecord, Number, PaperReportEvent, Part, ReportEvent
from orchestration.cli.status_records import BudgetRecord, SweepsEvent, SweepStatusEvent

# Arm -> metric -> value; "" is the arm of a single run.
ArmMetrics = dict[str, dict[str, Number]]
EXIT_MEANINGS: dict[int, str] = {
    0: "all is well",
    1: "a training failed, or the store did not take everything, or a check of the cluster failed",
    2: "a mistake in command, config or data",
    3: "the folder is in use by another command",
    4: "stopped for want of budget, of disk space, of memory, or of the cluster's head",
    129: "interrupted by a closed terminal",
    130: "interrupted by Ctrl-C",
    141: "standard output was closed",
    143: "interrupted by SIGTERM",
}


class ChoiceRecord(Part):
    """What was chosen, by data=auto or for weights to begin from: the words that set it by hand, and the reason."""

    topic: str
    by_hand: str
    reason: str


class PlannedTraining(Part):
    """A training of the plan. state: as the table of the plan has it. later: of a round that has not begun."""

    index: int
    identity: str
    label: str
    seed: int
    arms: tuple[str, ...]
    steps: int | None = Field(description="null where nothing is trained")
    state: str
    later: bool


class SearchPlan(Part):
    """A search: what it optimizes, and how many trainings it may take."""

    metrics: tuple[str, ...]
    modes: tuple[Literal["min", "max"], ...]
    searcher: str
    trials: int
    to_come: int = Field(description="trainings that are still to be drawn or chosen")


class PlanEvent(EventRecord):
    """What a command will train, before anything starts. folder: of the sweep or run.

    max_concurrent: trainings side by side; null before a cluster is joined. saved_steps: trained once for several.
    """

    type: Literal["plan"] = "plan"
    name: str
    folder: str
    experiment: str | None
    baseline: str | None
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    until: Literal["seeds", "decided"] | None
    metrics: tuple[str, ...]
    trainings: tuple[PlannedTraining, ...]
    search: SearchPlan | None
    max_concurrent: int | None
    device: str | None
    saved_steps: int
    budget: tuple[BudgetRecord, ...]
    choices: tuple[ChoiceRecord, ...]
    notes: tuple[str, ...]


class Explanation(Part):
    """Why a training runs or does not, and what sets it apart from the nearest that is finished."""

    identity: str
    label: str
    reasons: tuple[str, ...]


class EstimateRecord(Part):
    """Cost of what is left to train, without start-up. part: all of it, until the next look, or at most.

    trainings: of these it is known for `known`, from `sources`.
    """

    part: Literal["all", "until the next look", "at most"]
    wall_seconds: Number
    cpu_hours: Number
    gpu_hours: Number
    trainings: int
    known: int
    sources: tuple[str, ...]


class PreviewEvent(EventRecord):
    """What explain=true and dry_run=true show. lines: as people read them, with what the planned seeds can show."""

    type: Literal["preview"] = "preview"
    explanations: tuple[Explanation, ...]
    estimates: tuple[EstimateRecord, ...]
    lines: tuple[str, ...]


class TrainingEvent(EventRecord):
    """What events of one training have in common. index: in the plan."""

    index: int
    identity: str
    label: str


class TrainingStarted(TrainingEvent):
    """An attempt at a training begins. first: of this command."""

    type: Literal["training_started"] = "training_started"
    seed: int
    arms: tuple[str, ...]
    first: bool


class TrainingProgress(TrainingEvent):
    """How far a training is; at every evaluation, and else at most every few seconds. metrics: new ones alone."""

    type: Literal["training_progress"] = "training_progress"
    unit: Literal["step", "image"]
    step: int
    total_steps: int
    seconds: float = Field(description="of this attempt")
    seconds_left: Number
    loss: Number
    metrics: ArmMetrics


class TrainingRetried(TrainingEvent):
    """An attempt failed, and another one goes on from the newest checkpoint."""

    type: Literal["training_retried"] = "training_retried"
    reason: str


class TrainingFinished(TrainingEvent):
    """A training ended with a result. pruned: stopped early by a search. metrics: without those of single classes."""

    type: Literal["training_finished"] = "training_finished"
    step: int
    pruned: bool
    metrics: ArmMetrics
    folder: str
    checkpoint: str | None


class TrainingFailed(TrainingEvent):
    """A training failed for good."""

    type: Literal["training_failed"] = "training_failed"
    reason: str


class TrainingStopped(TrainingEvent):
    """A training was stopped, or not begun, for want of budget, space, memory or head; the same command goes on."""

    type: Literal["training_stopped"] = "training_stopped"
    reason: str
    begun: bool


class TrainingFollowed(TrainingEvent):
    """Another command trains this now, and its result is awaited; again whenever more is known of how far it is."""

    type: Literal["training_followed"] = "training_followed"
    sweep: str
    host: str
    step: int
    total_steps: int
    loss: Number


class TrainingReused(TrainingEvent):
    """The result of a training that another command has finished meanwhile was taken over; nothing is trained here."""

    type: Literal["training_reused"] = "training_reused"
    sweep: str
    metrics: ArmMetrics
    folder: str


class LookEvent(EventRecord):
    """The arms were looked at, which counts in the report. Each look is one event of a command.

    seeds: how many there were. outcomes: by arm or effect; empty where the report alone has them: of seeds that were
    given, and of a round that was stopped. complete: whether nothing more is needed; else `begun` trainings of one more
    begin, none where the command was stopped.
    """

    type: Literal["look"] = "look"
    seeds: int
    outcomes: dict[str, str]
    undecided: tuple[str, ...]
    without_pairs: tuple[str, ...]
    complete: bool
    begun: int


class NoteEvent(EventRecord):
    """A remark that no other event has, as people read it."""

    type: Literal["note"] = "note"
    text: str


class CheckRecord(Part):
    """One check of a cluster."""

    name: str
    state: Literal["ok", "warning", "failed"]
    finding: str
    advice: str


class DoctorEvent(EventRecord):
    """All checks of a cluster; the only event of its command."""

    type: Literal["doctor"] = "doctor"
    checks: tuple[CheckRecord, ...]
    exit_code: int


class ResultEvent(EventRecord):
    """The end of a command, whatever happened: the last event of one that trains."""

    type: Literal["result"] = "result"
    exit_code: int
    meaning: str


class Event(
    RootModel[
        Annotated[
            PlanEvent
            | PreviewEvent
            | TrainingStarted
            | TrainingProgress
            | TrainingRetried
            | TrainingFinished
            | TrainingFailed
            | TrainingStopped
            | TrainingFollowed
            | TrainingReused
            | LookEvent
            | NoteEvent
            | ReportEvent
            | PaperReportEvent
            | DoctorEvent
            | SweepsEvent
            | SweepStatusEvent
            | ErrorEvent
            | ResultEvent,
            Field(discriminator="type"),
        ]
    ]
):
    """A line of standard output of a command with --json."""


def result_of(code: int) -> ResultEvent:
    """Return the event of an exit code."""
    return ResultEvent(exit_code=code, meaning=EXIT_MEANINGS.get(code, "interrupted by a signal"))
