"""Which finished runs a trial may be taken from, and what is wrong with the others."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from fcos.storage import checkpoint_folder
from fcos.storage.evaluation_files import FILES
from fcos.storage.run_folder import ATTEMPTS, TRAINING_ID, MetricPoint
from fcos.training import checkpoint
from orchestration.config.schema import LabConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.planned_prefixes import held_checkpoints
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import (
    ReusableRuns,
    ReuseSource,
    dangling_links,
    find_reusable,
    find_reuse_source,
    take,
    take_all,
)
from orchestration.tracking.history import PastRun
from orchestration.trial import files
from orchestration.trial.files import ReuseRecord
from orchestration.trial.retries import Attempts, memory_tags, read_attempts
from orchestration.trial.task import MicroBatching
from tests.helpers.experiments.composed import composed, composed_into
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.experiments.summaries import summary_of

EXPERIMENT = "+experiment=ablation_centerness"


@pytest.fixture(scope="module")
def lab() -> LabConfig:
    return composed(EXPERIMENT)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    lab = composed_into(tmp_path / "here", EXPERIMENT, "experiment.seeds=[0]")
    return make_plan(lab, lambda config: ("d", ()))


def finish(trial: Trial, folder: Path, arm: str, called: str) -> PastRun:
    """A run that finished one arm of a trial under a name of its own."""
    weights = checkpoint.save(
        folder / "checkpoints", step=4, config={}, classes=(), model=nn.Linear(1, 1), averages={}, state={}
    )
    files.append_points(folder, [MetricPoint(None, "train/loss", 2, 1.5), MetricPoint(called, "val/AP", 4, 0.25)])
    picture = folder / "detections" / called / "0.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    evaluation = [f"evaluation/{called}/{name}" for name in FILES]
    for name in evaluation:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "thumbnails.zip").write_text("thumbnails")
    summary = summary_of(
        {called: {"val/AP": 0.25}},
        thumbnails="thumbnails.zip",
        pictures={called: [f"detections/{called}/0.png"]},
        evaluations={called: evaluation},
        checkpoint="checkpoints/step_00000004",
    )
    files.write_summary(folder, trial.identity, summary)
    tags = {
        "fcos.train_identity": trial.identity,
        "fcos.identity": trial.identity_of(arm),
        "fcos.arm": called,
        "fcos.sweep": "before",
        "fcos.folder": str(folder),
        "fcos.checkpoint": str(weights),
        "fcos.checkpoint_sha256": checkpoint_folder.digest(weights),
    }
    return PastRun("1234567890", tags, {}, {})


def found(plan: Plan, *runs: PastRun) -> tuple[Any, str]:
    return find_reuse_source(StoredRuns(*runs), plan.trials[0])


def test_an_arm_is_taken_under_its_new_name(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[1]
    run = finish(trial, tmp_path / "there", "branch", "with_branch")
    source, problem = find_reuse_source(StoredRuns(run), trial)
    assert source is not None and problem == ""
    folder = plan.folder_of(trial)
    take(trial, source, folder)
    assert files.read_points(folder) == [(None, "train/loss", 2, 1.5), ("branch", "val/AP", 4, 0.25)]
    summary = plan.summary_of(trial)
    assert summary is not None and summary.metrics == {"branch": {"val/AP": 0.25}}
    assert (folder / summary.pictures["branch"][0]).read_bytes() == b"png"
    assert summary.evaluations == {"branch": tuple(f"evaluation/branch/{name}" for name in FILES)}
    assert (folder / summary.thumbnails).read_text() == "thumbnails"
    for name in FILES:
        assert (folder / "evaluation" / "branch" / name).read_text() == f"evaluation/with_branch/{name}"
    assert checkpoint_folder.newest_step(folder / "checkpoints") == 4
    assert files.read_reused(folder) == ReuseRecord("1234567890", "before", {"branch": "1234567890"})


def test_a_copy_records_smaller_micro_batches_and_lends_no_first_steps(plan: Plan, tmp_path: Path) -> None:
    """Of its copies too: a checkpoint of other micro-batches is no state that other trainings may begin from."""
    trial, there = plan.trials[1], tmp_path / "there"
    run = finish(trial, there, "branch", "branch")
    files.write_json(there / ATTEMPTS, {"command": "c", "failures": 1, "halved": True, "accumulate": 4})
    for name in ("once", "twice"):
        source, _ = find_reuse_source(StoredRuns(run), trial)
        assert source is not None
        take(trial, source, tmp_path / name)
        assert read_attempts(tmp_path / name) == Attempts(accumulate=4)
        assert memory_tags(tmp_path / name, MicroBatching.of(trial.config))["fcos.accumulate"] == "4"
        assert checkpoint_folder.newest_step(tmp_path / name / "checkpoints") == 4
        assert held_checkpoints(tmp_path / name) == {}
        copy = {**run.tags, "fcos.folder": str(tmp_path / name), "fcos.training_id": files.training_id(tmp_path / name)}
        run = PastRun("1234567891", copy, {}, {})


def test_notes_of_all_trainings_that_evaluations_come_from_are_kept(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[0]
    runs = [finish(trial, tmp_path / arm, arm, arm) for arm in trial.arms]
    assert len(runs) == 2
    for arm, run in zip(trial.arms, runs, strict=True):
        summary = files.load_summary(tmp_path / arm)
        files.write_summary(tmp_path / arm, trial.identity, summary.model_copy(update={"notes": (f"of {arm}", "both")}))
        assert run.tags["fcos.folder"] == str(tmp_path / arm)
    source, _ = find_reuse_source(StoredRuns(*runs), trial)
    assert source is not None and set(source.evaluated) == set(trial.arms)
    take(trial, source, plan.folder_of(trial))
    taken = plan.summary_of(trial)
    first, second = trial.arms
    assert taken is not None and taken.notes == (f"of {first}", "both", f"of {second}")


def test_weights_are_enough_for_an_arm_that_was_never_evaluated(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[0]
    source, _ = found(plan, finish(trial, tmp_path / "there", "none", "none"))
    assert set(source.evaluated) == {"none"}
    take(trial, source, plan.folder_of(trial))
    assert plan.summary_of(trial) is None
    assert checkpoint_folder.newest_step(plan.folder_of(trial) / "checkpoints") == 4


def test_weights_without_an_average_that_is_yet_to_be_evaluated_are_not_taken(tmp_path: Path) -> None:
    words = ["+experiment=ablation_weight_average", "experiment.seeds=[0]", f"output={tmp_path / 'here'}"]
    (trial,) = make_plan(composed(*words), lambda config: ("d", ())).trials
    run = finish(trial, tmp_path / "there", "last_weights", "last_weights")
    source, problem = find_reuse_source(StoredRuns(run), trial)
    assert source is None
    assert problem == "run 12345678 of before: its checkpoint lacks the moving average of schedule.ema=0.99, 0.999"


@pytest.mark.parametrize("damage", ["weights", "manifest", "folder", "summary"])
def test_what_does_not_verify_is_not_taken(plan: Plan, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "there"
    run = finish(plan.trials[0], folder, "none", "none")
    weights = folder / "checkpoints" / "step_00000004"
    match damage:
        case "weights":
            (weights / "model.safetensors").write_bytes(b"other")
        case "manifest":
            manifest = json.loads((weights / "manifest.json").read_text())
            (weights / "manifest.json").write_text(json.dumps(manifest))
        case "folder":
            folder.rename(tmp_path / "moved")
        case "summary":
            (folder / "summary.json").unlink()
    source, problem = found(plan, run)
    assert source is None
    assert problem.startswith("run 12345678 of before: ")


def test_a_run_of_an_older_version_is_taken_without_an_evaluation(plan: Plan, tmp_path: Path) -> None:
    trial, origin = plan.trials[1], tmp_path / "there"
    run = finish(trial, origin, "branch", "branch")
    summary = files.load_summary(origin).model_copy(update={"evaluations": {}})
    files.write_summary(origin, trial.identity, summary)
    source, _ = find_reuse_source(StoredRuns(run), trial)
    assert source is not None
    take(trial, source, plan.folder_of(trial))
    taken = plan.summary_of(trial)
    assert taken is not None and taken.evaluations == {}


def test_a_summary_that_names_an_evaluation_elsewhere_is_no_result(plan: Plan, tmp_path: Path) -> None:
    trial, origin = plan.trials[0], tmp_path / "there"
    run = finish(trial, origin, "none", "none")
    summary = files.load_summary(origin).model_copy(update={"evaluations": {"none": ("../../secret",)}})
    files.write_summary(origin, trial.identity, summary)
    source, problem = found(plan, run)
    assert source is None and "holds no summary" in problem


@contextmanager
def as_somebody_else(path: Path) -> Iterator[None]:
    """Let a path be closed to this process, which may be root's."""
    mode = path.stat().st_mode
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(12345)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "summary.json",
        "points.jsonl",
        "detections/none/0.png",
        "evaluation/none/results.json.gz",
        "checkpoints/step_00000004/model.safetensors",
    ],
)
def test_what_another_user_may_not_read_is_not_taken_with_the_reason(plan: Plan, name: str) -> None:
    # Below a folder that everybody may pass through.
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        folder = Path(open_to_all) / "there"
        run = finish(plan.trials[0], folder, "none", "none")
        for file in folder.rglob("*"):
            file.chmod(0o755)
        with as_somebody_else(folder / name):
            source, problem = found(plan, run)
    assert source is None and "cannot be read (Permission denied)" in problem


def test_a_folder_that_holds_another_training_by_now_is_not_taken(plan: Plan, tmp_path: Path) -> None:
    run = finish(plan.trials[0], tmp_path / "there", "none", "none")
    (tmp_path / "there" / TRAINING_ID).write_text("anew\n")
    source, problem = found(plan, run)
    assert source is None and "holds another training of the same identity" in problem


def finished_copy(plan: Plan, origin: Path) -> Path:
    """The folder of a trial that took everything from `origin`."""
    trial = plan.trials[1]
    source, _ = find_reuse_source(StoredRuns(finish(trial, origin, "branch", "branch")), trial)
    assert source is not None
    folder = plan.folder_of(trial)
    take(trial, source, folder)
    return folder


def test_links_to_weights_lead_on_where_outputs_are_moved_as_a_whole(plan: Plan, tmp_path: Path) -> None:
    finished_copy(plan, tmp_path / "here" / "first")
    (tmp_path / "here").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / plan.folder_of(plan.trials[1]).relative_to(tmp_path / "here")
    assert checkpoint_folder.newest_step(moved / "checkpoints") == 4


def test_dangling_links_lead_to_the_same_weights_elsewhere_or_go(lab: LabConfig, plan: Plan, tmp_path: Path) -> None:
    folder = finished_copy(plan, tmp_path / "first")
    trial, before = plan.trials[1], plan.summary_of(plan.trials[1])
    (tmp_path / "first").rename(tmp_path / "second")
    link = folder / "checkpoints" / "step_00000004"
    assert dangling_links(folder) == [link]
    tags = {
        "fcos.folder": str(tmp_path / "second"),
        "fcos.checkpoint": str(tmp_path / "second" / "checkpoints" / link.name),
    }
    source = ReuseSource(PastRun("2", tags, {}, {}), {})
    take_all(lab, plan, plan.trials, ReusableRuns(None, sources={trial.identity: source}))
    assert link.is_symlink() and checkpoint_folder.newest_step(folder / "checkpoints") == 4
    (tmp_path / "second").rename(tmp_path / "third")
    take_all(lab, plan, plan.trials, ReusableRuns(None))
    assert dangling_links(folder) == [] and plan.summary_of(trial) == before is not None


def test_a_training_that_rested_on_a_link_to_nowhere_begins_anew(lab: LabConfig, plan: Plan, tmp_path: Path) -> None:
    folder = finished_copy(plan, tmp_path / "first")
    # As with an arm more, which has yet to be evaluated.
    (folder / "summary.json").unlink()
    before = files.training_id(folder)
    shutil.rmtree(tmp_path / "first")
    take_all(lab, plan, plan.trials, ReusableRuns(None))
    assert before and not folder.exists()


def test_a_copy_is_taken_where_the_original_is_gone(plan: Plan, tmp_path: Path) -> None:
    gone = PastRun("gone", {"fcos.train_identity": plan.trials[0].identity, "fcos.folder": "/nowhere"}, {}, {})
    run = finish(plan.trials[0], tmp_path / "there", "none", "none")
    source, _ = found(plan, gone, run)
    assert source.trained is run


def test_without_a_store_nothing_is_queried_and_nothing_made(plan: Plan, tmp_path: Path) -> None:
    lab = composed_into(tmp_path / "here", EXPERIMENT)
    past = find_reusable(lab, plan)
    assert (past.history, past.sources, past.note) == (None, {}, "")
    assert not (tmp_path / "here").exists()
