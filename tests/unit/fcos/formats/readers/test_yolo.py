"""YOLO as tools really write it: layouts, names, polygons and labels that are out of order."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from fcos.errors import DataError
from fcos.formats.listing import list_folder
from fcos.formats.readers import yolo
from fcos.formats.structures import LabelledFolder
from tests.helpers.data.labelled_folders import write_image

LINE = "0 0.5 0.5 0.25 0.5\n"
NAMES = "names: [cat, dog]\n"


def read(root: Path) -> LabelledFolder:
    return yolo.read(list_folder(root))


def write(root: Path, images: Mapping[str, str | None], **files: str) -> Path:
    """Write images of 64 x 48 with the labels of each, None for no file, and further files; `_` stands for a dot."""
    for name, labels in images.items():
        write_image(root / name, 64, 48)
        if labels is not None:
            parts = Path(name).parts
            at = [*("labels" if part == "images" else part for part in parts)]
            file = root.joinpath(*at).with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(labels)
    for name, text in files.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


def names_of(folder: LabelledFolder) -> dict[str, list[str]]:
    return {split: [each.name for each in images] for split, images in folder.splits.items()}


@pytest.mark.parametrize(
    ("train", "val"), [("images/train/a.jpg", "images/val/b.JPG"), ("train/images/a.jpg", "valid/images/b.JPG")]
)
@pytest.mark.parametrize("names", [NAMES, "names: {0: cat, 1: dog}\nnc: 2\n"])
def test_both_layouts_and_both_kinds_of_names_are_read(tmp_path: Path, train: str, val: str, names: str) -> None:
    folder = read(write(tmp_path, {train: LINE, val: LINE}, data_yaml=names))
    assert names_of(folder) == {"train": [train], "val": [val]}
    assert folder.classes == ("cat", "dog")
    (box,) = folder.splits["train"][0].boxes
    assert (box.label, box.x, box.y, box.width, box.height) == ("cat", 24, 12, 16, 24)


@pytest.mark.parametrize(
    "train",
    ["../train/images", "/content/data/train/images", "C:\\data\\train\\images", "train/images", "./train/images"],
)
def test_paths_of_other_machines_in_data_yaml_lead_into_the_folder(tmp_path: Path, train: str) -> None:
    settings = f"{NAMES}train: '{train}'\nval: ../valid/images\n"
    folder = read(write(tmp_path, {"train/images/a.jpg": LINE, "valid/images/b.jpg": LINE}, data_yaml=settings))
    assert names_of(folder) == {"train": ["train/images/a.jpg"], "val": ["valid/images/b.jpg"]}


def test_a_list_of_images_and_a_path_key_are_followed(tmp_path: Path) -> None:
    settings = f"{NAMES}path: /datasets/cats\ntrain: train.txt\nval: [images/val]\n"
    images = {"images/one/a.jpg": LINE, "images/one/b.jpg": LINE, "images/val/c.jpg": LINE}
    folder = read(write(tmp_path, images, data_yaml=settings, train_txt="./images/one/a.jpg\n./images/one/x.jpg\n"))
    assert names_of(folder) == {"train": ["images/one/a.jpg"], "val": ["images/val/c.jpg"]}
    assert "listed images without a file are left out: 1 (./images/one/x.jpg)" in folder.notes
    assert "images that data.yaml does not name are left out: 1 (images/one/b.jpg)" in folder.notes


def test_a_path_that_leads_nowhere_is_refused_with_its_key(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.jpg": LINE}, data_yaml=f"{NAMES}train: ../elsewhere\n")
    with pytest.raises(DataError, match=r"data\.yaml: train=\.\./elsewhere: no such folder or list of images below"):
        read(root)


def test_polygons_become_the_boxes_around_them(tmp_path: Path) -> None:
    folder = read(write(tmp_path, {"a.jpg": "1 0.25 0.25 0.75 0.5 0.5 0.75\n"}, classes_txt="cat\ndog\n"))
    (box,) = folder.splits["all"][0].boxes
    assert (box.label, box.x, box.y, box.width, box.height) == ("dog", 16, 12, 32, 24)


def test_keypoints_behind_a_box_are_no_polygon(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"a.jpg": "0 0.5 0.5 0.25 0.5 0.9 0.9 2 0.1 0.1 2\n"}, data_yaml=f"{NAMES}kpt_shape: [2, 3]\n"
    )
    (box,) = read(root).splits["all"][0].boxes
    assert (box.x, box.width) == (24, 16)


def test_boxes_that_leave_the_image_are_clipped_and_counted(tmp_path: Path) -> None:
    lines = "0 0.95 0.5 0.2 0.5\n0 1.5 0.5 0.2 0.5\n0 0.5 0.5 0 0.5\n"
    folder = read(write(tmp_path, {"a.jpg": lines}, classes_txt="cat\n"))
    (box,) = folder.splits["all"][0].boxes
    assert (box.x, box.width) == pytest.approx((0.85 * 64, 0.15 * 64))
    assert folder.notes == (
        "boxes that leave the image are clipped: 2 (a.txt)",
        "boxes without an area in the image are left out: 2 (a.txt)",
    )


def test_images_without_labels_are_without_objects_and_labels_without_an_image_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, {"images/a.jpg": LINE, "images/b.jpg": None, "images/c.jpg": ""}, data_yaml=NAMES)
    (root / "labels" / "lost.txt").write_text(LINE)
    folder = read(root)
    assert {each.name: len(each.boxes) for each in folder.splits["all"]} == {
        "images/a.jpg": 1,
        "images/b.jpg": 0,
        "images/c.jpg": 0,
    }
    assert folder.notes == (
        "images without a label file are taken as images without objects: 1 (images/b.jpg)",
        "label files without an image are left out: 1 (labels/lost.txt)",
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("2 0.5 0.5 0.1 0.1\n", r"a\.txt, line 1: class 2: data\.yaml declares 2 classes, from 0"),
        ("\n0 32 24 10 10\n", r"a\.txt, line 2: .* must be fractions of the image's sides"),
        ("cat 0.5 0.5 0.1 0.1\n", r"line 1: .* must be a class number and fractions"),
        ("0 0.5 0.5 0.1\n", r"line 1: has 4 numbers; a box has 5"),
        ("0 0.5 0.5 0.1 inf\n", "must be a class number and fractions"),
    ],
)
def test_a_wrong_line_is_named_with_the_rule(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, {"a.jpg": labels}, data_yaml=NAMES))


def test_labels_without_names_are_refused_with_the_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"nothing says what their class numbers mean; write the names, a line each, into .*classes\.txt",
    ):
        read(write(tmp_path, {"a.jpg": LINE}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("names: {1: cat, 2: dog}\n", "names must be a list of classes, or classes by the numbers 0, 1, 2"),
        ("names: []\n", "declares no class"),
        ("names: [cat, cat]\n", "the class 'cat' is declared twice"),
        ("names: [cat\n", "is no YAML"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, {"a.jpg": LINE}, data_yaml=settings))


def test_two_files_of_names_are_refused_as_ambiguous(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.jpg": LINE}, data_yaml=NAMES, other_yaml="names: [x]\n")
    with pytest.raises(DataError, match=r"several files declare classes for YOLO labels: data\.yaml, other\.yaml"):
        read(root)


def test_a_byte_order_mark_in_the_first_label_file_is_skipped(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.jpg": "\ufeff" + LINE}, classes_txt="cat\n")
    assert yolo.recognise(list_folder(root)) is not None
    assert len(read(root).splits["all"][0].boxes) == 1


@pytest.mark.parametrize("test", ["../test/images", "[test/images, more/images]"])
def test_test_images_that_are_not_there_are_counted(tmp_path: Path, test: str) -> None:
    settings = f"{NAMES}train: ../train/images\nval: ../valid/images\ntest: {test}\n"
    folder = read(write(tmp_path, {"train/images/a.jpg": LINE, "valid/images/b.jpg": LINE}, data_yaml=settings))
    assert names_of(folder) == {"train": ["train/images/a.jpg"], "val": ["valid/images/b.jpg"]}
    (note,) = folder.notes
    assert note.startswith("test images that data.yaml names are not there: ")


def test_images_to_validate_on_that_are_not_there_are_refused(tmp_path: Path) -> None:
    settings = f"{NAMES}train: ../train/images\nval: ../valid/images\n"
    with pytest.raises(DataError, match=r"data\.yaml: val=\.\./valid/images: no such folder"):
        read(write(tmp_path, {"train/images/a.jpg": LINE}, data_yaml=settings))


def test_a_label_file_beside_no_image_is_counted_and_other_texts_are_not(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.jpg": LINE}, classes_txt="cat\n", README_dataset_txt="12 images of cats are in here\n")
    (root / "b.txt").write_text(LINE)
    assert read(root).notes == ("label files without an image are left out: 1 (b.txt)",)


def test_labels_of_images_that_data_yaml_does_not_name_have_an_image(tmp_path: Path) -> None:
    settings = f"{NAMES}train: images/train\nval: images/val\n"
    images: dict[str, str | None] = {f"images/{split}/a.jpg": LINE for split in ("train", "val", "more")}
    folder = read(write(tmp_path, images, data_yaml=settings))
    assert folder.notes == ("images that data.yaml does not name are left out: 1 (images/more/a.jpg)",)
