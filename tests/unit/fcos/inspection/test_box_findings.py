"""What an inspection finds in boxes, with counts, annotation ids and the image that shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.helpers.data.inspections import edit, finding, inspected


def give_boxes(root: Path, *boxes: Sequence[float], split: str = "train", **more: Any) -> None:
    """Set the boxes of the first images of a split."""

    def change(content: dict[str, Any]) -> None:
        for annotation, box in zip(content["annotations"], boxes, strict=False):
            annotation.update(bbox=box, **more)

    edit(root / f"{split}.json", change)


def test_a_clean_data_set_has_no_findings(root: Path) -> None:
    assert inspected(root).findings == ()


def test_boxes_of_zero_size_outside_and_partly_outside_are_distinguished(root: Path) -> None:
    give_boxes(root, [1, 2, 0, 5], [40, 2, 5, 5], [25, 2, 10, 10])
    found = inspected(root)
    zero = finding(found, "boxes of zero size")
    assert (zero.severity, zero.count, zero.total) == ("warning", 1, 5)
    assert zero.examples[0].text == "0.png, annotation 1" and zero.examples[0].rows == (0,)
    assert finding(found, "boxes wholly outside their image").examples[0].text == "1.png, annotation 2"
    partly = finding(found, "boxes partly outside their image")
    assert (partly.severity, partly.examples[0].position) == ("note", 2)


def test_boxes_of_the_unit_square_are_one_error_and_nothing_else(root: Path) -> None:
    give_boxes(root, *[[0.1, 0.1, 0.5, 0.5]] * 5)
    found = inspected(root)
    (error,) = found.findings
    assert error.severity == "error" and error.title == "boxes are not in pixels"
    assert "multiply x and width by the width of the image" in error.meaning


def test_a_few_boxes_below_a_pixel_are_a_warning(root: Path) -> None:
    give_boxes(root, [1, 2, 0.5, 0.5])
    tiny = finding(inspected(root), "boxes smaller than a pixel")
    assert (tiny.severity, tiny.count) == ("warning", 1)


def test_many_crowds_are_a_warning_with_the_setting_that_trains_on_them(root: Path) -> None:
    give_boxes(root, *[[1, 2, 10, 10]] * 3, iscrowd=1)
    crowds = finding(inspected(root), "boxes with iscrowd=1")
    assert (crowds.severity, crowds.count, crowds.total) == ("warning", 3, 5)
    assert "data.crowds=objects" in crowds.way_out
    as_objects = finding(inspected(root, "data.crowds=objects"), "boxes with iscrowd=1")
    assert as_objects.severity == "note"


def test_a_split_of_crowds_alone_is_an_error(root: Path) -> None:
    give_boxes(root, *[[1, 2, 10, 10]] * 3, split="val", iscrowd=1)
    error = finding(inspected(root), "no box to train on or to detect", "val")
    assert error.severity == "error" and "data.crowds=objects takes those with iscrowd=1" in error.meaning


def test_boxes_between_the_locations_are_counted_at_the_input_size(root: Path) -> None:
    give_boxes(root, [5, 5, 2, 2])
    lost = finding(inspected(root), "boxes without a location")
    assert (lost.count, lost.total, lost.examples[0].text) == (1, 5, "0.png, annotation 1")
    larger = inspected(root, "data.short_sides=[200]", "data.long_side=400")
    assert all(each.title != "boxes without a location" for each in larger.findings)
