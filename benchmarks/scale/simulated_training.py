"""A simulated training: it writes and reports what a training does, in virtual time, and computes nothing.

Each attempt may be lost with its machine, be preempted, raise an error, want memory or diverge, at given rates; what is
written then, and whether another attempt follows, is what orchestration/trial/run.py does.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from scale.made_results import CLASSES, ResultBank, link_files

from fcos.storage.checkpoint_folder import MANIFEST, REQUIRED_FILES, digest, folder_of, sha256_of
from fcos.storage.run_folder import (
    CHECKPOINTS,
    DETECTIONS,
    EVALUATION,
    HEARTBEATS,
    STOP,
    MetricPoint,
    ProgressRecord,
    RunSummary,
)
from orchestration.trial import files, retries
from orchestration.trial.failures import OutOfMemory, clear_failure, is_held_back, write_failure
from orchestration.trial.fence import begin_fenced, check_fences
from orchestration.trial.heartbeat import TRIAL, Process, clear_heartbeats
from orchestration.trial.task import Task
from orchestration.trial.worker import RECORD

Fate = Literal["finished", "lost", "preempted", "error", "memory", "diverged"]
# How an attempt ends for Tune: the trial's function returned, or raised; a preemption counts as no failure.
Ending = Literal["returned", "raised", "preempted"]
# Of a training in virtual seconds: the median, and the deviation of its logarithm.
MEDIAN_SECONDS: Final = 3600.0
SPREAD: Final = 0.4
# Of a step, as fcos/training/progress.py reports them.
TRAIN_METRICS: Final = (
    "loss", "loss_classification", "loss_regression", "loss_quality", "positives_per_image", "loss_quality_floor",
    "loss_quality_excess", "lr", "images_per_second",
)  # fmt: skip


class Preempted(RuntimeError):
    """The machine is taken away; the class names the kind of the failure."""


class Diverged(RuntimeError):
    """The loss is not finite; the class names the kind of the failure."""


@dataclass(frozen=True)
class FailureRates:
    """Shares of attempts that end before the training does, by kind; chosen, not measured."""

    lost: float = 0.03
    preempted: float = 0.02
    error: float = 0.01
    memory: float = 0.003
    diverged: float = 0.005

    def draw(self, generator: random.Random) -> Fate:
        """Return how an attempt ends."""
        number = generator.random()
        for fate, rate in asdict(self).items():
            if number < rate:
                return fate  # type: ignore[return-value]
            number -= rate
        return "finished"


NO_FAILURES: Final = FailureRates(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass
class SimulatedTraining:
    """A training of a plan over all of its attempts of one command."""

    task: Task
    bank: ResultBank
    rates: FailureRates
    # Reports of all attempts so far; an attempt goes on after those of the one before.
    reports: int = 0
    fate: Fate = "finished"
    # Reports after which this attempt ends.
    last_report: int = 0
    began_at: int = 0
    seconds: float = 0.0
    _generator: random.Random = field(init=False)

    def __post_init__(self) -> None:
        schedule: Mapping[str, Any] = self.task.config["schedule"]
        self._log_every, self._eval_every = int(schedule["log_every"]), int(schedule["eval_every"])
        self._reports_a_checkpoint = int(schedule["checkpoint_every"]) // self._log_every
        self._steps = int(schedule["steps"])
        self._most_reports = self._steps // self._log_every
        self.folder = Path(self.task.folder)
        self._generator = random.Random(self.task.identity)
        # Virtual seconds between two reports.
        self.pace = MEDIAN_SECONDS * math.exp(self._generator.gauss(0.0, SPREAD)) / self._most_reports

    @property
    def _step(self) -> int:
        """The step of the last report."""
        return self.reports * self._log_every

    @property
    def is_at_end(self) -> bool:
        """Whether this attempt makes no more reports."""
        return self.reports >= self.last_report

    def begin(self) -> bool:
        """Begin an attempt as the trial's process does; return whether there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        node = f"node{self.task.index % 100}"
        if is_held_back(self.folder) or not retries.begin_attempt(self.task, node):
            return False
        self.task = replace(self.task, attempt=begin_fenced(self.folder))
        clear_failure(self.folder)
        files.clear_stop(self.folder)
        clear_heartbeats(self.folder)
        (self.folder / HEARTBEATS).mkdir()
        for name in (TRIAL, "rank_0"):
            process = Process(node, self.task.index + 1000, 1.0)
            (self.folder / HEARTBEATS / f"{name}.json").write_text(json.dumps(asdict(process)))
        self.fate = self.rates.draw(self._generator)
        # What was trained after the newest checkpoint is trained again.
        self.reports -= self.reports % self._reports_a_checkpoint
        left = self._most_reports - self.reports
        self.last_report = self.reports + (left if self.fate == "finished" else self._generator.randrange(left))
        self.began_at, self.seconds = self._step, 0.0
        return True

    def stop_requested(self) -> bool:
        """Return whether a search stops it early."""
        return (self.folder / STOP).exists()

    def report(self) -> dict[str, Any]:
        """Append the next points, and return what Tune gets."""
        check_fences(self.task.attempt, self.task.lease)
        self.reports += 1
        self.seconds += self.pace
        points = tuple(self._make_points())
        files.append_points(self.folder, points)
        record = ProgressRecord(self._step, self._steps, self.seconds, self.began_at, points)
        return {RECORD: record.to_json(), "training_iteration": self.reports}

    def _make_points(self) -> list[MetricPoint]:
        step, part = self._step, self.reports / self._most_reports
        points = [
            MetricPoint(None, f"train/{name}", step, 2.0 - part + 0.01 * n) for n, name in enumerate(TRAIN_METRICS)
        ]
        if step % self._eval_every == 0:
            metrics = self._metrics(part)
            points += [MetricPoint(arm, key, step, value) for arm in self.task.arms for key, value in metrics.items()]
        return points

    def _metrics(self, part: float) -> dict[str, float]:
        """Return the metrics of an evaluation after a part of the steps."""
        return {key: value * part for key, value in self.bank.choose(self.task.config).metrics.items()}

    def finish(self) -> None:
        """End the attempt as a training does after its last step, or where it was stopped early."""
        result, part = self.bank.choose(self.task.config), self.reports / self._most_reports
        arms = list(self.task.arms)
        evaluations = {arm: self._link(result.evaluation, Path(EVALUATION, arm)) for arm in arms}
        pictures = {arm: self._link(result.pictures, Path(DETECTIONS, arm)) for arm in arms}
        link_files((self.bank.thumbnails,), self.folder)
        checkpoint = write_checkpoint(self.folder, self._step, self.task.config)
        summary = RunSummary(
            step=self._step,
            seconds=self.seconds,
            metrics={arm: self._metrics(part) for arm in arms},
            classes=CLASSES,
            notes=tuple(files.read_notes(self.folder)),
            pictures=pictures,
            evaluations=evaluations,
            thumbnails=self.bank.thumbnails.name,
            data_digest=self.task.data_digest,
            pruned=None if self.reports == self._most_reports else self._step,
            checkpoint=str(checkpoint.relative_to(self.folder)),
            checkpoint_sha256=digest(checkpoint),
            resumed_from=self.began_at,
        )
        if self.task.lease is not None:
            self.task.lease.finish()
        files.write_summary(self.folder, self.task.identity, summary)
        clear_heartbeats(self.folder)
        retries.end_attempt(self.task)

    def _link(self, origin: tuple[Path, ...], below: Path) -> tuple[str, ...]:
        return tuple(str(path.relative_to(self.folder)) for path in link_files(origin, self.folder / below))

    def fail(self) -> Ending:
        """End the attempt as its fate is, and return how the trial ends for Tune."""
        if self.fate == "lost":
            # Nothing of it writes a word, and its heartbeats stay.
            return "raised"
        clear_heartbeats(self.folder)
        match self.fate:
            case "preempted":
                write_failure(self.folder, Preempted(f"the machine leaves after step {self._step}"), retryable=True)
                retries.end_attempt(self.task)
                return "preempted"
            case "diverged":
                error = Diverged(f"the loss is not finite at step {self._step}")
                write_failure(self.folder, error, retryable=False)
            case "memory":
                write_failure(self.folder, OutOfMemory("no memory for a batch"), retryable=True)
            case _:
                write_failure(self.folder, OSError("a batch could not be read"), retryable=True)
        return "raised" if retries.should_retry(self.task) else "returned"


def write_checkpoint(folder: Path, step: int, config: Mapping[str, Any]) -> Path:
    """Write a whole checkpoint of a few bytes, which verifies, and return its folder."""
    path = folder_of(folder / CHECKPOINTS, step)
    path.mkdir(parents=True, exist_ok=True)
    metadata = {"step": step, "config": {"schedule": dict(config["schedule"])}, "classes": list(CLASSES)}
    for name in REQUIRED_FILES:
        (path / name).write_text(json.dumps(metadata) if name == "config.json" else f"simulated {name}\n")
    hashes = {name: sha256_of(path / name) for name in sorted(REQUIRED_FILES)}
    (path / MANIFEST).write_text(json.dumps(hashes, indent=1))
    return path
