"""The sheet of augmented pictures."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fcos.__main__ import main
from tests.helpers.data.coco_folders import write_split


def test_a_sheet_has_a_row_for_each_augmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_split(tmp_path, "train", 2, {3: "cat"})
    content = json.loads((tmp_path / "train.json").read_text())
    sheets = {}
    for name, segmentation in (("boxes", []), ("masks", [[1, 2, 11, 2, 11, 12]])):
        for entry in content["annotations"]:
            entry["segmentation"] = segmentation
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        output = tmp_path / "found" / f"{name}.png"
        options = ["--annotations", str(tmp_path / f"{name}.json"), "--epochs", "2", "--short-side", "40"]
        assert main(["draw-augmentation", str(tmp_path / "train"), *options, "--output", str(output)]) == 0
        with Image.open(output) as sheet:
            sheets[name] = sheet.size
        printed = capsys.readouterr().out
        assert ("copy_paste is left out" in printed) == (name == "boxes")
    # Eight rows and nine.
    assert sheets["masks"][0] == sheets["boxes"][0]
    assert sheets["masks"][1] / 9 == sheets["boxes"][1] / 8


def test_an_unknown_image_is_named_with_near_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_split(tmp_path, "train", 2, {3: "cat"})
    options = ["--annotations", str(tmp_path / "train.json"), "--image", "2.png"]
    assert main(["draw-augmentation", str(tmp_path / "train"), *options]) == 2
    assert "--image 2.png" in capsys.readouterr().err
