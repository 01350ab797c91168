"""What commands record of a sweep, and what the texts for a paper say of it: settings, plan, hours."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from analysis import publish
from orchestration.planning.spent import SPENT
from tests.helpers.experiments.published import unpack
from tests.helpers.experiments.recorded_sweeps import record_sweep
from tests.helpers.experiments.stored_sweeps import SweepWriter

RunPaper = Callable[..., int]
NAME = "ablation_centerness"
GIVEN = (f"+experiment={NAME}", "experiment.until=seeds")


def value(arm: str, seed: int) -> float | None:
    return None if (arm, seed) == ("branch", 1) else 0.3 + 0.01 * seed + 0.05 * (arm == "branch")


def read(run_paper: RunPaper, writer: SweepWriter, folder: Path) -> dict[str, str]:
    """Return the files for a paper by name."""
    assert run_paper(NAME, "--tracking-uri", writer.uri, "--output", folder / "out") == 0
    return {path.name: path.read_text() for path in (folder / "out").iterdir()}


def test_settings_seeds_and_hours_are_those_that_were_recorded(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / SPENT).write_text(json.dumps({"wall": 1.5, "cpu": 3.25, "gpu": 0}))
    record_sweep(own_writer, tmp_path, *GIVEN, "experiment.seeds=[0,1,2]", value=value)
    files = read(run_paper, own_writer, tmp_path)
    methods = files["methods.md"]
    assert "The detector is FCOS with the backbone small_resnet, pretrained weights: none, " in methods
    assert "quality output none or centerness (by arm)" in methods
    assert "Each training takes 450 steps of 8 images, optimizer adamw" in methods
    assert "branch: model.head.quality=centerness and model.postprocess.quality=branch." in methods
    assert "1500 images to train on and 300 to validate on" in methods
    assert "The training split has 1500 images with 4321 boxes, 12 of them ignored as crowds, of 2 classes." in methods
    assert "The validation split has 300 images with 876 boxes, of 2 classes." in methods
    assert "A seed sets the initial weights, the order of the training images and the augmentation;" in methods
    assert "Without a result: branch seed 1, failed (loss is not finite at step 61, see &lt;folder&gt;)" in methods
    assert "Not recorded" not in methods
    checklist = files["checklist.md"]
    assert f"By its own count over all commands {NAME} took 1.50 hours of wall time, 3.25 CPU-hours" in checklist
    assert "Each of 5 trainings took 1.50 to 1.50, median 1.50 minutes." in checklist
    assert "Trainings behind the reported numbers: 5 trainings, 0.125 hours, 0.125 CPU-hours, 0 GPU-hours." in checklist
    assert str(tmp_path) not in "".join(files.values())


def test_a_plan_that_is_kept_is_fixed_before_the_first_result(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    record_sweep(own_writer, tmp_path, *GIVEN, "experiment.seeds=[0,1]", value=value)
    checklist = read(run_paper, own_writer, tmp_path)["checklist.md"]
    assert "The plan was fixed, in all of it, before its first result." in checklist
    assert "before any of its trainings had begun." in checklist and "It did not change afterwards." in checklist


def test_every_change_after_a_result_is_named_with_its_time(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_sweep(own_writer, tmp_path, *GIVEN, "experiment.seeds=[0,1]", value=value)
    more = (*GIVEN, "experiment.seeds=[0,1,2]", "experiment.margin=2")
    record_sweep(own_writer, tmp_path, *more, value=value, later=timedelta(hours=1))
    files = read(run_paper, own_writer, tmp_path)
    for text in (files["checklist.md"], files["methods.md"]):
        assert "It changed once, after the first result." in text
        assert "when 3 trainings of this sweep had a result: seed added: 2; experiment.margin: 1.0 -&gt; 2.0." in text
    assert "The plan was not fixed, in all of it, before its first result." in files["checklist.md"]
    assert "plan_history" not in capsys.readouterr().out


def test_a_record_that_the_store_contradicts_is_named(
    own_writer: SweepWriter, run_paper: RunPaper, tmp_path: Path
) -> None:
    record_sweep(own_writer, tmp_path, *GIVEN, "experiment.seeds=[0,1]", value=value, later=timedelta(hours=1))
    text = read(run_paper, own_writer, tmp_path)["checklist.md"]
    assert "The store contradicts that" in text and "3 trainings had ended by then." in text


def test_an_archive_has_the_history_of_the_plan(own_writer: SweepWriter, tmp_path: Path) -> None:
    plan = record_sweep(own_writer, tmp_path, *GIVEN, "experiment.seeds=[0]", value=value)
    file = tmp_path / "archive.zip"
    words = [NAME, "--tracking-uri", own_writer.uri, "--output", str(file), "--resamples", "0"]
    assert publish.main(words) == 0
    published = json.loads((unpack(file, tmp_path / "out") / "sweep" / "plan_history.json").read_text())
    assert published == json.loads((plan.folder / "plan_history.json").read_text())
    run = json.loads((tmp_path / "out" / NAME / "sweep" / "run.json").read_text())
    assert json.loads(run["tags"]["fcos.spent"]) == {"wall": 0.0, "cpu": 0.0, "gpu": 0.0}
