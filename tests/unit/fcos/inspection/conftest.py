"""A small data set of one category."""

from pathlib import Path

import pytest

from tests.helpers.data.coco_folders import write_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path / "data", "train", 5, {2: "cat"})
    write_split(tmp_path / "data", "val", 3, {2: "cat"})
    return tmp_path / "data"
