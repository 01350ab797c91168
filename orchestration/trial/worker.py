"""The training loop under Ray: in the trial's own process, or as one of the workers of a TorchTrainer."""

import logging
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.storage.files import user_cache
from fcos.storage.run_folder import STOP, SUMMARY, ProgressRecord, RunSummary
from orchestration.cluster.ray_internals import draining_nodes
from orchestration.experiment.provenance import ProvenanceDiffers, check_provenance
from orchestration.leases.lease import Superseded
from orchestration.trial import files
from orchestration.trial.bucket_folder import FolderUpload, NoUpload, begin_upload, fetch_folder
from orchestration.trial.bucket_workers import join_workers, on_worker
from orchestration.trial.failures import (
    BucketUnreachable,
    BudgetUsedUp,
    DiskFull,
    Failure,
    OutOfMemory,
    WorkerFailed,
    is_held_back,
    is_no_space,
    is_out_of_memory,
    is_retryable,
    no_space_message,
    write_failure,
)
from orchestration.trial.fence import ReportCheck, check_fences, is_replaced
from orchestration.trial.heartbeat import registered
from orchestration.trial.retries import accumulate_of
from orchestration.trial.stalls import guarded
from orchestration.trial.system_metrics import sampled
from orchestration.trial.task import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fcos.runtime import Runtime

# The one metric that Ray carries; as text it is neither flattened nor copied key by key on its way.
RECORD = "record"


@dataclass(frozen=True)
class RayRuntime:
    """One worker of a TorchTrainer."""

    directory: Path
    device: "torch.device"
    rank: int
    world_size: int
    planned_size: int
    on_heartbeat: Callable[[], None]
    # Called before anything of a report is written; raises Superseded.
    check: Callable[[], None]

    def wrap(self, model: "nn.Module") -> "nn.Module":
        from ray.train.torch import prepare_model

        return prepare_model(model)

    def report(self, record: ProgressRecord) -> None:
        import ray.train

        if self.rank == 0:
            self.check()
            files.append_points(self.directory, record.points)
        ray.train.report({RECORD: record.to_json()})

    def stop_requested(self) -> bool:
        return (self.directory / STOP).exists()

    def preemption_requested(self) -> bool:
        import ray.train

        return ray.train.get_preemption_info() is not None

    def heartbeat(self) -> None:
        self.on_heartbeat()


def train_worker(values: dict[str, Any]) -> None:
    """Train on one worker of a TorchTrainer; `values` holds the task."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    task = on_worker(values["task"])
    context = ray.train.get_context()
    folder, rank = Path(task.folder), context.get_world_rank()
    seconds = task.system_metrics_seconds if context.get_local_rank() == 0 else None
    with (
        registered(folder, f"rank_{rank}", ray.get_runtime_context().get_node_id()) as heartbeat,
        sampled(folder, context.get_node_rank(), seconds, gpus=task.demand.device == "cuda"),
        guarded(task) if task.is_spread and context.get_local_rank() == 0 else nullcontext(),
    ):

        def make_runtime() -> RayRuntime:
            device = ray.train.torch.get_device() if task.demand.device == "cuda" else torch.device("cpu")
            size, planned = context.get_world_size(), task.demand.workers
            return RayRuntime(folder, device, rank, size, planned, heartbeat, ReportCheck(task.attempt, task.lease))

        train(task, make_runtime)


def train_here(task: Task) -> None:
    """Train in the trial's own process."""
    import ray
    from ray import tune

    folder, check = Path(task.folder), ReportCheck(task.attempt, task.lease)

    def report(record: ProgressRecord) -> None:
        check()
        files.append_points(folder, record.points)
        tune.report({RECORD: record.to_json()})

    with (
        registered(folder, "rank_0", ray.get_runtime_context().get_node_id()) as heartbeat,
        sampled(folder, 0, task.system_metrics_seconds, gpus=task.demand.device == "cuda"),
    ):

        def make_runtime() -> "Runtime":
            from fcos.device import pick_device
            from fcos.runtime import LocalRuntime

            device = pick_device(task.demand.device)
            return LocalRuntime(folder, device, report, heartbeat, preemption_pending=is_draining)

        train(task, make_runtime)


def check_task(task: Task) -> None:
    """Raise Superseded where another attempt, or another command, trains this task now."""
    check_fences(task.attempt, task.lease)


def train(task: Task, make_runtime: Callable[[], "Runtime"]) -> None:
    """Run the training loop; leave a summary, or the failure in the folder and the error itself."""
    folder = Path(task.folder)
    with files.logged(folder):
        try:
            # Before anything else is imported: a file that is being edited may not even compile.
            check_provenance(task.provenance)
        except ProvenanceDiffers as error:
            logging.getLogger(__name__).exception("the training is not begun")
            failure = write_failure(folder, error, retryable=False)
            _carry(task, failure, error)
            raise
        upload: FolderUpload | NoUpload = NoUpload()
        try:
            check_task(task)
            runtime = make_runtime()
            (join_workers(task, runtime) if task.is_spread else fetch_folder(task))
            upload = begin_upload(task, writes=runtime.rank == 0)
            summary = _run(task, runtime)
            if runtime.rank == 0:
                # Before the summary, which has the notes on uploads.
                upload.settle(runtime.heartbeat)
                _write_result(task, folder, summary)
                upload.publish(runtime.heartbeat)
        except Exception as error:
            if is_replaced(task.attempt):
                # The files of the folder are those of the later attempt.
                logging.getLogger(__name__).warning("an attempt ends that a later one has replaced", exc_info=True)
            else:
                failure = _record_failure(task, error)
                if not isinstance(error, BucketUnreachable):
                    upload.leave()
                _carry(task, failure, error)
            raise


def _carry(task: Task, failure: Failure, error: Exception) -> None:
    """Raise the failure in place of its error, where the trial does not see the folder that has it."""
    if task.is_spread:
        raise WorkerFailed(failure) from error


def _run(task: Task, runtime: "Runtime") -> RunSummary:
    """Parse the task's plain values and run it."""
    import torch

    from fcos.config.evaluation import EvaluationSettings
    from fcos.config.parse import parse
    from fcos.config.run import Config

    torch.set_num_threads(task.demand.cpus)
    arms = {arm: parse(EvaluationSettings, dict(values)) for arm, values in task.arms.items()}
    schedule = {**task.config["schedule"], "accumulate": accumulate_of(task)}
    if task.best_metric is not None:
        schedule["best_metric"] = task.best_metric
    config = parse(Config, {**task.config, "schedule": schedule})
    if config.task == "coverage":
        from fcos.coverage import run as coverage

        return coverage.run(config, runtime, arms, data_digest=task.data_digest)
    from fcos import training_run as training

    return training.run(config, runtime, arms, data_digest=task.data_digest, forks=task.forks)


def _record_failure(task: Task, error: Exception) -> Failure:
    from fcos.training.interruption import Preempted

    folder = Path(task.folder)
    if isinstance(error, Preempted | Superseded):
        logging.getLogger(__name__).info("%s", error)
        return write_failure(folder, error, retryable=isinstance(error, Preempted))
    logging.getLogger(__name__).exception("the training failed")
    full = is_no_space(error)
    known: Exception = error
    if isinstance(error, BucketUnreachable):
        # With the same credentials and network another attempt ends as this one.
        return write_failure(folder, error, retryable=False)
    if full:
        known = DiskFull(f"{no_space_message(error, _written_folders(task))}; its checkpoints are whole")
    elif is_out_of_memory(error):
        known = OutOfMemory(str(error))
    return write_failure(folder, known, retryable=not full and is_retryable(error))


def _written_folders(task: Task) -> list[Path]:
    """Return the folders that a training writes to: its own, that of prepared data, and that of temporary files."""
    cache = task.config.get("data", {}).get("cache_dir")
    prepared = user_cache() if cache is None else Path(str(cache)).expanduser()
    return [Path(task.folder), prepared, Path(tempfile.gettempdir())]


def _write_result(task: Task, folder: Path, summary: RunSummary) -> None:
    """Write the summary of a finished training; one that the budget stopped goes on from its checkpoint instead.

    Raises Superseded where another command, or another attempt, is to have the result.
    """
    check_task(task)
    if summary.pruned is not None and is_held_back(folder):
        reason = BudgetUsedUp(f"stopped at step {summary.pruned}, where its checkpoint is")
        write_failure(folder, reason, retryable=False)
    else:
        notes = dict.fromkeys((*files.read_sweep_notes(folder), *summary.notes, *files.read_notes(folder)))
        if task.lease is not None:
            # Whoever ends the lease first decides whose result counts; a summary is there for one alone.
            task.lease.finish()
        files.write_summary(folder, task.identity, summary.model_copy(update={"notes": tuple(notes)}))
        _withdraw_superseded(task, folder)


def _withdraw_superseded(task: Task, folder: Path) -> None:
    """Remove a summary, and raise Superseded, where another command began while this process stood still before it."""
    try:
        check_task(task)
    except Superseded:
        (folder / SUMMARY).unlink(missing_ok=True)
        raise


def is_draining() -> bool:
    """Return whether the machine of this process has a notice that it will be taken away."""
    import ray

    return ray.get_runtime_context().get_node_id() in draining_nodes()
