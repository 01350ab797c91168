"""A Tune trial: one training, in this very process or on the workers of a TorchTrainer."""

from pathlib import Path
from typing import Any

from orchestration import trial_files
from orchestration.preemption import leave
from orchestration.worker import TASK, Task, train_here, train_worker


def run_trial(config: dict[str, Any]) -> None:
    """What Tune runs.

    A training that ends for good with a recorded reason returns, so that Tune does not try it again;
    anything else is raised and taken up from the last checkpoint.
    """
    task: Task = config[TASK]
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if trial_files.is_held_back(folder):
        return
    trial_files.clear_failure(folder)
    trial_files.clear_stop(folder)
    try:
        if task.on_workers:
            train_on_workers(task)
        else:
            train_here(task)
    except Exception as error:
        trial_files.write_failure(folder, error, final=False)
        if trial_files.is_preempted(folder):
            leave(trial_files.reason_of(folder))
        failure = trial_files.read_failure(folder)
        # A full disk is full for another attempt too, and for Tune's record of this one.
        full = failure is None and trial_files.has_no_space(folder)
        if not full and (failure is None or not failure["final"]):
            raise


def train_on_workers(task: Task) -> None:
    """The training on its workers; Ray Train itself never retries, Tune does."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    demand = task.demand
    workers = demand.workers if demand.min_workers is None else (demand.min_workers, demand.workers)
    resources = {"CPU": float(demand.cpus)} | ({"GPU": float(demand.gpus)} if demand.gpus else {})
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="nccl" if demand.device == "cuda" else "gloo"),
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
