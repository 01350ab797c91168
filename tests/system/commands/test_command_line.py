"""python -m fcos on a trained run: what a person does with a checkpoint, and what they are told when they slip."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fcos.__main__ import main
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.prepare import prepare
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import RunSummary
from fcos.training_run import run


@pytest.fixture(scope="module")
def trained(module_tiny_values, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """A run, which no test changes, and its summary."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    summary = run(parse(Config, module_tiny_values), LocalRuntime(folder, torch.device("cpu")))
    return folder, summary


def test_evaluate_gives_the_numbers_of_the_run(trained, tmp_path: Path, capsys) -> None:
    folder, summary = trained
    output = tmp_path / "numbers.json"
    assert main(["evaluate", str(folder), "--output", str(output), "--batch-size", "8"]) == 0
    found = json.loads(output.read_text())
    assert found["step"] == 6
    assert found["metrics"] == pytest.approx(summary.metrics[""], abs=1e-6)
    assert "val/AP50" in capsys.readouterr().out


def test_predict_writes_coco_results_and_pictures(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    photos = tmp_path / "photos" / "below"
    photos.mkdir(parents=True)
    Image.new("RGB", (50, 70), "red").save(photos / "a.jpg")
    Image.new("L", (64, 40), 200).save(photos.parent / "gray.png")
    (photos.parent / "notes.txt").write_text("of the day")
    output = photos.parent / "found"
    arguments = ["predict", str(folder), str(photos.parent), "--output", str(output)]
    for _ in range(2):
        assert main([*arguments, "--set", "model.postprocess.score_threshold=0.001"]) == 0
        printed = capsys.readouterr()
        assert "2 images, " in printed.out and "files that are no images" in printed.err and "notes.txt" in printed.err
    data = json.loads((output / "images.json").read_text())
    assert [image["file_name"] for image in data["images"]] == ["below/a.jpg", "gray.png"]
    assert [category["name"] for category in data["categories"]] == ["disc", "square", "triangle", "ring", "cross"]
    sizes = {image["id"]: (image["width"], image["height"]) for image in data["images"]}
    assert list(sizes.values()) == [(50, 70), (64, 40)]
    found = json.loads((output / "detections.json").read_text())
    assert {item["image_id"] for item in found} == set(sizes)
    for item in found:
        x, y, width, height = item["bbox"]
        right, bottom = sizes[item["image_id"]]
        assert 0 <= x <= x + width <= right + 1e-2 and 0 <= y <= y + height <= bottom + 1e-2
        assert 0 < item["score"] < 1 and 1 <= item["category_id"] <= 5
    assert (output / "pictures" / "below" / "a.jpg.jpg").is_file() and (output / "pictures" / "gray.png.jpg").is_file()


def test_predicted_validation_images_have_the_numbers_of_the_evaluation(
    trained, module_tiny_values, tmp_path: Path
) -> None:
    folder, summary = trained
    val = prepare(parse(Config, module_tiny_values).data).val
    output = tmp_path / "found"
    assert main(["predict", str(folder), str(val.folder), "--output", str(output), "--no-pictures"]) == 0
    truth = COCO(str(val.annotations.path))
    ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    names = {image["id"]: image["file_name"] for image in json.loads((output / "images.json").read_text())["images"]}
    found = json.loads((output / "detections.json").read_text())
    evaluation = COCOeval(truth, truth.loadRes([item | {"image_id": ids[names[item["image_id"]]]} for item in found]))
    evaluation.params.iouType = "bbox"
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(summary.metrics[""]["val/AP"], abs=1e-4)


def test_predict_goes_on_past_an_image_that_cannot_be_read(trained, tmp_path: Path, capsys) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (50, 70), "red").save(photos / "whole.jpg")
    assert main(["predict", str(trained[0]), str(photos), "--output", str(tmp_path / "found")]) == 1
    (image,) = json.loads((tmp_path / "found" / "images.json").read_text())["images"]
    assert image["file_name"] == "whole.jpg"
    printed = capsys.readouterr().err
    assert "broken.jpg: is not a whole image" in printed and "1 failed, named above; the others are complete" in printed


def test_draw_prints_and_draws_the_assignment(trained, tmp_path: Path, capsys) -> None:
    folder, _ = trained
    output = tmp_path / "pictures" / "assignment.png"
    assert main(["draw", str(folder), "--split", "train", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "positive locations" in printed and "box 0" in printed
    with Image.open(output) as picture:
        assert picture.width > 900


@pytest.fixture
def only_val(module_tiny_values, tmp_path: Path) -> list[str]:
    """Changes that lead to the validation images alone, as files in COCO format."""
    drawn = prepare(parse(Config, module_tiny_values).data).val.folder.parent
    root = tmp_path / "only_val"
    shutil.copytree(drawn / "val", root / "val")
    shutil.copyfile(drawn / "val.json", root / "val.json")
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    data = {"name": "coco", "root": str(root), "cache_dir": str(tmp_path / "cache"), **splits}
    return ["--set", f"data={json.dumps(data)}"]


def test_one_split_is_enough_for_what_needs_no_other(trained, only_val: list[str], tmp_path: Path, capsys) -> None:
    folder, summary = str(trained[0]), trained[1]
    output = tmp_path / "numbers.json"
    assert main(["evaluate", folder, *only_val, "--output", str(output)]) == 0
    assert json.loads(output.read_text())["metrics"] == pytest.approx(summary.metrics[""], abs=1e-6)
    assert main(["draw", folder, "--split", "val", *only_val, "--output", str(tmp_path / "a.png")]) == 0
    assert main(["score-iou", folder, *only_val, "--output", str(tmp_path / "b.png")]) == 0
    capsys.readouterr()
    for arguments in (["draw", folder, "--split", "train"], ["two-stage", folder, "--steps", "1"]):
        assert main([*arguments, *only_val]) == 2
        assert "data.train.images=train: no such folder" in capsys.readouterr().err


def test_data_of_other_classes_are_refused(trained, only_val: list[str], tmp_path: Path, capsys) -> None:
    path = tmp_path / "only_val" / "val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "saucer"
    path.write_text(json.dumps(content))
    assert main(["evaluate", str(trained[0]), *only_val]) == 2
    assert "'saucer'" in capsys.readouterr().err
    # Which location answers for a box does not depend on its name, unless the detector's scores decide it.
    drawn = ["draw", str(trained[0]), *only_val, "--output", str(tmp_path / "a.png")]
    assert main(drawn) == 0
    assert main([*drawn, "--set", "model.assignment.kind=simota"]) == 2
    assert "'saucer'" in capsys.readouterr().err


def test_an_image_of_one_pixel_width_is_predicted_and_drawn(trained, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (1, 12_000), "red").save(photos / "thin.png")
    assert main(["predict", str(trained[0]), str(photos), "--output", str(tmp_path / "found")]) == 0
    with Image.open(tmp_path / "found" / "pictures" / "thin.png.jpg") as picture:
        assert max(picture.size) < 5_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "{missing}"], "missing: no such folder"),
        (["evaluate", "{empty}"], "holds no checkpoint"),
        (["evaluate", "{run}", "--set", "model.postprocess.nms_treshold=0.5"], "did you mean nms_threshold"),
        (["evaluate", "{run}", "--set", "nonsense"], "must be KEY=VALUE"),
        (["evaluate", "{run}", "--set", "model.head.num_convs=3"], "do not fit the changed model"),
        (["evaluate", "{run}", "--device", "cuda"], "no CUDA device is present"),
        (["predict", "{run}", "{missing}", "--output", "{out}"], "missing: no such folder or file"),
        (["predict", "{run}", "{empty}", "--output", "{out}"], "empty: holds no image"),
        (["predict", "{run}", "{photo}", "--output", "{photo}"], "is a file; give a folder"),
        (["predict", "{run}", "{photo}", "--output", "{out}", "--classes", "squares"], "did you mean square"),
        (["draw", "{run}", "--image", "000099.png"], "has no image of that file name"),
    ],
)
def test_a_slip_is_one_message_and_exit_code_2(trained, tmp_path: Path, capsys, arguments, message) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    names = {name: tmp_path / name for name in ("missing", "out", "empty")}
    names |= {"run": trained[0], "photo": tmp_path / "a.png"}
    names["empty"].mkdir()
    Image.new("RGB", (64, 64)).save(names["photo"])
    assert main([argument.format(**names) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.startswith("error: ") and "Traceback" not in printed.err
