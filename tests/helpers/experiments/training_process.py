"""A training as a Tune trial runs it, without Ray, in this process or in one of its own."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from fcos.runtime import LocalRuntime
from orchestration.trial.task import Task
from orchestration.trial.worker import train


def train_task(task: Task) -> None:
    """Train in this process, in the task's folder on the CPU."""
    train(task, lambda: LocalRuntime(Path(task.folder), torch.device("cpu")))


def train_task_apart(task: Task) -> None:
    """Train in a process without the checks of shapes that tests install, which torch cannot compile."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(train_task, task).result()
