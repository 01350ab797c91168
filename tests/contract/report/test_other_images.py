"""The section on other images follows from saved evaluations; what has none is noted and nothing else changes."""

import html
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.reader import sweep_evaluations
from analysis.reader.evaluation import read_evaluation
from analysis.reader.runs import read_sweep
from analysis.reader.sweep_evaluations import open_evaluations
from analysis.report import write_report
from analysis.sections import shown_arms
from analysis.sections.document import build_document
from analysis.sections.resampling import Resampling
from fcos.evaluation.coco import coco_metrics
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.storage.evaluation_files import ANNOTATIONS, FILES, RESULTS, EvaluationFiles
from fcos.structures import Detections
from tests.helpers.counted_calls import count_calls
from tests.helpers.detections.evaluations import random_evaluation
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, SweepWriter

NAME = "evaluated"
ARMS = ("none", "branch")


@pytest.fixture
def writer(tmp_path: Path) -> SweepWriter:
    """A store of this test's own."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)


def write_evaluated_sweep(
    writer: SweepWriter, folder: Path, *, wrong: str | None = None, evaluated: tuple[int, ...] = (0, 1, 2)
) -> dict[tuple[str, int], str]:
    """Write a sweep of two arms whose runs have an evaluation each; returns their ids.

    `wrong`: what is wrong with that of branch seed 1: the annotations, the recorded metric or a file.
    """
    experiment = {**EXPERIMENT, "arms": {arm: {} for arm in ARMS}, "metrics": ["val/AP", "val/AP50"], "paper": {}}
    parent = writer.write_sweep("main", NAME, {}, experiment=experiment)
    runs = {}
    for number, (arm, seed) in enumerate((arm, seed) for arm in ARMS for seed in range(3)):
        is_wrong = wrong is not None and (arm, seed) == ("branch", 1)
        annotations, detections = random_evaluation(folder, 2 if is_wrong and wrong == "annotations" else 1)
        detections = {image: _vary(found, 100 + number) for image, found in detections.items()}
        metrics = coco_metrics(annotations, detections)
        recorded = metrics["val/AP"] + (0.1 if is_wrong and wrong == "metric" else 0)
        runs[arm, seed] = run_id = writer.write_trial("main", parent, arm, seed, recorded)
        writer.client.log_metric(run_id, "val/AP50", metrics["val/AP50"], step=1200)
        if seed not in evaluated:
            continue
        folder_of_run = folder / f"{arm}_{seed}"
        save_evaluations(annotations, {"": detections}, folder_of_run, data_digest="d", step=1200)
        if is_wrong and wrong == "file":
            (folder_of_run / RESULTS).write_bytes((folder_of_run / ANNOTATIONS).read_bytes())
        for name in FILES:
            writer.client.log_artifact(run_id, str(folder_of_run / name), "evaluation")
    return runs


def _vary(detections: Detections, seed: int) -> Detections:
    """Return detections as another training would have them: moved a little, with other scores, best first."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(len(detections.scores), generator=generator)
    boxes = detections.boxes + torch.randn(detections.boxes.shape, generator=generator)
    order = scores.argsort(descending=True)
    return Detections(boxes[order], scores[order], detections.labels[order])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """A store of this module, in which no test changes the sweep of six evaluations."""
    folder = tmp_path_factory.mktemp("stored")
    made = SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)
    (folder / "images").mkdir()
    write_evaluated_sweep(made, folder / "images")
    return made


def test_a_row_for_each_metric_and_arm_and_a_sentence_on_the_verdicts(stored: SweepWriter, tmp_path: Path) -> None:
    document, folder = write_report(NAME, stored.uri, tmp_path / "report", resamples=200)
    section = document.content.other_images
    assert section is not None and section.table is not None
    frame = section.table.frame
    assert [(row.metric, row.arm, row.pairs) for row in frame.itertuples()] == [
        ("val/AP", "branch", 3),
        ("val/AP50", "branch", 3),
    ]
    expected = document.content.values.set_index(["metric", "arm"])["difference"]
    assert frame["difference"].tolist() == pytest.approx([expected["val/AP", "branch"], expected["val/AP50", "branch"]])
    assert (frame["both_low"] < frame["difference"]).all() and (frame["difference"] < frame["both_high"]).all()
    assert frame["image_share"].between(0, 1).all()
    assert not section.notes
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "Other images" in text and "The verdicts stand on the intervals from seeds" in text
        assert "Of the 8 validation images 200 resamples" in text


def test_the_same_store_gives_the_same_intervals(stored: SweepWriter, tmp_path: Path) -> None:
    frames = []
    for name in ("first", "second"):
        document, _ = write_report(NAME, stored.uri, tmp_path / name, resamples=100)
        section = document.content.other_images
        assert section is not None and section.table is not None
        frames.append(section.table.frame)
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("annotations", "its annotations are others"), ("metric", "its run recorded"), ("file", "results_sha256 differs")],
)
def test_an_evaluation_that_does_not_belong_is_left_out_with_one_note(
    writer: SweepWriter, tmp_path: Path, wrong: str, reason: str
) -> None:
    write_evaluated_sweep(writer, tmp_path, wrong=wrong)
    document, _ = write_report(NAME, writer.uri, tmp_path / "report", resamples=100)
    section = document.content.other_images
    assert section is not None and section.table is not None
    assert section.table.frame["pairs"].tolist() == [2, 2]
    note, of_pairs = section.notes
    assert "branch seed 1" in note and reason in note
    assert of_pairs.startswith("branch: the pairs with saved evaluations are not all of those with values")
    assert note in document.notes


def test_trials_without_an_evaluation_are_named_in_one_note(writer: SweepWriter, tmp_path: Path) -> None:
    write_evaluated_sweep(writer, tmp_path, evaluated=(0, 2))
    document, folder = write_report(NAME, writer.uri, tmp_path / "report", resamples=100)
    section = document.content.other_images
    assert section is not None and section.table is not None
    frame = section.table.frame
    assert frame[["pairs", "all_pairs"]].to_numpy().tolist() == [[2, 3], [2, 3]]
    note, _ = section.notes
    assert note.startswith("branch seed 1 and none seed 1 have no saved evaluation")
    # The difference is of the two pairs that its interval is of, and no interval of three stands beside it.
    values = document.final_values.set_index(["metric", "arm", "seed"])["value"]
    pairs = [values["val/AP", "branch", seed] - values["val/AP", "none", seed] for seed in (0, 2)]
    assert frame["difference"][0] == pytest.approx(sum(pairs) / 2)
    assert frame["seeds_low"].isna().all() and frame["both_low"].notna().all()
    assert "2 of 3" in (folder / "report.md").read_text()


def test_a_sweep_of_an_older_version_gets_a_note_and_no_section(writer: SweepWriter, tmp_path: Path) -> None:
    write_evaluated_sweep(writer, tmp_path, evaluated=())
    document, folder = write_report(NAME, writer.uri, tmp_path / "report")
    section = document.content.other_images
    assert section is not None and section.table is None
    (note,) = section.notes
    assert note.startswith("No trial has a saved evaluation (runs of older versions have none)")
    assert "Other images" not in (folder / "report.md").read_text()


def test_zero_resamples_read_no_evaluation(stored: SweepWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.reader.sweep_evaluations.read_evaluation", None)
    monkeypatch.setattr("analysis.reader.sweep_evaluations.read_evaluation_file", None)
    sweep = read_sweep(stored.uri, NAME)
    with open_evaluations(sweep) as evaluations:
        assert build_document(sweep, evaluations, Resampling(0)).content.other_images is None


def test_the_annotations_of_most_trials_are_those_that_are_compared(writer: SweepWriter, tmp_path: Path) -> None:
    runs = write_evaluated_sweep(writer, tmp_path, wrong="annotations")
    # A trial of the baseline that comes before all others is the odd one.
    odd, even = (tmp_path / f"branch_{seed}" for seed in (1, 0))
    for (arm, seed), folder_of_run in ((("branch", 1), even), (("none", 0), odd)):
        for name in FILES:
            writer.client.log_artifact(runs[arm, seed], str(folder_of_run / name), "evaluation")
    document, folder = write_report(NAME, writer.uri, tmp_path / "report", resamples=100)
    section = document.content.other_images
    assert section is not None
    notes = [note for note in section.notes if "its annotations are others" in note]
    assert len(notes) == 1 and "The evaluation of none seed 0 is left out" in notes[0]
    assert html.escape(notes[0], quote=False) in (folder / "explorer.html").read_text()


def test_every_evaluation_is_fetched_once_for_the_report_and_the_page(
    stored: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def read_once(uri: str, run_id: str) -> EvaluationFiles | None:
        fetched.append(run_id)
        return read_evaluation(uri, run_id)

    monkeypatch.setattr("analysis.reader.sweep_evaluations.read_evaluation", read_once)
    write_report(NAME, stored.uri, tmp_path / "report", resamples=100)
    assert len(fetched) == len(set(fetched)) == 6


@pytest.mark.parametrize("value", ["-1", "99", "1.5", "many", "10001"])
def test_a_number_of_resamples_that_is_none_is_refused(
    run_report: Callable[..., int], capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_report(f"--resamples={value}")
    assert stopped.value.code == 2
    assert f"{value!r} is neither 0 nor a number from 100 to 10000" in capsys.readouterr().err


def test_of_arms_that_are_not_shown_no_evaluation_is_read(
    stored: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_arms, "MOST_ARMS", 1)
    calls = count_calls(monkeypatch, sweep_evaluations, "read_evaluation_file")
    document, folder = write_report(NAME, stored.uri, tmp_path / "report", resamples=100)
    assert document.content.shown_arms == ("none",) and document.content.other_images is None
    runs = {trial.run_id for trial in document.sweep.current if trial.arm == "none"}
    assert sorted(run_id for _, run_id, _ in calls) == sorted(runs)
    (note,) = [note for note in document.notes if "of them: none and those with the largest" in note]
    assert note.split(";")[0] in (folder / "report.md").read_text()
    assert set(document.content.values["arm"]) == {"none", "branch"} == {item.arm for item in document.provenance}
    assert "branch" not in (folder / "explorer.html").read_text()
