"""What training would refuse is a finding, and the rest of the data is still read."""

from pathlib import Path

import pytest

from fcos.errors import DataError
from tests.helpers.data.inspections import finding, inspected


def test_a_broken_annotation_file_leaves_the_other_split(root: Path) -> None:
    (root / "val.json").write_text("{")
    found = inspected(root)
    error = finding(found, "annotations cannot be read", "val")
    assert error.severity == "error" and "val.json: is not JSON" in error.meaning
    assert list(found.counts.splits) == ["train"]


def test_without_any_annotations_there_is_nothing_to_show(root: Path) -> None:
    (root / "train.json").unlink()
    (root / "val.json").unlink()
    with pytest.raises(DataError, match="no such annotation file"):
        inspected(root)


def test_a_missing_image_folder_leaves_the_boxes(root: Path) -> None:
    (root / "val").rename(root / "elsewhere")
    found = inspected(root)
    assert finding(found, "the folder of the images is missing", "val").severity == "error"
    assert found.counts.splits["val"].boxes == 3
    assert found.views["val"].facts is None


def test_only_as_many_images_are_read_as_a_training_has(root: Path) -> None:
    assert inspected(root, "data.limit_train=2").counts.splits["train"].images == 2
