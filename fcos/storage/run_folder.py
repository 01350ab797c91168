"""Contents of a run's folder: names of its files, the points and records that a run reports, its summary.

Nothing here imports torch, so that processes that only read results start quickly.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

# Written by a run itself.
CHECKPOINTS = "checkpoints"
# Checkpoints at steps from which other trainings go on, kept apart from the newest ones.
FORKS = "forks"
DETECTIONS = "detections"
# Below it a folder for each arm, or the files themselves; their names are in evaluation_files.py.
EVALUATION = "evaluation"
COVERAGE_TABLE = "coverage.json"
UNRECALLED = "unrecalled.csv"
COVERAGE_MAP = "maps/center_sampling.png"
# Written by the orchestration around it (orchestration/trial).
POINTS = "points.jsonl"
SUMMARY = "summary.json"
FAILURE = "failure.json"
ATTEMPTS = "attempts.json"
REUSED = "reused.json"
ORIGIN = "origin.json"
TRAINING_ID = "training_id.txt"
NOTES = "notes.txt"
LOG = "log.txt"
HEARTBEATS = "alive"
# An empty file of this name requests the run to end at its next report; in a sweep's folder it lets no training begin.
STOP = "stop"


class MetricPoint(NamedTuple):
    """One value of a metric; `arm` None belongs to every arm that shares the training."""

    arm: str | None
    key: str
    step: int
    value: float


@dataclass(frozen=True)
class ProgressRecord:
    """What a run reports on its way: how far it is, and the points since the record before."""

    # Steps, or images where nothing is trained.
    step: int
    total_steps: int
    # Of this attempt, which began after step `resumed_from`.
    seconds: float
    resumed_from: int
    points: tuple[MetricPoint, ...] = ()

    def to_json(self) -> str:
        """Return the record as text, as Ray carries it to the driver."""
        return json.dumps(asdict(self) | {"points": self.points})

    @classmethod
    def from_json(cls, text: str) -> "ProgressRecord":
        """Read a record that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "points": tuple(MetricPoint(*point) for point in values["points"])})


class BestEvaluation(BaseModel):
    """The best evaluation of a training by schedule.best_metric, and its checkpoint relative to the run's folder."""

    model_config = ConfigDict(frozen=True)

    metric: str
    step: int
    value: float
    checkpoint: str


class RunSummary(BaseModel):
    """The result of a finished run: a training, or with task=coverage a count without one.

    Paths are relative to the run's folder. Keys that this version does not know are left out, so that summaries of
    other versions can be read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    # The last step; images where nothing was trained.
    step: int
    # Of the last attempt.
    seconds: float
    # Arm -> metric -> value.
    metrics: dict[str, dict[str, float]]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    # Arm -> sample detections.
    pictures: dict[str, tuple[str, ...]] = {}
    # Arm -> its saved evaluation; arms without one are missing.
    evaluations: dict[str, tuple[str, ...]] = {}
    # Of the validation images, which all arms share; empty without any.
    thumbnails: str = ""
    # Of the data that it was trained and evaluated on (see fcos.data.prepare.PreparedData).
    data_digest: str = ""
    # Tables and pictures of a count.
    files: tuple[str, ...] = ()
    # Of trainings alone. The step at which it was stopped early, None after all steps.
    pruned: int | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str = ""
    best: BestEvaluation | None = None
    # The step after which the last attempt began.
    resumed_from: int | None = None
    # [step after which they began, number of workers], in order; see fcos.training.elastic.
    workers: list[list[int]] = []

    def all_files(self) -> Iterable[str]:
        """Iterate over tables, pictures, saved evaluations and thumbnails."""
        yield from self.files
        if self.thumbnails:
            yield self.thumbnails
        for names in (*self.pictures.values(), *self.evaluations.values()):
            yield from names
