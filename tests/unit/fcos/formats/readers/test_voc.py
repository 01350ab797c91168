"""Pascal VOC as tools really write it."""

from pathlib import Path

import pytest

from fcos.errors import DataError
from fcos.formats.listing import list_folder
from fcos.formats.readers import voc
from fcos.formats.structures import LabelledFolder
from tests.helpers.data.labelled_folders import box, image, write_folder, write_image, write_voc


def read(root: Path) -> LabelledFolder:
    return voc.read(list_folder(root))


def changed(root: Path, before: str, after: str) -> LabelledFolder:
    """Read a folder of one image whose XML has another text somewhere."""
    write_folder(root, "voc", [image("a.png", box())])
    text = (root / "a.xml").read_text()
    assert before in text
    (root / "a.xml").write_text(text.replace(before, after))
    return read(root)


def test_lists_in_imagesets_are_the_splits(tmp_path: Path) -> None:
    images = [image(f"JPEGImages/{name}.png", box()) for name in "abcd"]
    for each in images:
        write_image(tmp_path / each.name, 64, 48)
    write_voc(tmp_path, images)
    (tmp_path / "Annotations").mkdir()
    for each in images:
        file = (tmp_path / each.name).with_suffix(".xml")
        file.rename(tmp_path / "Annotations" / file.name)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "cat_train.txt").write_text("a 1\nb -1\n")
    folder = read(tmp_path)
    assert {split: [i.name for i in images] for split, images in folder.splits.items()} == {
        "train": ["JPEGImages/a.png", "JPEGImages/b.png"],
        "val": ["JPEGImages/c.png"],
    }
    assert "images of no list in ImageSets/Main are left out: 1 (JPEGImages/d.png)" in folder.notes


def test_trainval_without_train_is_the_training_set(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box()), image("b.png", box())])
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\n")
    (lists / "test.txt").write_text("b\n")
    assert set(read(tmp_path).splits) == {"train", "test"}


def test_a_windows_path_in_filename_means_the_file_of_that_name(tmp_path: Path) -> None:
    folder = changed(tmp_path, "<filename>a.png", "<filename>C:\\Users\\me\\a.png")
    assert [each.name for each in folder.splits["all"]] == ["a.png"]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size></size>"])
def test_a_missing_size_is_taken_from_the_image_and_noted(tmp_path: Path, size: str) -> None:
    folder = changed(tmp_path, "<size><width>64</width><height>48</height><depth>3</depth></size>", size)
    assert [(each.width, each.height) for each in folder.splits["all"]] == [(64, 48)]
    assert folder.notes == ("annotation files without the image's size, which is taken from the image: 1 (a.xml)",)


def test_files_of_the_challenges_count_pixels_from_one(tmp_path: Path) -> None:
    source = "<source><database>The VOC2007 Database</database></source><object>"
    folder = changed(tmp_path, "<object>", source)
    (found,) = folder.splits["all"][0].boxes
    assert (found.x, found.y, found.width, found.height) == (1, 2, 11, 13)
    assert "pixel numbers from 1" in folder.notes[0]


def test_boxes_without_an_area_and_objects_without_a_box_are_counted(tmp_path: Path) -> None:
    folder = changed(tmp_path, "<xmax>12.0</xmax>", "<xmax>2.0</xmax>")
    assert folder.splits["all"][0].boxes == ()
    assert "boxes without an area are left out: 1 (a.xml)" in folder.notes


def test_an_image_without_a_file_of_its_own_is_left_out_and_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box())])
    write_image(tmp_path / "more" / "b.JPG", 8, 8)
    assert read(tmp_path).notes == ("images without an annotation file are left out: 1 (more/b.JPG)",)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("<xmin>2.0</xmin>", "", r"a\.xml: <bndbox> of 'cat' needs the numbers xmin, ymin, xmax and ymax"),
        ("<xmin>2.0</xmin>", "<xmin>nan</xmin>", "needs the numbers"),
        ("<name>cat</name>", "", r"a\.xml: an <object> has no <name>"),
        ("</annotation>", "", r"a\.xml: is no XML"),
        (
            "<annotation>",
            '<!DOCTYPE x [<!ENTITY a "b">]><annotation>',
            r"a\.xml: has a <!DOCTYPE \.\.\.>, .* is refused; remove it",
        ),
        ("<annotation>", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><annotation>', "is refused; remove it"),
    ],
)
def test_a_broken_file_is_named_with_the_rule(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        changed(tmp_path, before, after)


def test_an_xml_file_that_names_another_image_than_its_own_is_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box()), image("b.png", box("dog"))])
    (tmp_path / "b.xml").write_text((tmp_path / "b.xml").read_text().replace("b.png", "a.png"))
    folder = read(tmp_path)
    assert [each.name for each in folder.splits["all"]] == ["a.png"]
    assert (
        "annotation files beside an image of the same name that name another are taken for the other one: 1 "
        "(b.xml names 'a.png')"
    ) in folder.notes


@pytest.mark.parametrize(("named", "counted"), [("lost.png", 1), ("a.jpg", 1), ("a", 0)])
def test_an_xml_file_that_names_a_missing_image_is_that_of_its_own(tmp_path: Path, named: str, counted: int) -> None:
    folder = changed(tmp_path, "<filename>a.png", f"<filename>{named}")
    assert [each.name for each in folder.splits["all"]] == ["a.png"]
    remark = "annotation files that name a missing image are taken for the image of the file's own name: 1"
    assert sum(note.startswith(remark) for note in folder.notes) == counted


def test_a_path_of_another_machine_is_counted(tmp_path: Path) -> None:
    (note,) = changed(tmp_path, "<filename>a.png", "<filename>C:\\Users\\me\\a.png").notes
    assert note.startswith("images that are named with folders that are not there are found by the last part of the ")


def test_an_empty_file_beside_others_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box()), image("b.png", box())])
    (tmp_path / "b.xml").write_text("")
    with pytest.raises(DataError, match=r"b\.xml: is no XML"):
        read(tmp_path)


def test_utf16_is_recognised(tmp_path: Path) -> None:
    write_folder(tmp_path, "voc", [image("a.png", box())])
    text = (tmp_path / "a.xml").read_text()
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="utf-16"?>{text}'.encode("utf-16"))
    assert len(read(tmp_path).splits["all"][0].boxes) == 1
