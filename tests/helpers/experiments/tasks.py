"""Tasks as trials of a sweep get them, and how a trial trains them, without Ray."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from fcos.runtime import LocalRuntime
from orchestration.cluster.resources import Demand
from orchestration.experiment.provenance import Provenance
from orchestration.trial.task import MicroBatching, Task
from orchestration.trial.worker import train

BATCHING = MicroBatching(batch_size=8, accumulate=1, trains=True, divisible=True, decides=False)


def task_in(folder: Path, **changes: Any) -> Task:
    """Return a task of one worker whose training keeps its files in a folder."""
    values: dict[str, Any] = {
        "index": 0,
        "identity": "x",
        "folder": str(folder),
        "ray_folder": str(folder),
        "config": {},
        "arms": {},
        "provenance": Provenance("", {}),
        "data_digest": "",
        "demand": Demand(workers=1, cpus=1, gpus=0, device="cpu"),
        "micro_batching": BATCHING,
        "on_workers": False,
        "command_id": "one",
        "max_failures": 1,
        "stall_seconds": None,
    }
    return Task(**{**values, **changes})


def train_task(task: Task) -> None:
    """Train in this process, in the task's folder on the CPU."""
    train(task, lambda: LocalRuntime(Path(task.folder), torch.device("cpu")))


def train_task_apart(task: Task) -> None:
    """Train in a process without the checks of shapes that tests install, which torch cannot compile."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(train_task, task).result()
