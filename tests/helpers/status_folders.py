"""Folders of sweeps as commands leave them, with records of drivers that never ran."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from fcos.storage.store_conventions import Artifact
from orchestration.cli.lock import LOCK
from orchestration.monitor.record import StatusRecord, TrainingRecord, write_status
from orchestration.trial.processes import start_time

IDENTITY = "a" * 16 + "b" * 48


def training(index: int = 0, **values: Any) -> TrainingRecord:
    """A training that waits, but for what is given."""
    known = {
        "index": index,
        "identity": f"{index:016d}{IDENTITY[16:]}",
        "label": f"none · seed {index}",
        "arms": ("none",),
        "seed": index,
        "state": "waiting",
        "unit": "step",
        "step": 0,
        "total_steps": 100,
    }
    return TrainingRecord.model_validate({**known, **values})


def record(*trainings: TrainingRecord, **values: Any) -> StatusRecord:
    """The record of a command of this process that runs, at the time 1000, but for what is given."""
    known = {
        "name": "shapes",
        "experiment": "ablation_centerness",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": 900.0,
        "written": 1000.0,
        "count": 5,
        "phase": "running",
        "max_concurrent": 2,
        "seconds_left": 60.0,
        "steps": 10,
        "total_steps": 100,
        "budget": (),
        "best": None,
        "retries": 0,
        "store": None,
        "store_lag_seconds": 0.0,
        "trainings": trainings,
    }
    return StatusRecord.model_validate({**known, **values})


def make_folder(folder: Path, *, holder: int | None = None, host: str = "", kept: StatusRecord | None = None) -> Path:
    """Make a sweep's folder with the lock of a process (None: of no process) and a record."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = ""
    if holder is not None:
        begin = start_time(holder) if not host else 0.0
        values = {"pid": holder, "host": host or socket.gethostname(), "since": "2026-01-01T00:00:00", "begin": begin}
        owner = json.dumps(values)
    (folder / LOCK).write_text(owner)
    if kept is not None:
        write_status(folder, kept)
    return folder


def write_plan(folder: Path, *seeds: int, steps: int = 100) -> None:
    """Write a plan with an arm and some seeds, as far as status.py reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    trials = [{"identity": f"{seed:016d}{IDENTITY[16:]}", "seed": seed, "arms": {"none": "e"}, "data": "d"}
              for seed in seeds]  # fmt: skip
    values = {"key": "k", "arms": {"none": {"task": "train", "schedule": {"steps": steps}}}, "trials": trials}
    (folder / Artifact.PLAN).write_text(json.dumps(values))
