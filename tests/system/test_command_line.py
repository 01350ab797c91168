"""python -m fcos on a trained run: what a person does with a checkpoint, and what they are told when they slip."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fcos.__main__ import main
from fcos.config import Config
from fcos.parsing import parse
from fcos.runtime import LocalRuntime
from fcos.train import run


@pytest.fixture
def trained(tiny_values, tmp_path: Path) -> tuple[Path, dict]:
    folder = tmp_path / "run"
    summary = run(parse(Config, tiny_values), LocalRuntime(folder, torch.device("cpu")))
    return folder, summary


def test_evaluate_gives_the_numbers_of_the_run(trained, tmp_path: Path, capsys) -> None:
    folder, summary = trained
    output = tmp_path / "numbers.json"
    assert main(["evaluate", str(folder), "--output", str(output), "--batch-size", "8"]) == 0
    found = json.loads(output.read_text())
    assert found["step"] == 6
    assert found["metrics"] == pytest.approx(summary["metrics"][""], abs=1e-6)
    assert "val/AP50" in capsys.readouterr().out


def test_predict_writes_detections_and_pictures(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    photos = tmp_path / "photos" / "below"
    photos.mkdir(parents=True)
    Image.new("RGB", (50, 70), "red").save(photos / "a.jpg")
    Image.new("L", (64, 40), 200).save(photos.parent / "gray.png")
    output = tmp_path / "found"
    arguments = ["predict", str(folder), str(photos.parent), "--output", str(output)]
    assert main([*arguments, "--set", "model.postprocess.score_threshold=0.001"]) == 0
    found = json.loads((output / "detections.json").read_text())
    assert [item["image"] for item in found] == ["below/a.jpg", "gray.png"]
    for item, (width, height) in zip(found, [(50, 70), (64, 40)], strict=True):
        assert item["detections"]
        for detection in item["detections"]:
            x1, y1, x2, y2 = detection["box_xyxy"]
            assert 0 <= x1 <= x2 <= width + 1e-3 and 0 <= y1 <= y2 <= height + 1e-3
            assert 0 < detection["score"] < 1 and detection["class"] in ("disc", "square", "triangle", "ring", "cross")
    assert (output / "below" / "a.jpg.png").is_file() and (output / "gray.png.png").is_file()
    assert "2 images" in capsys.readouterr().out


def test_predict_goes_on_past_an_image_that_cannot_be_read(trained, tmp_path: Path, capsys) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (50, 70), "red").save(photos / "whole.jpg")
    assert main(["predict", str(trained[0]), str(photos), "--output", str(tmp_path / "found")]) == 2
    assert [item["image"] for item in json.loads((tmp_path / "found" / "detections.json").read_text())] == ["whole.jpg"]
    told = capsys.readouterr().err
    assert "broken.jpg" in told and "1 of 2 images could not be read" in told


def test_draw_tells_and_draws_who_answers_for_whom(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    output = tmp_path / "pictures" / "assignment.png"
    assert main(["draw", str(folder), "--split", "train", "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "positive locations" in told and "box 0" in told
    with Image.open(output) as picture:
        assert picture.width > 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "{missing}"], "holds no checkpoint"),
        (["evaluate", "{run}", "--set", "model.postprocess.nms_treshold=0.5"], "did you mean nms_threshold"),
        (["evaluate", "{run}", "--set", "nonsense"], "must be KEY=VALUE"),
        (["evaluate", "{run}", "--set", "model.head.num_convs=3"], "do not fit the changed model"),
        (["evaluate", "{run}", "--device", "cuda"], "no CUDA device is present"),
        (["predict", "{run}", "{missing}", "--output", "{out}"], "no such image or folder"),
        (["predict", "{run}", "{run}", "--output", "{run}/found"], "must not lie in the folder of the images"),
        (["draw", "{run}", "--image", "000099.png"], "has no image of that file name"),
    ],
)
def test_a_slip_is_one_message_and_exit_code_2(trained, tmp_path: Path, capsys, arguments, message) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    names = {"missing": tmp_path / "missing", "run": trained[0], "out": tmp_path / "out"}
    assert main([argument.format(**names) for argument in arguments]) == 2
    told = capsys.readouterr()
    assert message in told.err and told.err.startswith("error: ") and "Traceback" not in told.err
