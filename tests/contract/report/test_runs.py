"""Sweeps are read as the tags of their runs describe them, and what is missing is named."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import Metric

from analysis.reader.client import StoreError, read_artifact
from analysis.reader.runs import read_sweep, read_sweeps_with_paper_rows
from tests.helpers.experiments.stored_sweeps import HOSTILE, SweepWriter


def test_trials_have_arm_seed_status_params_and_failure(writer: SweepWriter, centerness: str) -> None:
    sweep = read_sweep(writer.uri, "centerness")
    assert sweep.run_id == centerness
    trials = {(trial.arm, trial.seed): trial for trial in sweep.trials}
    assert len(sweep.trials) == len(trials) == 9
    assert trials[HOSTILE, 2].status == "FAILED"
    assert trials[HOSTILE, 2].failure.startswith("non-finite loss at step 700")
    params = trials["none", 0].params
    assert (params["schedule.steps"], params["schedule.milestones"]) == (1200, [])
    assert params["data.short_sides"] is None
    assert params["model.backbone.name"] == "small_resnet"


def test_a_sweep_is_found_by_its_run_id(writer: SweepWriter, centerness: str) -> None:
    assert read_sweep(writer.uri, centerness).name == "centerness"


@pytest.mark.parametrize(("tag", "text"), [("fcos.seed", "three"), ("fcos.drawn", "none"), ("fcos.drawn", "[1]")])
def test_a_run_whose_tag_was_edited_is_left_out_with_a_note(writer: SweepWriter, tag: str, text: str) -> None:
    name = f"edited {tag} {text}"
    parent = writer.write_sweep(name, name, {"none": [0.1, 0.2]})
    broken = writer.write_trial(name, parent, "branch", 0, 0.4)
    writer.client.set_tag(broken, tag, text)
    sweep = read_sweep(writer.uri, parent)
    assert [(trial.arm, trial.seed) for trial in sweep.trials] == [("none", 0), ("none", 1)]
    (note,) = [note for note in sweep.notes if broken in note]
    assert note.startswith(f"Run {broken} is left out: its tag {tag}={text} is no ")


def test_without_a_name_the_newest_sweep_is_read(writer: SweepWriter) -> None:
    writer.write_sweep("latest", "older", {"none": [0.1]}, start=1_700_000_000_000)
    writer.write_sweep("latest", "newer", {"none": [0.1]}, start=1_700_000_500_000)
    assert read_sweep(writer.uri, None, "latest").name == "newer"


def test_of_several_sweeps_with_one_name_the_newest_is_read_with_a_note(writer: SweepWriter) -> None:
    writer.write_sweep("twins", "twin", {"none": [0.1]}, start=1_700_000_000_000)
    second = writer.write_sweep("twins", "twin", {"none": [0.1]}, start=1_700_000_500_000)
    sweep = read_sweep(writer.uri, "twin")
    assert sweep.run_id == second
    assert any("2 sweeps in the store are named twin" in note for note in sweep.notes)


def test_the_last_write_of_a_point_wins(writer: SweepWriter) -> None:
    parent = writer.write_sweep("points", "points", {})
    run_id = writer.write_trial("points", parent, "none", 0, 0.4)
    again = [Metric("val/AP", 0.3, 1_770_000_000_000, 600), Metric("val/AP", 0.2, 1_770_000_000_001, 600)]
    writer.client.log_batch(run_id, [*again, Metric("train/loss", math.inf, 1_770_000_000_000, 1300)])
    points = read_sweep(writer.uri, "points").points.set_index(["run_id", "key", "step"])["value"]
    assert points.index.is_unique
    assert points[(run_id, "val/AP", 600)] == 0.2
    assert points[(run_id, "train/loss", 1300)] == math.inf


def test_a_second_attempt_supersedes_the_failed_first_one(writer: SweepWriter) -> None:
    parent = writer.write_sweep("retry", "retry", {"none": [None]})
    again = writer.write_trial("retry", parent, "none", 0, 0.4, start=1_770_000_000_000)
    sweep = read_sweep(writer.uri, "retry")
    assert [trial.run_id for trial in sweep.current] == [again]
    assert len(sweep.trials) == 2


def test_a_later_failure_does_not_hide_a_finished_trial(writer: SweepWriter) -> None:
    parent = writer.write_sweep("late", "late", {"none": [0.4]})
    writer.write_trial("late", parent, "none", 0, None, start=1_770_000_000_000)
    assert [trial.status for trial in read_sweep(writer.uri, "late").current] == ["FINISHED"]


def test_an_experiment_that_cannot_be_read_costs_no_other_sweep_its_rows(tmp_path: Path) -> None:
    writer = SweepWriter(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    writer.write_sweep("rows", "whole", {"none": [0.4]})
    broken = writer.write_sweep("rows", "broken", {"none": [0.4]})
    writer.client.log_text(broken, "7", "experiment.json")
    sweeps, notes = read_sweeps_with_paper_rows(writer.uri)
    assert [sweep.name for sweep in sweeps] == ["whole"]
    assert notes == ["experiment.json of broken cannot be fetched or read: rows that it names are missing."]


def test_a_single_run_is_a_sweep_of_one_trial(writer: SweepWriter) -> None:
    experiment_id = writer.experiment_id("single")
    tags = {"fcos.kind": "run", "fcos.seed": "7", "fcos.data": "synthetic"}
    run_id = writer.client.create_run(experiment_id, start_time=1, tags=tags, run_name="my run").info.run_id
    writer.client.log_metric(run_id, "val/AP", 0.31, step=100)
    writer.client.set_terminated(run_id)
    sweep = read_sweep(writer.uri, "my run")
    assert (sweep.kind, len(sweep.trials), sweep.experiment.seeds) == ("run", 1, [7])
    assert list(sweep.points["value"]) == [0.31]


def test_a_missing_store_is_named_and_not_created(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(StoreError, match=r"no tracking store at sqlite:.*no such file"):
        read_sweep(uri)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but some text that is long enough\n" * 50)
    with pytest.raises(StoreError, match="cannot be read"):
        read_sweep(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="holds no MLflow tables"):
        read_sweep(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_misspelt_sweep_gets_near_matches(writer: SweepWriter, centerness: str) -> None:
    with pytest.raises(StoreError, match=r"no sweep 'centernes'.*did you mean centerness"):
        read_sweep(writer.uri, "centernes")


def test_a_store_without_sweeps_is_refused(writer: SweepWriter) -> None:
    writer.experiment_id("nothing here")
    with pytest.raises(StoreError, match="no sweep in the tracking store sqlite:"):
        read_sweep(writer.uri, None, "nothing here")


def test_an_unknown_mlflow_experiment_gets_near_matches(writer: SweepWriter, centerness: str) -> None:
    with pytest.raises(StoreError, match=r"no MLflow experiment 'mian'.*did you mean main"):
        read_sweep(writer.uri, None, "mian")


def test_a_broken_experiment_file_names_the_run(writer: SweepWriter) -> None:
    parent = writer.write_sweep("broken", "broken", {}, experiment={"arms": 3})
    with pytest.raises(StoreError, match=f"experiment.json of run {parent}"):
        read_sweep(writer.uri, "broken")


def test_a_missing_artifact_is_none(writer: SweepWriter, centerness: str) -> None:
    assert read_artifact(writer.uri, centerness, "no/such.file") is None
