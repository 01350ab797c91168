"""Which run becomes a version of a registered model, and that its weights become one version alone."""

import json
import os

import mlflow
import pytest

from fcos.storage.checkpoint_folder import digest
from fcos.storage.store_conventions import Tag, default_uri
from orchestration import register
from tests.helpers.registered import EXPERIMENT, Lab


def test_the_best_run_by_the_first_metric_becomes_a_version_with_its_alias(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = lab.write_arms()
    lab.trial("branch", 2, {"val/AP": 0.9}, status="FAILED")
    lab.trial("branch", 3, {"val/AP": 0.8}, tags={Tag.SUPERSEDED: "another"})
    lab.trial("branch", 4, {"val/AP": float("nan")})
    assert lab.register("mine", "--name", "mine") == 0
    lines = capsys.readouterr().out.splitlines()
    short = runs["branch", 0][:8]
    assert lines[0] == (
        f"mine: branch seed 0, run {short}, val/AP 0.5, the highest of 5 finished runs; 1 without a finite value have "
        "no rank"
    )
    assert lines[1] == "registered mine version 1, alias best"
    version = lab.version_of()
    assert version.run_id == runs["branch", 0] and version.status == "READY"
    assert version.tags == {
        "fcos.sweep": "mine",
        "fcos.arm": "branch",
        "fcos.seed": "0",
        "fcos.ranked_by": "val/AP",
        "fcos.ranked_value": "0.5",
        "fcos.identity": b"branch0".hex().ljust(64, "0"),
        "fcos.train_identity": "7a" * 32,
        "fcos.data_digest": "da" * 32,
        "fcos.checkpoint_sha256": digest(lab.checkpoint),
    }
    assert "on other images expect less" in str(version.description)


def test_the_model_is_an_output_of_its_run_with_its_last_evaluation(lab: Lab) -> None:
    run_id = lab.trial("branch", 0, {"val/AP": 0.5, "val/AP50": 0.7, "val/class_AP/disc": 0.4, "train/loss": 1.0})
    ended = lab.client.get_run(run_id).info.end_time
    assert lab.register("mine", "--name", "mine") == 0
    run = lab.client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended)
    (output,) = lab.outputs_of(run_id)
    model = lab.client.get_logged_model(output.model_id)
    assert (output.step, model.name, str(model.status), model.source_run_id) == (6, "detector", "READY", run_id)
    assert model.params["model.levels"] == "[3, 4]"
    assert {metric.key: metric.value for metric in model.metrics or ()} == {"val/AP": 0.5, "val/AP50": 0.7}
    # The run's own curve has no point twice.
    assert len(lab.client.get_metric_history(run_id, "val/AP")) == 1


def test_the_same_weights_are_one_version_whatever_the_name_and_the_order(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.write_arms()
    assert lab.register("mine", "--name", "mine") == 0
    capsys.readouterr()
    assert lab.register("mine", "--name", "mine") == 0
    assert "nothing new: these weights are mine version 1, alias best\n" in capsys.readouterr().out
    assert lab.register("mine", "--name", "mine", "--arm", "none") == 0
    assert lab.register("mine", "--name", "mine", "--arm", "none", "--alias", "baseline") == 0
    assert [each.tags["fcos.arm"] for each in lab.versions()] == ["branch", "none"]
    assert (lab.version_of().version, lab.version_of("baseline").version) in {("2", "2"), (2, 2)}
    capsys.readouterr()
    assert lab.register("mine", "--name", "mine") == 0
    assert "these weights are mine version 1, alias best, before version 2\n" in capsys.readouterr().out
    # Another name is another model of the same weights, which are stored once.
    assert lab.register("mine", "--name", "other") == 0
    (other,) = lab.versions("other")
    assert other.source == lab.versions()[0].source


def test_a_lower_metric_is_better_where_less_is(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    declared = {**EXPERIMENT, "metrics": ["val/score_iou/calibration_error", "val/AP"]}
    lab.store.set_tags(lab.parent, {f"{Tag.EXPERIMENT_JSON}.0": json.dumps(declared)})
    lab.trial("none", 0, {"val/score_iou/calibration_error": 0.1, "val/AP": 0.1})
    lab.trial("branch", 0, {"val/score_iou/calibration_error": 0.2, "val/AP": 0.9})
    assert lab.register("mine", "--name", "mine") == 0
    assert "none seed 0" in capsys.readouterr().out and lab.version_of().tags["fcos.arm"] == "none"


def test_a_search_is_ranked_by_its_own_metric_and_end(lab: Lab) -> None:
    declared = {**EXPERIMENT, "search": {"metric": "val/AP50", "mode": "min", "trials": 2}}
    lab.store.set_tags(lab.parent, {f"{Tag.EXPERIMENT_JSON}.0": json.dumps(declared)})
    lab.trial("t000", 0, {"val/AP": 0.1, "val/AP50": 0.5})
    lab.trial("t001", 0, {"val/AP": 0.9, "val/AP50": 0.6})
    assert lab.register("mine", "--name", "mine") == 0
    assert lab.version_of().tags["fcos.arm"] == "t000"


@pytest.mark.parametrize("how", ["name", "run id", "folder", "run id of a trial", "folder of a trial"])
def test_a_sweep_and_a_trial_have_several_names(lab: Lab, how: str) -> None:
    runs = lab.write_arms()
    folder = lab.output / "mine"
    (folder / "plan.json").write_text("{}")
    (lab.checkpoint.parents[1] / "summary.json").write_text("{}")
    what = {
        "name": "mine",
        "run id": lab.parent,
        "folder": str(folder),
        "run id of a trial": runs["branch", 0],
        "folder of a trial": str(lab.checkpoint.parents[1]),
    }[how]
    assert lab.register(what, "--name", "mine") == 0
    assert lab.version_of().run_id == runs["branch", 0]


def test_a_single_run_is_registered_by_its_name(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = lab.trial("", 3, {"val/AP": 0.5}, tags={Tag.KIND: "run", Tag.SWEEP: "alone"})
    assert lab.register("alone", "--name", "mine") == 0
    assert f"alone: run {run_id[:8]}, val/AP 0.5, the only finished run" in capsys.readouterr().out
    assert Tag.ARM not in lab.version_of().tags and Tag.SEED not in lab.version_of().tags


def test_mlflows_global_store_is_what_it_was(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/never")
    lab.trial("branch", 0, {"val/AP": 0.5})
    assert register.main(["mine", "--name", "mine", "--tracking-uri", default_uri(lab.output)]) == 0
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9/never"
    assert not mlflow.get_tracking_uri().startswith("sqlite")
