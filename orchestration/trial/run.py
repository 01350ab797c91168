"""A Tune trial: one training, in the trial's own process or on the workers of a TorchTrainer."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from orchestration.experiment.training_folder import short_identity
from orchestration.trial import files, retries
from orchestration.trial.bucket_folder import fence_attempt, leave_machine, on_this_machine
from orchestration.trial.bucket_workers import exchanged, ray_folder
from orchestration.trial.failures import (
    BucketUnreachable,
    FailureKind,
    OutOfMemory,
    clear_failure,
    failure_reason,
    has_failed,
    is_disk_full,
    is_held_back,
    is_out_of_memory,
    read_failure,
    write_failure,
)
from orchestration.trial.fence import is_replaced
from orchestration.trial.heartbeat import TRIAL, clear_heartbeats, registered
from orchestration.trial.stalls import guarded
from orchestration.trial.task import TASK, Task
from orchestration.trial.worker import train_here, train_worker

# A collective that was not ended from outside ends by itself, that much later.
SLACK_SECONDS = 30


def run_trial(config: dict[str, Any]) -> None:
    """Run one trial of Tune.

    A training that ends for good returns, with a recorded reason, so that Tune does not try it again; any other error
    is raised, and the training goes on from its last checkpoint.
    """
    import ray

    task: Task = config[TASK]
    try:
        task = on_this_machine(task)
    except BucketUnreachable as error:
        logging.getLogger(__name__).warning("%s", error)
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if is_held_back(folder):
        # What an earlier command failed with is no reason why this one did not begin.
        clear_failure(folder)
        return
    try:
        _attempt(task, ray.get_runtime_context().get_node_id())
    finally:
        leave_machine(task)


def _attempt(task: Task, node: str) -> None:
    folder = Path(task.folder)
    try:
        if not retries.begin_attempt(task, node):
            return
        task = replace(task, attempt=fence_attempt(task))
        clear_failure(folder)
        files.clear_stop(folder)
        clear_heartbeats(folder)
        with registered(folder, TRIAL, node), nullcontext() if task.is_spread else guarded(task):
            (train_on_workers if task.on_workers else train_here)(task)
        retries.end_attempt(task)
    except Exception as error:
        if is_replaced(task.attempt):
            raise
        reason = OutOfMemory(str(error)) if is_out_of_memory(error) else error
        write_failure(folder, reason, retryable=not isinstance(error, BucketUnreachable))
        if has_failed(folder, FailureKind.PREEMPTED):
            retries.end_attempt(task)
            raise_preempted(failure_reason(folder))
        # A full disk is full for another attempt too, and for Tune's record of this one.
        full = read_failure(folder) is None and is_disk_full(folder)
        if not full and retries.should_retry(task, node):
            raise


def train_on_workers(task: Task) -> None:
    """Train on the workers of a TorchTrainer; Ray Train itself never retries, Tune does."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from orchestration.cluster.elastic_scaling import ElasticTrainer

    demand = task.demand
    # No worker waits for another longer than the watchdog over all of them.
    limit = TorchConfig.timeout_s if task.stall_seconds is None else int(task.stall_seconds) + SLACK_SECONDS
    workers = demand.workers if demand.min_workers is None else (demand.min_workers, demand.workers)
    resources = {"CPU": float(demand.cpus)} | ({"GPU": float(demand.gpus)} if demand.gpus else {})
    with ray_folder(task) as storage, exchanged(task):
        trainer = (TorchTrainer if demand.min_workers is None else ElasticTrainer)(
            train_worker,
            train_loop_config={"task": task},
            torch_config=TorchConfig(backend="nccl" if demand.device == "cuda" else "gloo", timeout_s=limit),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers,  # type: ignore[arg-type]  # the stubs know fixed numbers only
                use_gpu=bool(demand.gpus),
                resources_per_worker=resources,
            ),
            run_config=ray.train.RunConfig(  # type: ignore[arg-type]  # two Ray APIs
                name=f"train-{short_identity(task.identity)}",
                storage_path=storage,
                callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # two Ray APIs
                failure_config=ray.train.FailureConfig(max_failures=0),
            ),
        )
        trainer.fit()


def raise_preempted(message: str) -> NoReturn:
    """End a Tune trial so that it starts again elsewhere and no failure is counted."""
    from ray.exceptions import RayActorError

    # Tune does not count actors that a preemption ended, also where the trial itself raises the error.
    raise RayActorError(error_msg=message, preempted=True)
