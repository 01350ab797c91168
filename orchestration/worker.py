"""The training loop under Ray: in the trial's own process, or as one of the workers of a TorchTrainer."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration import trial_files
from orchestration.preemption import node_drains
from orchestration.resources import Demand

if TYPE_CHECKING:
    import torch
    from torch import nn

# The one metric that Ray carries; as text it is neither flattened nor copied key by key on its way.
RECORD = "record"
# The one key of Tune's own config of a trial.
TASK = "task"


class DiskFull(RuntimeError):
    """There was no space for what a training has to write."""


class BudgetUsedUp(RuntimeError):
    """The sweep has used the hours that it may."""


@dataclass(frozen=True)
class Task:
    """All that a training has to know, as plain values that travel to its workers."""

    # Place among the plan's trainings.
    place: int
    identity: str
    # The training's own folder, the same on every machine.
    folder: str
    # Where Ray keeps its own records.
    ray_folder: str
    config: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    demand: Demand
    # Whether a TorchTrainer runs the loop.
    on_workers: bool


@dataclass(frozen=True)
class RayRuntime:
    """One worker of a TorchTrainer."""

    directory: Path
    device: "torch.device"
    rank: int
    world_size: int
    planned_size: int

    def wrap(self, model: "nn.Module") -> "nn.Module":
        from ray.train.torch import prepare_model

        return prepare_model(model)

    def report(self, record: dict[str, Any]) -> None:
        import ray.train

        if self.rank == 0:
            trial_files.append_points(self.directory, record["points"])
        ray.train.report({RECORD: json.dumps(record)})

    def stop_asked(self) -> bool:
        return (self.directory / trial_files.STOP).exists()

    def leave_asked(self) -> bool:
        import ray.train

        return ray.train.get_preemption_info() is not None


def train_worker(values: dict[str, Any]) -> None:
    """What each worker of a TorchTrainer runs; `values` holds the task."""
    import ray.train
    import ray.train.torch
    import torch

    task: Task = values["task"]
    context = ray.train.get_context()
    device = ray.train.torch.get_device() if task.demand.device == "cuda" else torch.device("cpu")
    rank, size = context.get_world_rank(), context.get_world_size()
    train(task, RayRuntime(Path(task.folder), device, rank, size, task.demand.workers))


def train_here(task: Task) -> None:
    """The whole training in the trial's own process."""
    from ray import tune

    from fcos.runtime import LocalRuntime, pick_device

    folder = Path(task.folder)

    def report(record: dict[str, Any]) -> None:
        trial_files.append_points(folder, record["points"])
        tune.report({RECORD: json.dumps(record)})

    train(task, LocalRuntime(folder, pick_device(task.demand.device), listener=report, notice=node_drains))


def train(task: Task, runtime: Any) -> None:
    """Run the loop; leave a summary, or the reason of the failure and the error itself."""
    import torch

    from fcos.config import Config, PostprocessConfig
    from fcos.interruption import Preempted
    from fcos.parsing import parse

    folder = Path(task.folder)
    torch.set_num_threads(task.demand.cpus)
    with trial_files.logged(folder):
        try:
            arms = {arm: parse(PostprocessConfig, dict(values)) for arm, values in task.arms.items()}
            config = parse(Config, dict(task.config))
            summary = _runner(config.task)(config, runtime, arms)
            if runtime.rank == 0:
                _leave(task, folder, summary)
        except Preempted as error:
            logging.getLogger(__name__).info("%s", error)
            trial_files.write_failure(folder, error, final=False)
            raise
        except Exception as error:
            logging.getLogger(__name__).exception("the training failed")
            full = trial_files.is_no_space(error)
            known = DiskFull(f"no space left on the disk of {folder}; its checkpoints are whole") if full else error
            trial_files.write_failure(folder, known, final=full or is_final(error))
            raise


def _leave(task: Task, folder: Path, summary: Mapping[str, Any]) -> None:
    """The summary of what is done; what the budget stopped is not, and goes on from the checkpoint it left."""
    step = summary.get("pruned")
    if step is not None and trial_files.is_held_back(folder):
        reason = BudgetUsedUp(f"stopped at step {step}, where its checkpoint is")
        trial_files.write_failure(folder, reason, final=True)
    else:
        trial_files.write_summary(folder, task.identity, summary)


def _runner(task: str) -> Callable[..., dict[str, Any]]:
    if task == "coverage":
        from fcos.coverage import run as coverage

        return coverage.run
    from fcos import train as training

    return training.run


def is_final(error: BaseException) -> bool:
    """Whether another attempt would end the same: fcos's own errors (wrong config, bad data, divergence)."""
    return type(error).__module__.split(".")[0] == "fcos"
