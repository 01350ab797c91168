"""Tiny sweeps as a person starts them, and what they leave in the tracking store."""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.helpers.processes.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[3]
TINY = (
    "model.backbone.widths=[16,16,16,16,16]",
    "model.fpn.channels=16",
    "model.head.num_convs=1",
    "data.synthetic.image_size=64",
    "data.synthetic.train_images=24",
    "data.synthetic.val_images=6",
    "data.synthetic.object_size=[10,40]",
    "data.cache_dir=cache",
    "schedule.steps=12",
    "schedule.warmup_steps=2",
    "schedule.log_every=2",
    "schedule.eval_every=6",
    "schedule.checkpoint_every=4",
)
# One training with two evaluations.
SHARED = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0]",
    "~experiment.arms.branch",
    "~experiment.paper.branch",
    *TINY,
)


SWEEP = ROOT / "orchestration" / "sweep.py"
TRAIN = ROOT / "orchestration" / "train.py"


def pair_words(steps: int, interval: int, log: int) -> tuple[str, ...]:
    """A sweep of two trainings, arms none and branch with one seed, which are evaluated at their end alone.

    interval: steps between checkpoints; log: between two points of the loss.
    """
    return (
        "+experiment=ablation_centerness",
        "experiment.seeds=[0]",
        "~experiment.arms.from_regression",
        "~experiment.paper.from_regression",
        *TINY,
        f"schedule.steps={steps}",
        f"schedule.eval_every={steps}",
        f"schedule.checkpoint_every={interval}",
        f"schedule.log_every={log}",
    )


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start(folder: Path, *arguments: str, entry: Path = SWEEP) -> subprocess.Popen[str]:
    """A sweep in a process group of its own, which ends with the tests at the latest."""
    process = subprocess.Popen(
        [sys.executable, str(entry), *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Ctrl-C does not reach a group of its own.
    atexit.register(end_group, process)
    return process


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process of `start` and those of its group where it still runs; Ray's own end with it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def sweep(folder: Path, *arguments: str, entry: Path = SWEEP) -> subprocess.CompletedProcess[str]:
    with start(folder, *arguments, entry=entry) as process:
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            # Where the tests are interrupted, or the sweep hangs.
            end_group(process)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def finished(folder: Path, *arguments: str, entry: Path = SWEEP) -> str:
    """What a sweep that ends well prints."""
    done = sweep(folder, *arguments, entry=entry)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")


def runs(folder: Path, name: str = "ablation_centerness", store: MlflowClient | None = None) -> dict[str, Run]:
    """The runs of a sweep that none superseded by name, which is theirs alone."""
    store = store or client(folder)
    experiments = [experiment.experiment_id for experiment in store.search_experiments()]
    every = store.search_runs(experiments, f"tags.`fcos.sweep` = '{name}'")
    found = [one for one in every if "fcos.superseded_by" not in one.data.tags]
    assert len({one.info.run_name for one in found}) == len(found)
    return {str(one.info.run_name): one for one in found}


def statuses(folder: Path, name: str = "ablation_centerness") -> dict[str, str]:
    return {key: one.info.status for key, one in runs(folder, name).items()}


def points(one: Run, store: MlflowClient) -> list[tuple[str, int, float]]:
    """All points of a run, sorted; speeds and what its machine measured left out."""
    return sorted(
        (key, point.step, point.value)
        for key in set(one.data.metrics) - {"train/images_per_second"}
        if not key.startswith("system/")
        for point in store.get_metric_history(one.info.run_id, key)
    )


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for something to happen while a process runs; its end ends the wait too."""
    wait_until(lambda: happened() or process.poll() is not None)


def trials_of(folder: Path, name: str = "ablation_centerness") -> list[Path]:
    return sorted((folder / "outputs" / name / "trials").glob("*"))


def started(folder: Path, name: str = "ablation_centerness") -> list[Path]:
    """Folders of the trainings that have begun: all that are planned have one."""
    return [trial for trial in trials_of(folder, name) if (trial / "log.txt").exists()]


def loss_steps(trial: Path) -> list[int]:
    """Steps of the losses that a training reported, all attempts in the order of writing."""
    try:
        lines = (trial / "points.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    steps = []
    for line in lines:
        try:
            _, key, step, _ = json.loads(line)
        except ValueError:
            # Cut short by a kill.
            continue
        if key == "train/loss":
            steps.append(step)
    return steps


def training_processes(trial: Path) -> list[int]:
    """Processes that write a training's log."""
    found = []
    for handles in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(str(handle.readlink()) == str(trial / "log.txt") for handle in handles.iterdir()):
                found.append(int(handles.parent.name))
    return found
