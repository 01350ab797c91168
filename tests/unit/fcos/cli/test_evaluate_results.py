"""python -m fcos evaluate-results: numbers of saved evaluations and of any tool's results, and refusals in one line."""

import json
import shutil
from pathlib import Path

import pytest

from fcos.__main__ import main
from fcos.evaluation.coco import coco_metrics, detections_of, result_metrics
from fcos.evaluation.metric_names import COCO_METRICS
from fcos.evaluation.saved.saved_evaluation import read_evaluation
from fcos.storage.evaluation_files import ANNOTATIONS, RESULTS
from tests.helpers.detections.evaluations import saved, text_of


def test_a_saved_evaluation_gives_its_numbers_and_its_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = saved(tmp_path, 1), tmp_path / "metrics.json"
    assert main(["evaluate-results", str(folder), "--output", str(output)]) == 0
    read = read_evaluation(folder)
    expected = coco_metrics(read.annotations, detections_of(read.annotations, read.results))
    assert json.loads(output.read_text()) == {"step": 7, "metrics": expected}
    shown = capsys.readouterr().out
    assert f"{folder}: {len(read.results)} detections on {len(read.annotations)} images, step 7" in shown
    assert f"  {'val/AP':<28} {expected['val/AP']:.4f}" in shown and "val/class_AP/" in shown


@pytest.mark.parametrize("packed", [True, False])
def test_results_and_annotations_are_read_compressed_or_not(
    tmp_path: Path, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, 1)
    files = [folder / RESULTS, folder / ANNOTATIONS]
    if not packed:
        plain = [tmp_path / "results.json", tmp_path / "annotations.json"]
        for file, copy in zip(files, plain, strict=True):
            copy.write_text(text_of(file))
        files = plain
    assert main(["evaluate-results", *map(str, files)]) == 0
    read, shown = read_evaluation(folder), capsys.readouterr().out
    for name, value in result_metrics(read.annotations, read.results).items():
        assert f"  {name:<28} {value:.4f}\n" in shown


def test_published_results_give_the_published_numbers(shared_data: Path, tmp_path: Path) -> None:
    pair, output = shared_data / "coco_eval_pair", tmp_path / "metrics.json"
    files = [pair / "instances_val2014_fakebbox100_results.json", pair / "instances_val2014_100.json"]
    assert main(["evaluate-results", *map(str, files), "--output", str(output)]) == 0
    metrics, expected = json.loads(output.read_text())["metrics"], json.loads((pair / "expected.json").read_text())
    assert [round(metrics[f"val/{name}"], 6) for name in COCO_METRICS] == expected["bbox"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: Path) -> str:
    """Run the command, which ends with one line."""
    assert main(["evaluate-results", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_does_not_go_together_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, 1)
    assert "has its own annotations; leave them out" in refused(capsys, folder, folder / ANNOTATIONS)
    assert "name the annotations of these results too" in refused(capsys, folder / RESULTS)
    assert "no such file of COCO results" in refused(capsys, tmp_path / "missing.json", folder / ANNOTATIONS)
    assert "no such annotation file" in refused(capsys, folder / RESULTS, tmp_path / "missing.json")
    assert f"below it: {folder}" in refused(capsys, tmp_path)


def test_detections_beside_other_annotations_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    folder, other = saved(tmp_path, 1), saved(tmp_path / "other", 2)
    shutil.copyfile(other / ANNOTATIONS, folder / ANNOTATIONS)
    assert "are not the annotations that the detections were evaluated against" in refused(capsys, folder)


def test_a_path_that_does_not_exist_is_no_such_folder_or_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, tmp_path / "nowhere")
    assert "nowhere: no such folder of a saved evaluation, and no such file of COCO results" in message


def test_annotations_that_cannot_be_meant_are_refused_and_doubtful_ones_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, 1)
    results, annotations = tmp_path / "results.json", tmp_path / "annotations.json"
    results.write_text("[]")
    content = json.loads(text_of(folder / ANNOTATIONS))
    content["annotations"][0]["iscrowd"] = 1
    annotations.write_text(json.dumps(content))
    assert main(["evaluate-results", str(results), str(annotations)]) == 0
    shown = capsys.readouterr().out
    assert "note: annotations.json: " in shown and "have iscrowd=1: not trained on" in shown
    for image in content["images"]:
        image |= {"width": 64, "height": 64}
    for entry in content["annotations"]:
        entry["bbox"] = [0.1, 0.1, 0.5, 0.5]
    annotations.write_text(json.dumps(content))
    assert "lie within the unit square" in refused(capsys, results, annotations)
