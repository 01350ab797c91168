"""A small data set of two categories."""

from pathlib import Path

import pytest

from tests.helpers.data.coco_folders import write_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path / "data", "train", 5, {2: "cat", 8: "dog"})
    write_split(tmp_path / "data", "val", 3, {2: "cat", 8: "dog"})
    return tmp_path / "data"
