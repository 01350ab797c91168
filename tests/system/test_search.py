"""A search through the command line: points drawn, poor ones stopped, the rerun that goes on, nothing left in Ray."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]
SEARCH = (
    "+experiment=search_fcos",
    "search=tpe_asha",
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
    "schedule.eval_every=3",
    "schedule.checkpoint_every=4",
    "experiment.search.trials=3",
)


def environment(folder: Path) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"HOME": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(paths)}
    return {**os.environ, **own}


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "orchestration" / "sweep.py"), *SEARCH, *overrides]


def finish(folder: Path, words: list[str]) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def runs(folder: Path) -> dict[str, Run]:
    client = MlflowClient(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fcos-lab")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({one.info.run_name for one in found}) == len(found)
    return {str(one.info.run_name): one for one in found}


def plan_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "outputs" / "search_fcos" / "plan.json").read_text())
    return values


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each training -> its summary."""
    found = {}
    for path in (folder / "outputs" / "search_fcos" / "trials").glob("*/summary.json"):
        summary = json.loads(path.read_text())["summary"]
        (name,) = summary["metrics"]
        found[name] = summary
    return found


def test_a_search_draws_trains_and_reports(tmp_path: Path) -> None:
    told = finish(tmp_path, command())
    assert "each point drawn from what earlier trainings gave" in told
    assert "highest first" in told and "# best: t" in told
    before, drawn = summaries(tmp_path), plan_of(tmp_path)["search"]["drawn"]
    assert set(before) == set(drawn) == {"t000", "t001", "t002"}
    found = runs(tmp_path)
    for name, summary in before.items():
        one = found[f"{name} seed 0"]
        assert json.loads(one.data.tags["fcos.drawn"]) == drawn[name]["keys"]
        assert one.info.status == ("FINISHED" if summary["pruned"] is None else "KILLED")
        assert one.data.tags.get("fcos.pruned") == (None if summary["pruned"] is None else str(summary["pruned"]))


@pytest.mark.slow
def test_more_trials_go_on_from_those_before(tmp_path: Path) -> None:
    finish(tmp_path, command())
    before, drawn = summaries(tmp_path), plan_of(tmp_path)["search"]["drawn"]
    again = finish(tmp_path, command("experiment.search.trials=4"))
    assert "t003 · seed 0:  starts" in again
    assert not any(f"{name} · seed 0:  starts" in again for name in before)
    assert {name: summaries(tmp_path)[name] for name in before} == before
    assert plan_of(tmp_path)["search"]["drawn"].keys() == {*drawn, "t003"}


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    longer = ("schedule.steps=120", "schedule.eval_every=30", "schedule.checkpoint_every=10", "search=tpe")
    with subprocess.Popen(
        command(*longer), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step" in line and "of 120" in line:
                process.send_signal(signal.SIGKILL)
                break
    drawn = plan_of(tmp_path)["search"]["drawn"]
    assert drawn
    finish(tmp_path, command(*longer))
    after = plan_of(tmp_path)["search"]["drawn"]
    assert {name: after[name] for name in drawn} == drawn
    ended = summaries(tmp_path)
    assert ended.keys() == {"t000", "t001", "t002"}
    assert max(summary["resumed_from"] for summary in ended.values()) > 0
    assert {one.info.status for one in runs(tmp_path).values()} == {"FINISHED"}


@pytest.mark.slow
def test_stopped_trainings_on_workers_leave_nothing_in_ray(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).parent / "search_on_workers.py"), str(tmp_path / "left.json")]
    more = ("search=asha", "cluster.ray_train=always", "cluster.workers=1", "experiment.search.trials=5")
    finish(tmp_path, [*script, *SEARCH, *more])
    left = json.loads((tmp_path / "left.json").read_text())
    # One of Tune and one of Ray Train for each training.
    assert len(left["groups"]) == 10 and set(left["groups"]) == {"REMOVED"}
    assert left["free"] == left["total"] > 0
    ended = summaries(tmp_path)
    assert len(ended) == 5
    asked = [summary for summary in ended.values() if summary["pruned"] is not None]
    assert asked and all(3 <= summary["pruned"] < 12 for summary in asked)
