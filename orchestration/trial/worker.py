"""The training loop under Ray: in the trial's own process, or as one of the workers of a TorchTrainer."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.experiment.provenance import EvidenceDiffers, check_evidence
from orchestration.trial import files
from orchestration.trial.heartbeat import beating
from orchestration.trial.retries import OutOfMemory, accumulate_of, is_out_of_memory
from orchestration.trial.task import Task

if TYPE_CHECKING:
    import torch
    from torch import nn
from typing import NoReturn

# The one metric that Ray carries; as text it is neither flattened nor copied key by key on its way.
RECORD = "record"


class DiskFull(RuntimeError):
    """There was no space for what a training has to write."""


class BudgetUsedUp(RuntimeError):
    """The sweep has used the hours that it may."""


@dataclass(frozen=True)
class RayRuntime:
    """One worker of a TorchTrainer."""

    directory: Path
    device: "torch.device"
    rank: int
    world_size: int
    planned_size: int
    heart: Callable[[], None]

    def wrap(self, model: "nn.Module") -> "nn.Module":
        from ray.train.torch import prepare_model

        return prepare_model(model)

    def report(self, record: dict[str, Any]) -> None:
        import ray.train

        if self.rank == 0:
            files.append_points(self.directory, record["points"])
        ray.train.report({RECORD: json.dumps(record)})

    def stop_asked(self) -> bool:
        return (self.directory / files.STOP).exists()

    def leave_asked(self) -> bool:
        import ray.train

        return ray.train.get_preemption_info() is not None

    def beat(self) -> None:
        self.heart()


def train_worker(values: dict[str, Any]) -> None:
    """What each worker of a TorchTrainer runs; `values` holds the task."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    task: Task = values["task"]
    context = ray.train.get_context()
    folder, rank = Path(task.folder), context.get_world_rank()
    with beating(folder, f"rank_{rank}", ray.get_runtime_context().get_node_id()) as beat:

        def make_runtime() -> RayRuntime:
            device = ray.train.torch.get_device() if task.demand.device == "cuda" else torch.device("cpu")
            return RayRuntime(folder, device, rank, context.get_world_size(), task.demand.workers, beat)

        train(task, make_runtime)


def train_here(task: Task) -> None:
    """The whole training in the trial's own process."""
    import ray
    from ray import tune

    folder = Path(task.folder)

    def report(record: dict[str, Any]) -> None:
        files.append_points(folder, record["points"])
        tune.report({RECORD: json.dumps(record)})

    with beating(folder, "rank_0", ray.get_runtime_context().get_node_id()) as beat:

        def make_runtime() -> Any:
            from fcos.device import pick_device
            from fcos.runtime import LocalRuntime

            device = pick_device(task.demand.device)
            return LocalRuntime(folder, device, listener=report, heart=beat, notice=node_drains)

        train(task, make_runtime)


def train(task: Task, make_runtime: Callable[[], Any]) -> None:
    """Run the loop; leave a summary, or the reason of the failure and the error itself."""
    folder = Path(task.folder)
    with files.logged(folder):
        try:
            # Before anything else is imported: a file that is being edited may not even compile.
            check_evidence(task.evidence)
        except EvidenceDiffers as error:
            logging.getLogger(__name__).exception("the training is not begun")
            files.write_failure(folder, error, final=True)
            raise
        try:
            runtime = make_runtime()
            summary = _run(task, runtime)
            if runtime.rank == 0:
                _leave(task, folder, summary)
        except Exception as error:
            _record_failure(folder, error)
            raise


def _run(task: Task, runtime: Any) -> dict[str, Any]:
    import torch

    from fcos.config.model_parts import PostprocessConfig
    from fcos.config.parse import parse
    from fcos.config.run import Config

    torch.set_num_threads(task.demand.cpus)
    arms = {arm: parse(PostprocessConfig, dict(values)) for arm, values in task.arms.items()}
    schedule = {**task.config["schedule"], "accumulate": accumulate_of(task)}
    if task.best_metric is not None:
        schedule["best_metric"] = task.best_metric
    config = parse(Config, {**task.config, "schedule": schedule})
    return _runner(config.task)(config, runtime, arms, data_digest=task.data_digest)


def _record_failure(folder: Path, error: Exception) -> None:
    from fcos.training.interruption import Preempted

    if isinstance(error, Preempted):
        logging.getLogger(__name__).info("%s", error)
        files.write_failure(folder, error, final=False)
        return
    logging.getLogger(__name__).exception("the training failed")
    known, full = error, files.is_no_space(error)
    if full:
        known = DiskFull(f"no space left on the disk of {folder}; its checkpoints are whole")
    elif is_out_of_memory(error):
        known = OutOfMemory(str(error))
    files.write_failure(folder, known, final=full or is_final(error))


def _leave(task: Task, folder: Path, summary: Mapping[str, Any]) -> None:
    """The summary of what is done; what the budget stopped is not, and goes on from the checkpoint it left."""
    step = summary.get("pruned")
    if step is not None and files.is_held_back(folder):
        reason = BudgetUsedUp(f"stopped at step {step}, where its checkpoint is")
        files.write_failure(folder, reason, final=True)
    else:
        notes = [*summary["notes"], *files.read_notes(folder)]
        files.write_summary(folder, task.identity, {**summary, "notes": notes})


def _runner(task: str) -> Callable[..., dict[str, Any]]:
    if task == "coverage":
        from fcos.coverage import run as coverage

        return coverage.run
    from fcos import train as training

    return training.run


def is_final(error: BaseException) -> bool:
    """Whether another attempt would end the same: fcos's own errors (wrong config, bad data, divergence).

    Not those that may have passed by then, such as a file that could not be read just now.
    """
    from fcos.errors import Transient

    return type(error).__module__.split(".")[0] == "fcos" and not isinstance(error, Transient)


def node_drains() -> bool:
    """Whether the machine of this process has had notice that it will be taken away."""
    import ray

    # As Ray Train's own watcher asks; there is no public question. https://github.com/ray-project/ray, preemption.py
    from ray._private.state import state

    return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()


def leave(message: str) -> NoReturn:
    """End a Tune trial so that it starts again elsewhere and no failure is counted."""
    from ray.exceptions import RayActorError

    # What Tune does not count are actors that a preemption ended, also where a trial tells of them.
    raise RayActorError(error_msg=message, preempted=True)
