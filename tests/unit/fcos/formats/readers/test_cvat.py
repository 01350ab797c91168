"""CVAT for images 1.1: shapes, subsets, and what is refused."""

from pathlib import Path

import pytest

from fcos.errors import DataError
from fcos.formats.listing import list_folder
from fcos.formats.readers import cvat
from fcos.formats.structures import LabelledFolder
from tests.helpers.data.labelled_folders import write_image

META = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"


def read(root: Path, body: str, *names: str) -> LabelledFolder:
    for name in names:
        write_image(root / name, 64, 48)
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{META}{body}</annotations>")
    return cvat.read(list_folder(root))


def of_image(shapes: str, more: str = "") -> str:
    return f'<image id="0" name="a.png" width="64" height="48" {more}>{shapes}</image>'


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<box label="cat" xtl="4" ytl="6" xbr="14" ybr="26"/>', (4, 6, 10, 20)),
        ('<box label="cat" xtl="4" ytl="6" xbr="14" ybr="26" rotation="90.0"/>', (-1, 11, 20, 10)),
        ('<polygon label="cat" points="4.0,6.0;14.0,8.5;9.0,26.0"/>', (4, 6, 10, 20)),
        ('<ellipse label="cat" cx="9" cy="16" rx="5" ry="10"/>', (4, 6, 10, 20)),
        ('<ellipse label="cat" cx="9" cy="16" rx="10" ry="5" rotation="90"/>', (4, 6, 10, 20)),
    ],
)
def test_shapes_become_the_boxes_around_them(tmp_path: Path, shape: str, expected: tuple[float, ...]) -> None:
    (box,) = read(tmp_path, of_image(shape), "a.png").splits["all"][0].boxes
    assert (box.x, box.y, box.width, box.height) == pytest.approx(expected)


def test_other_shapes_and_images_without_a_file_are_counted(tmp_path: Path) -> None:
    shapes = (
        '<polyline label="cat" points="1,1;2,2"/><tag label="cat"/><box label="cat" xtl="4" ytl="6" xbr="4" ybr="9"/>'
    )
    body = of_image(shapes) + '<image id="1" name="lost.png" width="1" height="1"/>'
    folder = read(tmp_path, body, "a.png", "unnamed.png")
    assert folder.splits["all"][0].boxes == ()
    assert folder.notes == (
        "shapes of kind polyline are left out: 1 (a.png)",
        "shapes of kind tag are left out: 1 (a.png)",
        "shapes without an area are left out: 1 (a.png)",
        "annotated images without a file are left out: 1 (lost.png)",
        "images that no annotation file names are left out: 1 (unnamed.png)",
    )


def test_subsets_are_the_splits_and_labels_keep_their_order(tmp_path: Path) -> None:
    body = "".join(
        f'<image id="{number}" name="{name}.png" subset="{subset}" width="64" height="48">'
        f'<box label="{label}" xtl="4" ytl="6" xbr="14" ybr="26"/></image>'
        for number, (name, subset, label) in enumerate([("a", "Train", "cat"), ("b", "Validation", "dog")])
    )
    folder = read(tmp_path, body, "a.png", "b.png")
    assert {split: images[0].name for split, images in folder.splits.items()} == {"train": "a.png", "val": "b.png"}
    assert folder.classes == ("dog", "cat")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<track id="0" label="cat"/>', r"export of a video .* 'CVAT for images 1\.1'"),
        (of_image('<box label="cat" xtl="4" ytl="6" xbr="14"/>'), r"<box> of 'a\.png' has numbers missing"),
        (of_image('<polygon label="cat" points="4;6"/>'), r"<polygon> of 'a\.png' has numbers missing"),
        ('<image id="0" name="a.png"/>', "needs the numbers width and height"),
        ('<image id="7"/>', "<image id='7'> has no name"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, body, "a.png")


def test_an_image_that_is_named_otherwise_is_counted(tmp_path: Path) -> None:
    body = of_image('<box label="cat" xtl="4" ytl="6" xbr="14" ybr="26"/>').replace("a.png", "task 1/A.png")
    folder = read(tmp_path, body, "images/a.png")
    assert [each.name for each in folder.splits["all"]] == ["images/a.png"]
    (note,) = folder.notes
    assert note.endswith("are found by the last part of the name: 1 ('task 1/A.png' as images/a.png)")
