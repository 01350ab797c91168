"""Numbers of an inspection."""

from pathlib import Path

import pytest

from tests.helpers.data.inspections import edit, inspected


def test_boxes_are_counted_by_image_class_and_level(root: Path) -> None:
    edit(root / "train.json", lambda content: content["annotations"][0].update(bbox=[0, 0, 30, 20]))
    words = ("model.levels=[3,4]", "model.assignment.ranges=[[0,10],[10,null]]")
    counts = inspected(root, *words).counts
    train = counts.splits["train"]
    assert (train.images, train.boxes, train.median_size) == (5, 5, "30x20")
    assert train.per_image.tolist() == [1] * 5 and train.per_class.tolist() == [5]
    assert sorted(train.half_sides.tolist()) == [5, 5, 5, 5, 15]
    assert [level.range for level in counts.levels] == ["0 to 10", "from 10"]
    assert [level.shares["train"] for level in counts.levels] == pytest.approx([0.8, 0.2])


def test_sizes_are_those_at_the_input(root: Path) -> None:
    counts = inspected(root, "data.short_sides=[32,40]", "data.long_side=200").counts
    assert counts.splits["train"].half_sides.tolist() == [10] * 5
    assert counts.input_size == "a short side of 40, a long side of at most 200"


def test_a_level_without_boxes_has_a_share_of_zero(root: Path) -> None:
    edit(root / "val.json", lambda content: content.update(annotations=[]))
    assert all(level.shares["val"] == 0 for level in inspected(root).counts.levels)
