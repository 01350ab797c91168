"""Comparing the presets of other implementations on one image."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fcos.__main__ import main
from fcos.errors import ConfigError
from fcos.studies.compare_presets import (
    PresetResult,
    compare_presets,
    differs,
    draw_comparison,
    format_table,
    identical_presets,
)


@pytest.fixture(scope="module")
def image_and_boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write an image of 160 x 120 with three boxes, one of them a single pixel wide, and its annotations."""
    folder = tmp_path_factory.mktemp("drawn")
    Image.new("RGB", (160, 120), "gray").save(folder / "one.png")
    boxes = [[10, 10, 100, 80], [30, 20, 40, 40], [140, 60, 1, 30]]
    annotations = {
        "images": [{"id": 4, "file_name": "one.png", "width": 160, "height": 120}],
        "categories": [{"id": 1, "name": "thing"}, {"id": 3, "name": "other"}],
        "annotations": [
            {"id": 20 + row, "image_id": 4, "category_id": 1 + 2 * (row % 2), "bbox": box, "area": 9, "iscrowd": 0}
            for row, box in enumerate(boxes)
        ],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(annotations))
    return folder / "one.png", path


@pytest.fixture(scope="module")
def compared(image_and_boxes: tuple[Path, Path]) -> list[PresetResult]:
    """The presets on that image, in their order."""
    return compare_presets(*image_and_boxes, short_side=240, long_side=400, seed=0)


def test_presets_are_compared_location_by_location(compared: list[PresetResult]) -> None:
    results = {result.name: result for result in compared}
    first = results["official_v1"]
    assert not differs(first, first).any()
    # With box_convention=inclusive a box of one pixel's width is empty.
    assert len(first.sample.boxes) == 2 and len(results["adelaidet"].sample.boxes) == 3
    # The same targets and losses.
    assert not differs(results["official_v1"], results["fcos_plus"]).any()
    torch.testing.assert_close(results["official_v1"].losses.total, results["fcos_plus"].losses.total)
    improved, rosinality = results["official_improved"], results["rosinality"]
    assert not differs(improved, rosinality).any()
    torch.testing.assert_close(improved.losses.regression, rosinality.losses.regression)
    assert improved.assignment.positive.sum() < first.assignment.positive.sum()
    assert "official_v1, fcos_plus" in identical_presets([*results.values()])
    # torchvision's locations start at the corner.
    assert differs(results["torchvision"], results["detectron2"]).any()
    assert (results["mmdetection"].detections, first.detections) != (0, 0)


def test_matched_rows_do_not_depend_on_annotation_ids(
    compared: list[PresetResult], image_and_boxes: tuple[Path, Path], tmp_path: Path
) -> None:
    image, annotations = image_and_boxes
    content = json.loads(annotations.read_text())
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = number - 3
    changed_path = tmp_path / "boxes.json"
    changed_path.write_text(json.dumps(content))
    changed = compare_presets(image, changed_path, short_side=240, long_side=400, seed=0)
    assert format_table(changed) == format_table(compared)
    # An id of -1 stands for no box elsewhere.
    assert all((result.matched_rows >= 0).equal(result.assignment.matched[0] >= 0) for result in changed)


def test_the_table_has_a_line_and_the_picture_a_panel_per_preset(compared: list[PresetResult]) -> None:
    lines = format_table(compared)
    assert len(lines) == 1 + len(compared) and lines[0].split()[:2] == ["positives", "P3"]
    positives = lines[1].split()[1]
    assert int(positives) == int(compared[0].assignment.positive.sum())
    assert draw_comparison(compared).width > 600


def test_the_command_prints_a_table_and_draws_a_picture(
    image_and_boxes: tuple[Path, Path], tmp_path: Path, capsys
) -> None:
    image, annotations = image_and_boxes
    command = ["compare-presets", str(image), "--annotations", str(annotations), "--short-side", "240"]
    assert main([*command, "--output", str(tmp_path / "p" / "presets.png")]) == 0
    assert (tmp_path / "p" / "presets.png").is_file()
    assert "same targets: official_v1" in capsys.readouterr().out
    unknown = image.with_name("two.png")
    assert main(["compare-presets", str(unknown), "--annotations", str(annotations)]) == 2
    assert "has no image of that name" in capsys.readouterr().err


def test_an_image_without_annotations_is_refused(image_and_boxes: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="has no image of that name"):
        compare_presets(
            image_and_boxes[0].with_name("three.png"), image_and_boxes[1], short_side=240, long_side=400, seed=0
        )
