"""A sweep through the command line, as a person runs it: its numbers, its rerun, its stop, its failures."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.reader.client import read_artifact
from analysis.reader.evaluation import read_evaluation
from fcos.evaluation.coco import result_metrics
from fcos.evaluation.saved.saved_evaluation import parse_evaluation
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import ProgressRecord
from fcos.storage.store_conventions import Artifact
from fcos.storage.thumbnail_files import THUMBNAILS
from fcos.training_run import run
from orchestration.cli.lock import lock_folder
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.processors import usable_cpus
from orchestration.planning.make_plan import make_plan
from tests.helpers.experiments.sweeps import (
    ROOT,
    TINY,
    TRAIN,
    client,
    finished,
    points,
    runs,
    start,
    statuses,
    sweep,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE, wait_until

ABLATION = ("+experiment=ablation_centerness", "experiment.seeds=[0]", *TINY)


def ablation(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return sweep(folder, *ABLATION, *arguments)


def points_of(folder: Path, name: str, sweep_name: str = "ablation_centerness") -> list[tuple[str, int, float]]:
    """All points of a run, sorted; speeds left out."""
    return points(runs(folder, sweep_name)[name], client(folder))


ARMS = ("none seed 0", "from_regression seed 0", "branch seed 0")


def without_ray(folder: Path) -> dict[str, list[tuple[str, int, float]]]:
    """The same trainings by the loop alone: arm -> its points."""
    lab = compose(check_overrides([*ABLATION, f"data.cache_dir={folder / 'cache'}"]))
    found: dict[str, list[tuple[str, int, float]]] = {}
    for trial in make_plan(lab, lambda config: ("digest", ())).trials:
        reported: list[Any] = []

        def on_report(record: ProgressRecord, reported: list[Any] = reported) -> None:
            reported.extend(record.points)

        runtime = LocalRuntime(folder / trial.short, torch.device("cpu"), on_report)
        run(trial.config, runtime, trial.arms)
        for arm in trial.arms:
            own = [(name, step, value) for who, name, step, value in reported if who in (None, arm)]
            found[arm] = sorted(point for point in own if point[0] != "train/images_per_second")
    return found


def test_ray_and_no_ray_give_the_same_numbers_and_a_rerun_trains_nothing(tmp_path: Path) -> None:
    here, workers = tmp_path / "here", tmp_path / "workers"
    for folder, way in ((here, "auto"), (workers, "always")):
        folder.mkdir()
        done = ablation(folder, f"cluster.ray_train={way}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 trainings, 3 results" in done.stdout
        assert "report.html" in done.stdout
        assert statuses(folder) == dict.fromkeys(("ablation_centerness", *ARMS), "FINISHED")
    found, twins = runs(here), runs(workers)
    for arm in ARMS:
        assert points_of(here, arm) == points_of(workers, arm)
        assert {name for name, _, _ in points_of(here, arm)} >= {"train/loss", "val/AP", "val/AR100"}
    alone = without_ray(tmp_path)
    assert {f"{arm} seed 0": values for arm, values in alone.items()} == {arm: points_of(here, arm) for arm in ARMS}
    assert (
        found["none seed 0"].data.tags["fcos.train_identity"] == twins["none seed 0"].data.tags["fcos.train_identity"]
    )
    assert found["from_regression seed 0"].data.tags["fcos.trained_by"] == found["none seed 0"].info.run_id

    uri = f"sqlite:///{here / 'outputs' / 'mlflow.db'}"
    for arm in ARMS:
        files = read_evaluation(uri, found[arm].info.run_id)
        assert files is not None
        saved = parse_evaluation(files, Path(arm))
        numbers = result_metrics(saved.annotations, saved.results)
        assert numbers["val/AP"] > 0
        assert numbers.items() <= {name: value for name, step, value in points_of(here, arm) if step == 12}.items()
    # Once for the training that the first two arms share.
    stored = [read_artifact(uri, found[arm].info.run_id, f"{Artifact.EVALUATION}/{THUMBNAILS}") for arm in ARMS]
    assert [content is None for content in stored] == [False, True, False]
    explorer = (here / "outputs" / "ablation_centerness" / "report" / "explorer.html").read_text()
    assert explorer.count('"thumbnail":"data:image/jpeg;base64,') == 6

    before = {arm: points_of(here, arm) for arm in ARMS}
    again = ablation(here, "report=false")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "report=false: for the report, python analysis/report.py ablation_centerness" in " ".join(
        again.stdout.split()
    )
    assert "starts" not in again.stdout
    assert {arm: points_of(here, arm) for arm in ARMS} == before

    other = ablation(here, "schedule.steps=13")
    assert other.returncode == 2
    assert "schedule.steps: 12 -> 13" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_leaves_nothing_running_and_the_same_command_finishes_it(
    tmp_path: Path, hold: Hold, number: signal.Signals, code: int
) -> None:
    longer = ("schedule.steps=40", "schedule.eval_every=40", "schedule.checkpoint_every=10", "report=false")
    hold.at(20)
    with start(tmp_path, *ABLATION, *longer) as process:
        wait_for(hold.held, process)
        # As a terminal does: the whole group hears Ctrl-C.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        # No training gets on meanwhile: the sweep does not wait for one.
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, errors
        assert "received at" not in errors, "a stack that Ray's own handler prints"
    assert "stopped; the same command goes on" in errors
    assert "Traceback" not in errors
    assert set(statuses(tmp_path).values()) == {"KILLED"}

    wait_until(lambda: not hold.held())
    hold.release()
    done = ablation(tmp_path, *longer)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(statuses(tmp_path).values()) == {"FINISHED"}
    for arm in ARMS:
        steps = [(name, step) for name, step, _ in points_of(tmp_path, arm)]
        assert len(steps) == len(set(steps))
        assert [step for name, step in steps if name == "train/loss"] == list(range(2, 41, 2))
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/*/trials/*/summary.json")]
    assert max(summary["summary"]["resumed_from"] for summary in summaries) == 20


@pytest.mark.slow
def test_a_training_that_diverges_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    done = ablation(tmp_path, "experiment.arms.branch.schedule.lr=1e30")
    assert done.returncode == 1, done.stdout + done.stderr
    found = runs(tmp_path)
    assert {name: one.info.status for name, one in found.items()} == {
        "ablation_centerness": "FAILED",
        "none seed 0": "FINISHED",
        "from_regression seed 0": "FINISHED",
        "branch seed 0": "FAILED",
    }
    failure = found["branch seed 0"].data.tags["fcos.failure"]
    assert failure.splitlines()[0] in done.stdout
    assert "Traceback" not in failure + done.stdout + done.stderr


@pytest.mark.slow
def test_a_single_run_on_two_workers(tmp_path: Path) -> None:
    if usable_cpus() < 2:
        pytest.skip("needs two processors")
    finished(tmp_path, *TINY, "cluster.workers=2", entry=TRAIN)
    (folder,) = (tmp_path / "outputs").glob("run-*")
    (name, run), *others = runs(tmp_path, folder.name).items()
    assert not others
    assert run.info.status == "FINISHED"
    assert run.data.tags["fcos.kind"] == "run"
    assert name == f"run-{run.data.tags['fcos.train_identity'][:8]}"
    assert Path(run.data.tags["fcos.checkpoint"]).is_dir()
    assert [step for key, step, _ in points(run, client(tmp_path)) if key == "val/AP"] == [6, 12]


COVERAGE = (
    "task=coverage",
    "experiment={name: shared, seeds: [0], metrics: [coverage/bpr], arms: {"
    "anchors: {coverage.assignment: retinanet, coverage.low_quality: none}, "
    "searched: {coverage.search_ranges: true, model.assignment.locations: torchvision}}}",
    "model.assignment.center_sampling_radius=0.5",
    *(word for word in TINY if word.startswith("data.")),
)


@pytest.mark.slow
def test_coverage_on_two_workers_is_that_of_one(tmp_path: Path) -> None:
    if usable_cpus() < 2:
        pytest.skip("needs two processors")
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, workers in ((one, 1), (two, 2)):
        folder.mkdir()
        assert "report.html" in finished(folder, *COVERAGE, f"cluster.workers={workers}")
    for arm in ("anchors seed 0", "searched seed 0"):
        assert points_of(one, arm, "shared") == points_of(two, arm, "shared")
        identity = runs(one, "shared")[arm].data.tags["fcos.train_identity"]
        assert identity == runs(two, "shared")[arm].data.tags["fcos.train_identity"]
        for name in ("coverage.json", "unrecalled.csv"):
            path = f"outputs/shared/trials/{identity[:16]}/{name}"
            assert (one / path).read_bytes() == (two / path).read_bytes()
            assert len((one / path).read_text().splitlines()) > 1
        assert (two / path).with_name("maps").is_dir() == (arm == "searched seed 0")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "outputs" / "ablation_centerness", datetime.now().isoformat()):
        done = ablation(tmp_path)
    assert done.returncode == 3
    assert f"in use by process {os.getpid()}" in done.stderr
    assert not (tmp_path / "outputs" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=ablation_centernes"], "no such experiment; did you mean ablation_centerness "),
        (["cluster.workers=1000"], "needs 1000 workers x 1 CPU = 1000 CPU, but the machine has"),
        (["data=coco", "data.root=nowhere"], "nowhere: no such folder"),
    ],
)
def test_a_mistake_ends_with_one_message_before_anything_starts(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    # The drawn data set's settings have no place beside another one.
    small = [word for word in ABLATION if "data=coco" not in arguments or not word.startswith("data.synthetic")]
    done = sweep(tmp_path, *small, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_shows_the_plan_and_trains_nothing(tmp_path: Path) -> None:
    done = ablation(tmp_path, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "2 trainings, 3 results" in done.stdout
    assert "none, from_regression" in done.stdout
    assert not (tmp_path / "outputs").exists()


def test_help_is_light() -> None:
    code = (
        "import runpy, sys; sys.argv = ['sweep.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'orchestration' / 'sweep.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "ablation_centerness" in done.stdout
