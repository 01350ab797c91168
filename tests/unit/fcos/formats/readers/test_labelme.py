"""LabelMe's files: shapes, paths of other machines, and what is left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from fcos.errors import DataError
from fcos.formats.listing import list_folder
from fcos.formats.readers import labelme
from fcos.formats.structures import LabelledFolder
from tests.helpers.data.labelled_folders import write_image


def read(root: Path, *shapes: dict[str, Any], **changes: Any) -> LabelledFolder:
    write_image(root / "a.png", 64, 48)
    content = {"shapes": list(shapes), "imagePath": "a.png", "imageWidth": 64, "imageHeight": 48, **changes}
    (root / "a.json").write_text(json.dumps(content))
    return labelme.read(list_folder(root))


def shape(kind: str, *points: list[float]) -> dict[str, Any]:
    return {"label": " cat ", "shape_type": kind, "points": list(points), "flags": {}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (shape("rectangle", [14, 26], [4, 6]), (4, 6, 10, 20)),
        (shape("polygon", [4, 6], [14, 8], [9, 26]), (4, 6, 10, 20)),
        (shape("circle", [20, 20], [23, 24]), (15, 15, 10, 10)),
    ],
)
def test_shapes_become_the_boxes_around_them(
    tmp_path: Path, given: dict[str, Any], expected: tuple[float, ...]
) -> None:
    folder = read(tmp_path, given)
    (box,) = folder.splits["all"][0].boxes
    assert box.label == "cat"
    assert (box.x, box.y, box.width, box.height) == pytest.approx(expected)


def test_shapes_that_are_no_boxes_are_counted(tmp_path: Path) -> None:
    folder = read(tmp_path, shape("line", [1, 1], [2, 2]), shape("point", [1, 1]), shape("rectangle", [1, 1]))
    assert folder.splits["all"][0].boxes == ()
    assert [note.partition(" (")[0] for note in folder.notes] == [
        "shapes of kind line are left out: 1",
        "shapes of kind point are left out: 1",
        "shapes without an area are left out: 1",
    ]


@pytest.mark.parametrize("path", ["C:\\photos\\a.png", "..\\images\\a.png", "/home/me/a.png", "A.PNG", ""])
def test_a_path_of_another_machine_means_the_file_of_that_name(tmp_path: Path, path: str) -> None:
    assert [each.name for each in read(tmp_path, imagePath=path).splits["all"]] == ["a.png"]


def test_a_missing_size_is_taken_from_the_image(tmp_path: Path) -> None:
    (image,) = read(tmp_path, imageWidth=None, imageHeight=None).splits["all"]
    assert (image.width, image.height) == (64, 48)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": 3}, r"a\.json: shapes: "),
        ({"shapes": [{"label": "", "points": []}]}, r"a\.json: shapes\.0\.label: "),
        ({"shapes": [{"label": "cat", "points": [[1]]}]}, r"a\.json: shapes\.0\.points\.0"),
    ],
)
def test_a_broken_file_is_named_with_the_entry(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **changes)


@pytest.mark.parametrize("kept", [0, 60])
def test_a_file_that_was_cut_short_is_refused_beside_others(tmp_path: Path, kept: int) -> None:
    read(tmp_path, shape("rectangle", [14, 26], [4, 6]))
    write_image(tmp_path / "b.png", 64, 48)
    (tmp_path / "b.json").write_text((tmp_path / "a.json").read_text()[:kept])
    with pytest.raises(DataError, match=r"b\.json: .*LabelMe's format"):
        labelme.read(list_folder(tmp_path))
