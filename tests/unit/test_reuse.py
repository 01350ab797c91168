"""Which finished runs a trial may be taken from, and what is wrong with the others."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from fcos import checkpoint
from orchestration import trial_files
from orchestration.command_line import check_overrides
from orchestration.config import compose
from orchestration.experiment import Trial
from orchestration.history import PastRun
from orchestration.planning import Plan, make_plan
from orchestration.reuse import find_source, look_back, take

EXPERIMENT = "+experiment=ablation_centerness"


class Store:
    """Holds a few finished runs."""

    def __init__(self, *runs: PastRun) -> None:
        self._runs = runs

    def of_training(self, identity: str) -> list[PastRun]:
        return [run for run in self._runs if run.tags["fcos.train_identity"] == identity]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    lab = compose(check_overrides([EXPERIMENT, "experiment.seeds=[0]", f"output={tmp_path / 'here'}"]))
    return make_plan(lab, lambda config: ("d", ()))


def finish(trial: Trial, folder: Path, arm: str, called: str) -> PastRun:
    """A run that finished one arm of a trial under a name of its own."""
    weights = checkpoint.save(
        folder / "checkpoints", step=4, config={}, classes=(), model=nn.Linear(1, 1), ema=None, state={}
    )
    trial_files.append_points(folder, [[None, "train/loss", 2, 1.5], [called, "val/AP", 4, 0.25]])
    picture = folder / "detections" / called / "0.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"png")
    summary = {
        "metrics": {called: {"val/AP": 0.25}},
        "pictures": {called: [f"detections/{called}/0.png"]},
        "checkpoint": "checkpoints/step_00000004",
    }
    trial_files.write_summary(folder, trial.identity, summary)
    tags = {
        "fcos.train_identity": trial.identity,
        "fcos.identity": trial.identity_of(arm),
        "fcos.arm": called,
        "fcos.sweep": "before",
        "fcos.folder": str(folder),
        "fcos.checkpoint": str(weights),
        "fcos.checkpoint_sha256": checkpoint.digest(weights),
    }
    return PastRun("1234567890", tags, {}, {})


def found(plan: Plan, *runs: PastRun) -> tuple[Any, str]:
    return find_source(Store(*runs), plan.trials[0])  # type: ignore[arg-type]


def test_an_arm_is_taken_under_its_new_name(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[1]
    run = finish(trial, tmp_path / "there", "branch", "with_branch")
    source, problem = find_source(Store(run), trial)  # type: ignore[arg-type]
    assert source is not None and problem == ""
    folder = plan.folder_of(trial)
    take(trial, source, folder)
    assert trial_files.read_points(folder) == {(None, "train/loss", 2): 1.5, ("branch", "val/AP", 4): 0.25}
    summary = plan.summary_of(trial)
    assert summary is not None and summary["metrics"] == {"branch": {"val/AP": 0.25}}
    assert (folder / summary["pictures"]["branch"][0]).read_bytes() == b"png"
    assert checkpoint.newest_step(folder / "checkpoints") == 4
    assert trial_files.read_reused(folder) == {
        "trained_by": "1234567890",
        "sweep": "before",
        "arms": {"branch": "1234567890"},
    }


def test_weights_are_enough_for_an_arm_that_was_never_evaluated(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[0]
    source, _ = found(plan, finish(trial, tmp_path / "there", "none", "none"))
    assert set(source.evaluated) == {"none"}
    take(trial, source, plan.folder_of(trial))
    assert plan.summary_of(trial) is None
    assert checkpoint.newest_step(plan.folder_of(trial) / "checkpoints") == 4


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


def test_a_copy_is_taken_where_the_original_is_gone(plan: Plan, tmp_path: Path) -> None:
    gone = PastRun("gone", {"fcos.train_identity": plan.trials[0].identity, "fcos.folder": "/nowhere"}, {}, {})
    run = finish(plan.trials[0], tmp_path / "there", "none", "none")
    source, _ = found(plan, gone, run)
    assert source.trained is run


def test_without_a_store_nothing_is_asked_and_nothing_made(plan: Plan, tmp_path: Path) -> None:
    lab = compose(check_overrides([EXPERIMENT, f"output={tmp_path / 'here'}"]))
    past = look_back(lab, plan)
    assert (past.history, past.sources, past.note) == (None, {}, "")
    assert not (tmp_path / "here").exists()
