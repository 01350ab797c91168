"""A folder's format is found by what it holds; what could be two things is asked for by the key to set."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.errors import ConfigError, DataError
from fcos.formats.listing import list_folder
from fcos.formats.recognise import read_folder, recognise
from fcos.formats.structures import FormatName, LabelledFolder, LabelledImage
from tests.helpers.data.labelled_folders import CLASSES, box, image, write_folder, write_image, write_labelme, write_voc

FORMATS: tuple[FormatName, ...] = get_args(FormatName)


def read(root: Path) -> LabelledFolder:
    listing = list_folder(root)
    return read_folder(listing, recognise(listing).format, {})


# Class, x, y, width, height.
DrawnBox = tuple[str, float, float, float, float]


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> DrawnBox:
    x = draw(st.floats(0, width - 2))
    y = draw(st.floats(0, height - 2))
    return draw(st.sampled_from(CLASSES)), x, y, draw(st.floats(1, width - x)), draw(st.floats(1, height - y))


@st.composite
def sizes_and_boxes(draw: st.DrawFn) -> list[tuple[int, int, list[DrawnBox]]]:
    """Draw plain values: the checks of types within a dataclass use the random module, which a strategy must not."""
    drawn = []
    for number in range(draw(st.integers(1, 3))):
        width, height = draw(st.integers(8, 90)), draw(st.integers(8, 90))
        found = draw(st.lists(boxes(width, height), min_size=1 if number == 0 else 0, max_size=4))
        drawn.append((width, height, found))
    return drawn


def labelled_images(drawn: list[tuple[int, int, list[DrawnBox]]]) -> list[LabelledImage]:
    return [
        image(f"a {number} ü.PNG", *(box(*each) for each in found), width=width, height=height)
        for number, (width, height, found) in enumerate(drawn)
    ]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(drawn=sizes_and_boxes())
def test_what_is_written_in_a_format_is_read_with_the_same_boxes(
    tmp_path_factory: pytest.TempPathFactory, name: FormatName, drawn: list[tuple[int, int, list[DrawnBox]]]
) -> None:
    images = labelled_images(drawn)
    found = read(write_folder(tmp_path_factory.mktemp("images"), name, images))
    assert found.format == name
    result = sorted(found.splits["all"], key=lambda each: each.name)
    assert [(each.name, each.width, each.height) for each in result] == [(i.name, i.width, i.height) for i in images]
    for read_image, written in zip(result, images, strict=True):
        assert [b.label for b in read_image.boxes] == [b.label for b in written.boxes]
        for got, meant in zip(read_image.boxes, written.boxes, strict=True):
            assert (got.x, got.y, got.width, got.height) == pytest.approx(
                (meant.x, meant.y, meant.width, meant.height), abs=1e-6
            )


# COCO's files carry the splits, which test_coco.py is about.
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "coco"])
def test_folders_called_train_and_valid_are_the_splits(name: FormatName, tmp_path: Path) -> None:
    images = [image("train/a.png", box()), image("valid/b.png", box("dog")), image("test/c.png", box())]
    splits = read(write_folder(tmp_path, name, images)).splits
    assert {split: [each.name for each in of_split] for split, of_split in splits.items()} == {
        "train": ["train/a.png"],
        "val": ["valid/b.png"],
        "test": ["test/c.png"],
    }


def test_two_formats_in_a_folder_are_ambiguous_and_the_option_is_taken(tmp_path: Path) -> None:
    images = [image("a.png", box())]
    write_folder(tmp_path, "voc", images)
    write_labelme(tmp_path, images)
    listing = list_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"several formats .*choose auto\.format=voc or auto\.format=labelme"):
        recognise(listing)
    assert recognise(listing, "voc").format == "voc"
    with pytest.raises(ConfigError, match=r"auto\.format=yolo: .* holds nothing of this format; found voc: 1 XML"):
        recognise(listing, "yolo")


def test_images_without_annotations_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 8, 8)
    (tmp_path / "README.roboflow.txt").write_text("12 images, see roboflow.com")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(DataError, match=r"1 images and no annotations of a known format; looked for COCO"):
        recognise(list_folder(tmp_path))


def test_a_folder_without_images_or_no_folder_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        list_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        list_folder(tmp_path / "none")


def test_a_file_is_for_coco_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box())])
    with pytest.raises(ConfigError, match=r"data\.train\.annotations=x\.json: names a COCO file, and .* is voc"):
        read_folder(list_folder(tmp_path), "voc", {"train": "x.json"})


def test_a_name_in_an_annotation_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", 8, 8)
    root = tmp_path / "data"
    write_image(root / "a.png", 64, 48)
    write_voc(root, [image("a.png", box())])
    text = (root / "a.xml").read_text()
    (root / "b.xml").write_text(text.replace("a.png", "../secret.png"))
    (root / "c.xml").write_text(text.replace("a.png", str(tmp_path / "secret.png")))
    folder = read(root)
    assert [each.name for each in folder.splits["all"]] == ["a.png"]
    assert "annotation files without an image are left out: 2 (b.xml, c.xml)" in folder.notes
