"""Reading and validating COCO files."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos.annotations.annotations import read_annotations, require_boxes
from fcos.errors import ConfigError, DataError


def content() -> dict[str, Any]:
    """Return two images and two categories with gaps in all ids, listed out of order."""
    return {
        "images": [
            {"id": 9, "file_name": "b.jpg", "width": 100, "height": 50},
            {"id": 4, "file_name": "sub/a.jpg", "width": 60, "height": 80},
        ],
        "categories": [{"id": 7, "name": "late"}, {"id": 3, "name": "early"}],
        "annotations": [
            {
                "id": 10,
                "image_id": 9,
                "category_id": 7,
                "bbox": [10, 5, 20.5, 10],
                "area": 100.0,
                "iscrowd": 0,
            },
            {"id": 2, "image_id": 4, "category_id": 3, "bbox": [0, 0, 60, 80]},
            {"id": 30, "image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1},
        ],
    }


def write(folder: Path, value: Any) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(value))
    return path


def test_ids_with_gaps_become_contiguous_in_order_of_ids(tmp_path: Path) -> None:
    read = read_annotations(write(tmp_path, content()))
    assert read.image_ids.tolist() == [4, 9]
    assert read.names == ("sub/a.jpg", "b.jpg")
    assert read.sizes.tolist() == [[80, 60], [50, 100]]
    assert read.category_ids == (3, 7)
    assert read.classes == ("early", "late")
    assert read.labels.tolist() == [0, 1, 0]
    assert read.offsets.tolist() == [0, 1, 3]
    assert read.boxes.tolist() == [[0, 0, 60, 80], [10, 5, 30.5, 15], [1, 2, 4, 6]]
    assert read.areas.tolist() == [4800, 100, 12]


def test_crowds_are_evaluated_but_not_trained_on_and_counted(tmp_path: Path) -> None:
    read = read_annotations(write(tmp_path, content()))
    assert read.crowd.tolist() == [False, False, True]
    boxes, labels = read.training_boxes(1)
    assert boxes.tolist() == [[10, 5, 30.5, 15]]
    assert labels.tolist() == [1]
    (note,) = read.notes
    assert note == (
        "instances.json: 1 of 3 boxes have iscrowd=1: not trained on, and ignored in evaluation; "
        "data.crowds=objects takes them as objects"
    )


def test_crowds_can_be_objects_like_all_others(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    read = read_annotations(path, crowds="objects")
    assert not read.crowd.any() and read.trainable.all()
    assert read.training_boxes(1)[0].tolist() == [[10, 5, 30.5, 15], [1, 2, 4, 6]]
    assert read.notes == (
        "instances.json: 1 of 3 boxes have iscrowd=1 and are objects like all others (data.crowds=objects)",
    )
    assert read.digest == read_annotations(path).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iscrowd": 1}, "no box to train on or to detect, only 3 with iscrowd=1; data.crowds=objects takes those"),
        ({"bbox": [1, 2, 0, 4], "iscrowd": 0}, "only 3 of zero size or outside the image"),
    ],
)
def test_the_refusal_of_a_file_without_usable_boxes_has_the_reason(tmp_path: Path, change: Any, message: str) -> None:
    unusable = content()
    for entry in unusable["annotations"]:
        entry |= change
    annotations = read_annotations(write(tmp_path, unusable))
    with pytest.raises(DataError) as error:
        require_boxes(annotations)
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path / "instances.json"))


def test_a_name_that_is_listed_twice_is_noted(tmp_path: Path) -> None:
    twice = content()
    twice["images"].append(twice["images"][0] | {"id": 11})
    notes = read_annotations(write(tmp_path, twice)).notes
    assert "instances.json: 1 file is listed more than once and counted each time: b.jpg (2 times)" in notes


def test_a_box_that_is_given_twice_is_noted_and_kept(tmp_path: Path) -> None:
    twice = content()
    first = twice["annotations"][0]
    others = [first | {"id": 901, "area": 1.0}, first | {"id": 902, "bbox": [*first["bbox"][:3], first["bbox"][3] + 1]}]
    twice["annotations"] += others
    read = read_annotations(write(tmp_path, twice))
    (note,) = [note for note in read.notes if "more than once" in note]
    assert note.startswith("instances.json: 1 box given more than once") and "(annotation ids 901)" in note
    assert len(read.boxes) == 5


def test_boxes_without_an_area_of_their_own_are_noted(tmp_path: Path) -> None:
    empty = content()
    empty["annotations"][0]["area"] = 0
    notes = read_annotations(write(tmp_path, empty)).notes
    assert any(note.startswith("instances.json: 1 box of a size with area=0") for note in notes)


def test_packed_file_gives_the_same_content_and_digest(tmp_path: Path) -> None:
    plain = write(tmp_path, content())
    packed = tmp_path / "instances.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    first, second = read_annotations(plain), read_annotations(packed)
    assert first.digest == second.digest
    assert np.array_equal(first.boxes, second.boxes)


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, packed: bool) -> None:
    plain = write(tmp_path, content())
    marked = tmp_path / "marked.json"
    text = b"\xef\xbb\xbf" + plain.read_bytes()
    marked.write_bytes(gzip.compress(text) if packed else text)
    assert read_annotations(marked).digest == read_annotations(plain).digest


@pytest.mark.parametrize(
    ("bbox", "note"),
    [
        ([5, 5, 0, 3], "of zero size"),
        ([5, 5, -2, 3], "of zero size"),
        ([100, 5, 4, 3], "wholly outside the image"),
        ([-8, 5, 4, 3], "wholly outside the image"),
    ],
)
def test_box_without_a_visible_pixel_is_evaluated_alone_and_counted(
    tmp_path: Path, bbox: list[float], note: str
) -> None:
    broken = content()
    broken["annotations"][0] |= {"bbox": bbox}
    read = read_annotations(write(tmp_path, broken))
    assert read.xywh[1].tolist() == bbox and read.trainable.tolist() == [True, False, False]
    assert read.training_boxes(1)[0].shape == (0, 4)
    assert read.notes[0] == (
        f"instances.json: 1 box {note}, counted in evaluation and not trained on (annotation ids 10)"
    )


def test_box_partly_outside_is_clipped_for_training_and_kept_for_evaluation(tmp_path: Path) -> None:
    outside = content()
    outside["annotations"][0]["bbox"] = [-5, 40, 30, 30]
    read = read_annotations(write(tmp_path, outside))
    assert read.boxes[1].tolist() == [0, 40, 25, 50]
    assert read.xywh[1].tolist() == [-5, 40, 30, 30]
    assert "1 box partly outside the image clipped" in read.notes[0]


def test_inclusive_corners_name_the_last_pixel(tmp_path: Path) -> None:
    thin = content()
    thin["annotations"][1]["bbox"] = [59.5, 3, 0.5, 9]
    read = read_annotations(write(tmp_path, thin), box_convention="inclusive")
    assert read.boxes[1].tolist() == [10, 5, 29.5, 14]
    assert read.training_boxes(0)[0].shape == (0, 4)
    assert len(read.boxes) == 3, "evaluation keeps the box that has no area between pixel centers"
    assert "1 box left without area by inclusive corners" in read.notes[0]


def test_box_that_is_empty_in_single_precision_is_not_trained_on(tmp_path: Path) -> None:
    thin = content()
    thin["annotations"][1]["bbox"] = [59, 3, 1e-9, 9]
    read = read_annotations(write(tmp_path, thin))
    assert read.trainable.tolist() == [False, True, False]
    assert "1 box left without area by plain corners" in read.notes[0]


@pytest.mark.parametrize(("area", "expected"), [(-6, -6), (7, 7), (None, -6), (math.nan, -6), ("?", -6)])
def test_area_of_a_box_of_zero_size_is_as_annotated_or_its_sides(tmp_path: Path, area: Any, expected: float) -> None:
    negative = content()
    negative["annotations"][0] |= {"bbox": [5, 5, -2, 3], "area": area}
    assert read_annotations(write(tmp_path, negative)).areas[1] == expected


def test_an_image_without_boxes_has_empty_boxes(tmp_path: Path) -> None:
    empty = content() | {"annotations": []}
    read = read_annotations(write(tmp_path, empty))
    boxes, labels = read.training_boxes(1)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_selection_keeps_each_image_with_its_boxes(tmp_path: Path) -> None:
    read = read_annotations(write(tmp_path, content()))
    second = read.select(np.array([1]))
    assert second.names == ("b.jpg",)
    assert second.boxes.tolist() == read.boxes[1:].tolist()
    assert second.offsets.tolist() == [0, 2]
    assert len(read.select(np.array([], dtype=np.int64))) == 0


def changed(section: str, number: int, **values: Any) -> dict[str, Any]:
    broken = content()
    broken[section][number] |= values
    return broken


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([], "holds a JSON list"),
        ({key: value for key, value in content().items() if key != "categories"}, "no section 'categories'"),
        (content() | {"images": []}, "section 'images' is empty"),
        (content() | {"annotations": {"id": 1}}, "section 'annotations' must be a list"),
        (changed("images", 0, id=4), "images ids must be unique; 4"),
        (changed("categories", 0, id=3), "categories ids must be unique; 3"),
        (changed("categories", 0, name="early"), "'early' is given twice"),
        (changed("annotations", 0, id=2), "annotations ids must be unique; 2"),
        (
            changed("annotations", 0, image_id=5),
            "annotations[0] (id 10, image_id 5): image_id=5 is not among",
        ),
        (changed("annotations", 0, category_id=8), "(id 10, image_id 9): category_id=8 is not among"),
        (
            changed("annotations", 1, category_id="3"),
            "(id 2, image_id 4): category_id='3' must be a whole number, and is a text; write 3 without quotes",
        ),
        (changed("images", 0, id="a7"), "images[0] (id a7): id='a7' must be a whole number"),
        (changed("images", 0, id=2**63), "id=9223372036854775808 must be between -2**63 and 2**63; number the entries"),
        (changed("images", 0, id=2.0**60), "id=1.152921504606847e+18 must be a whole number"),
        (changed("annotations", 0, bbox=[1, 2, math.nan, 4]), "(id 10, image_id 9): bbox=[1, 2, nan, 4]"),
        (changed("annotations", 0, bbox=[1, 2, math.inf, 4]), "(id 10, image_id 9): bbox=[1, 2, inf, 4]"),
        (changed("annotations", 0, bbox=[1, 2, 10**400, 4]), "(id 10, image_id 9): bbox=[1, 2, 1000"),
        (changed("annotations", 0, bbox=[1, 2, 3]), "bbox=[1, 2, 3] must be four finite numbers"),
        (changed("annotations", 0, bbox=[1, 2, "3", 4]), "bbox=[1, 2, '3', 4] must be four finite numbers"),
        (changed("annotations", 0, bbox=None), "bbox=None must be four finite numbers"),
        (changed("annotations", 0, area=math.nan), "(id 10, image_id 9): area=nan"),
        (changed("annotations", 0, iscrowd=2), "(id 10, image_id 9): iscrowd=2 must be 0 or 1"),
        (changed("images", 0, width=0), "size 0x50 must be at least 1x1"),
        (changed("images", 0, width=10.5), "width=10.5 must be a whole number"),
        (changed("images", 0, file_name="/etc/passwd"), "must be a path below the image folder"),
        (changed("images", 0, file_name="a/../../b.jpg"), "must be a path below the image folder"),
        (changed("images", 0, file_name="..\\b.jpg"), "must be a path below the image folder"),
        (changed("images", 0, file_name="C:\\b.jpg"), "must be a path below the image folder"),
        (changed("images", 0, file_name=""), "must be a path below the image folder"),
        (changed("images", 0, file_name="a\0.jpg"), "must be a path below the image folder"),
        (changed("images", 0, file_name=7), "must be a path below the image folder"),
    ],
)
def test_broken_entry_is_an_error_that_names_file_and_entry(tmp_path: Path, broken: Any, message: str) -> None:
    path = write(tmp_path, broken)
    with pytest.raises(DataError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert isinstance(error.value, ConfigError)


def test_missing_key_is_an_error_that_names_the_entry(tmp_path: Path) -> None:
    broken = content()
    del broken["annotations"][2]["bbox"]
    with pytest.raises(DataError, match=r"annotations\[2\] \(id 30, image_id 9\) has no 'bbox'"):
        read_annotations(write(tmp_path, broken))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not JSON"),
        (b"", "is empty"),
        (b"\xff\xd8\xff", "is not JSON: byte 0xff at position 0 is not UTF-8"),
        (b"\x1f\x8bnonsense", "gzip data are broken"),
        ('{"images": "é"}'.encode("latin-1"), "byte 0xe9 at position 12 is not UTF-8"),
        ("{}".encode("utf-16"), "is UTF-16 text, and JSON files are UTF-8; .* iconv -f UTF-16 -t UTF-8"),
        ("{}".encode("utf-16-le"), "is UTF-16-LE text"),
        ("{}".encode("utf-16-be"), "is UTF-16-BE text"),
        ("{}".encode("utf-32"), "is UTF-32 text"),
        (gzip.compress("{}".encode("utf-16"), mtime=0), "is UTF-16 text"),
    ],
)
def test_unreadable_text_is_an_error_that_names_the_file(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)


def test_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "instances.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content()).encode())[:-12])
    with pytest.raises(DataError, match="gzip data are broken"):
        read_annotations(path)


def test_a_missing_file_or_a_folder_of_its_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such annotation file"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_annotations(tmp_path)


def test_val2017_counts_of_both_corner_conventions(shared_data: Path) -> None:
    path = shared_data / "coco_val2017" / "instances_val2017_boxes.json.gz"
    plain, inclusive = read_annotations(path), read_annotations(path, "inclusive")
    assert len(plain) == len(inclusive) == 5000
    assert plain.trainable.sum() == 36_335
    assert inclusive.trainable.sum() == 36_334
    assert plain.crowd.sum() == inclusive.crowd.sum() == 446
    (note,) = plain.notes
    assert "446 of 36781 boxes have iscrowd=1" in note


def test_bccd_zero_size_boxes_are_not_trained_on_and_noted(shared_data: Path) -> None:
    folder = shared_data / "bccd" / "annotations"
    clean, raw = (read_annotations(folder / f"instances_train{kind}.json") for kind in ("", "_raw"))
    assert len(clean.boxes) == raw.trainable.sum() == 2804 and len(raw.boxes) == 2805
    assert clean.notes == ()
    assert "1 box of zero size, counted in evaluation and not trained on" in raw.notes[0]
    assert np.array_equal(np.sort(clean.boxes, axis=0), np.sort(raw.boxes[raw.trainable], axis=0))


def test_coco_tiny_has_crowds_and_images_without_boxes(shared_data: Path) -> None:
    read = read_annotations(shared_data / "coco_tiny" / "annotations" / "instances_train2017.json")
    assert (len(read), len(read.boxes), int(read.crowd.sum()), len(read.classes)) == (128, 939, 10, 80)
    assert read.category_ids[-1] == 90
    assert (np.diff(read.offsets) == 0).sum() == 2
