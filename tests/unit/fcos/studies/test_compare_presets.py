"""What the presets of other implementations make of one image."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fcos.__main__ import main
from fcos.errors import ConfigError
from fcos.studies.compare_presets import compare, differs, groups_of_same, picture, table


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An image of 160 x 120 with three boxes, one of them a single pixel wide, and its annotations."""
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


def test_an_image_is_compared_location_by_location(drawn: tuple[Path, Path]) -> None:
    seen = {one.name: one for one in compare(*drawn, short_side=240, long_side=400, seed=0)}
    first = seen["official_v1"]
    assert not differs(first, first).any()
    # Inclusive corners leave nothing of a box that is one pixel wide.
    assert len(first.sample.boxes) == 2 and len(seen["adelaidet"].sample.boxes) == 3
    # The same targets, other losses.
    assert not differs(seen["official_v1"], seen["fcos_plus"]).any()
    torch.testing.assert_close(seen["official_v1"].losses.total, seen["fcos_plus"].losses.total)
    assert seen["official_improved"].assignment.positive.sum() < first.assignment.positive.sum()
    assert "official_v1, fcos_plus" in groups_of_same([*seen.values()])
    # Points from the corner are other places.
    assert differs(seen["torchvision"], seen["detectron2"]).any()
    assert (seen["mmdetection"].detections, first.detections) != (0, 0)


def test_owners_do_not_depend_on_the_ids_of_the_file(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    image, annotations = drawn
    content = json.loads(annotations.read_text())
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = number - 3
    other = tmp_path / "boxes.json"
    other.write_text(json.dumps(content))
    expected = compare(image, annotations, short_side=240, long_side=400, seed=0)
    found = compare(image, other, short_side=240, long_side=400, seed=0)
    assert table(found) == table(expected)
    # An id of -1 stands for no box elsewhere.
    assert all((one.owners >= 0).equal(one.assignment.matched[0] >= 0) for one in found)


def test_the_table_has_a_line_for_each_and_the_picture_a_panel(drawn: tuple[Path, Path]) -> None:
    seen = compare(*drawn, short_side=240, long_side=400, seed=0)
    lines = table(seen)
    assert len(lines) == 1 + len(seen) and lines[0].split()[:2] == ["positives", "P3"]
    positives = lines[1].split()[1]
    assert int(positives) == int(seen[0].assignment.positive.sum())
    assert picture(seen).width > 600


def test_the_command_prints_and_draws(drawn: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    image, annotations = drawn
    command = ["compare-presets", str(image), "--annotations", str(annotations), "--short-side", "240"]
    assert main([*command, "--output", str(tmp_path / "p" / "presets.png")]) == 0
    assert (tmp_path / "p" / "presets.png").is_file()
    assert "same targets: official_v1" in capsys.readouterr().out
    stranger = image.with_name("two.png")
    assert main(["compare-presets", str(stranger), "--annotations", str(annotations)]) == 2
    assert "knows no image of that name" in capsys.readouterr().err


def test_an_image_that_the_annotations_do_not_know_is_refused(drawn: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="knows no image of that name"):
        compare(drawn[0].with_name("three.png"), drawn[1], short_side=240, long_side=400, seed=0)
