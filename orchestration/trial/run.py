"""A Tune trial: one training, in this very process or on the workers of a TorchTrainer."""

from pathlib import Path
from typing import Any

from orchestration.trial import files, retries
from orchestration.trial.heartbeat import TRIAL, beating, clear_signs
from orchestration.trial.retries import OutOfMemory, is_out_of_memory
from orchestration.trial.task import TASK, Task
from orchestration.trial.worker import leave, train_here, train_worker

# A collective ends by itself where nobody could end its processes, that much later.
SLACK_SECONDS = 30


def run_trial(config: dict[str, Any]) -> None:
    """What Tune runs.

    A training that ends for good returns, with a recorded reason, so that Tune does not try it again; anything else
    is raised and taken up from the last checkpoint.
    """
    import ray

    task: Task = config[TASK]
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if files.is_held_back(folder):
        return
    node = ray.get_runtime_context().get_node_id()
    try:
        if not retries.begin(task, node):
            return
        files.clear_failure(folder)
        files.clear_stop(folder)
        clear_signs(folder)
        with beating(folder, TRIAL, node):
            (train_on_workers if task.on_workers else train_here)(task)
        retries.close(task)
    except Exception as error:
        known = OutOfMemory(str(error)) if is_out_of_memory(error) else error
        files.write_failure(folder, known, final=False)
        if files.is_preempted(folder):
            retries.close(task)
            leave(files.reason_of(folder))
        # A full disk is full for another attempt too, and for Tune's record of this one.
        full = files.read_failure(folder) is None and files.has_no_space(folder)
        if not full and retries.judge(task, node):
            raise


def train_on_workers(task: Task) -> None:
    """The training on its workers; Ray Train itself never retries, Tune does."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    demand = task.demand
    # Nobody waits longer for a worker than the watch over all of them.
    limit = TorchConfig.timeout_s if task.stall_seconds is None else int(task.stall_seconds) + SLACK_SECONDS
    workers = demand.workers if demand.min_workers is None else (demand.min_workers, demand.workers)
    resources = {"CPU": float(demand.cpus)} | ({"GPU": float(demand.gpus)} if demand.gpus else {})
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="nccl" if demand.device == "cuda" else "gloo", timeout_s=limit),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,  # type: ignore[arg-type]  # the stubs know fixed numbers only
            use_gpu=bool(demand.gpus),
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=f"train-{task.identity[:16]}",
            storage_path=task.ray_folder,
            callbacks=[TuneReportCallback()],  # type: ignore[list-item, no-untyped-call]  # two Ray APIs
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )
    trainer.fit()
