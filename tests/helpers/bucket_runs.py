"""Folders of runs as trainings leave them, without a tensor, and a bucket in memory for them."""

import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import Objects
from fcos.storage.checkpoint_folder import MANIFEST, folder_of
from fcos.storage.run_folder import CHECKPOINTS, NOTES, POINTS, TRAINING_ID, RunSummary
from fcos.storage.summary_file import FinishedRun, write_finished_run
from orchestration.bucket.generations import Holder
from orchestration.trial.task import BucketTask

CONFIG = {"config": {"schedule": {"ema": None}}}
EVALUATION = "evaluation/none/results.json.gz"
IDENTITY = "0123456789abcdef0123456789abcdef"


def memory_bucket(filesystem: Any = None) -> Objects:
    """A bucket of its own in this process; without patience, as nothing passes there."""
    return Objects(Address("memory", f"{uuid.uuid4().hex}/outputs"), filesystem or MemoryFileSystem(), patience=0.0)


def bucket_task(sweep: Objects, *, is_joined: bool = False) -> BucketTask:
    """The bucket of the one training of a sweep, to whose lock no command holds."""
    return BucketTask(str(sweep.address.above()), sweep.address.name, "trials/0123", 0, is_joined)


def write_checkpoint(run: Path, step: int, kind: str = CHECKPOINTS, text: str = "") -> Path:
    """A checkpoint whose files verify."""
    path = folder_of(run / kind, step)
    path.mkdir(parents=True)
    contents = {
        "model.safetensors": f"weights of step {step} {text}".encode(),
        "state.pt": f"state of step {step} {text}".encode() * 50,
        "config.json": json.dumps({**CONFIG, "step": step, "classes": []}).encode(),
    }
    for name, data in contents.items():
        (path / name).write_bytes(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    (path / MANIFEST).write_text(json.dumps(hashes))
    return path


def begin_run(run: Path, *steps: int) -> Path:
    """A run that has begun, with points up to its last step and some checkpoints."""
    run.mkdir(parents=True, exist_ok=True)
    (run / TRAINING_ID).write_text(f"{uuid.uuid4().hex}\n")
    (run / NOTES).write_text("a note\n")
    for step in steps:
        add_points(run, step)
        write_checkpoint(run, step)
    return run


def add_points(run: Path, step: int) -> None:
    with (run / POINTS).open("a") as file:
        file.write(json.dumps([None, "train/loss", step, 1.0]) + "\n")


def finish_run(run: Path, step: int) -> RunSummary:
    """Give a run the result of its last checkpoint: a saved evaluation and the summary."""
    (run / EVALUATION).parent.mkdir(parents=True, exist_ok=True)
    (run / EVALUATION).write_bytes(b"the detections")
    checkpoint = folder_of(Path(CHECKPOINTS), step)
    summary = RunSummary(
        step=step,
        seconds=1.0,
        metrics={"none": {"val/AP": 0.5}},
        evaluations={"none": (EVALUATION,)},
        checkpoint=str(checkpoint),
        checkpoint_sha256=hashlib.sha256((run / checkpoint / MANIFEST).read_bytes()).hexdigest(),
    )
    write_finished_run(run, FinishedRun(identity=IDENTITY, summary=summary))
    return summary


class CutFileSystem:
    """A filesystem of fsspec that refuses all changes of the bucket after the first so many."""

    CHANGES = ("pipe_file", "put_file", "rm_file")

    def __init__(self, inner: Any, changes: float = float("inf")) -> None:
        self.inner, self.left, self.made, self.refused = inner, changes, 0, 0
        self.log: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        return self._counted(name, method) if name in self.CHANGES else method

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.left <= 0:
                self.refused += 1
                # Which is not tried again, as a process that was killed tries nothing.
                raise PermissionError("no more changes")
            self.left, self.made = self.left - 1, self.made + 1
            # The path in the bucket is the second argument of put_file alone.
            self.log.append((name, str(arguments[1] if name == "put_file" else arguments[0])))
            return method(*arguments, **options)

        return call


def holder(**changes: Any) -> Holder:
    """A command of another host."""
    values: dict[str, Any] = {
        "token": "theirs", "pid": 7, "begin": 1.0, "host": "far", "machine": "far boot 1", "since": "yesterday",
    }  # fmt: skip
    return Holder(**{**values, **changes})
