"""What is kept of an annotation file is what parsing gives, or it is not used."""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fcos.data import array_cache, coco_file
from fcos.data.coco_file import CocoFile, read_coco_file
from fcos.errors import DataError


@pytest.fixture
def annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file, kept all the same."""
    monkeypatch.setattr(coco_file, "LEAST_BYTES", 0)
    return write(tmp_path / "instances.json")


def write(path: Path, name: str = "Schloß.jpg", boxes: int = 2) -> Path:
    content = {
        "images": [
            {"id": 7, "file_name": name, "width": 60, "height": 40},
            {"id": 3, "file_name": "b.jpg", "width": 9, "height": 9},
        ],
        "categories": [{"id": 5, "name": 'a "b"'}, {"id": 1, "name": "c"}],
        "annotations": [
            {"id": 10 - n, "image_id": 7, "category_id": 5, "bbox": [n, 1, 2.5, 3], "iscrowd": n % 2}
            for n in range(boxes)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def no_parsing(content: bytes, path: Path) -> CocoFile:
    raise AssertionError("parsed again")


def assert_same(one: CocoFile, other: CocoFile) -> None:
    for item in fields(CocoFile):
        mine, theirs = getattr(one, item.name), getattr(other, item.name)
        assert type(mine) is type(theirs)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), item.name


def kept_files(cache: Path) -> list[Path]:
    return sorted((cache / coco_file.FOLDER).iterdir())


@pytest.mark.parametrize("boxes", [0, 1, 2])
def test_a_second_reading_does_not_parse_and_gives_the_same(
    annotations: Path, tmp_path: Path, monkeypatch, boxes
) -> None:
    write(annotations, boxes=boxes)
    parsed = read_coco_file(annotations, None)
    assert_same(read_coco_file(annotations, tmp_path / "cache"), parsed)
    monkeypatch.setattr(coco_file, "parse_coco_file", no_parsing)
    assert_same(read_coco_file(annotations, tmp_path / "cache"), parsed)
    # The content counts, not the name.
    assert_same(read_coco_file(annotations.rename(tmp_path / "other.json"), tmp_path / "cache"), parsed)


def test_a_changed_file_is_parsed(annotations: Path, tmp_path: Path) -> None:
    read_coco_file(annotations, tmp_path / "cache")
    before = annotations.stat()
    write(annotations, name="Schlob.jpg")
    os.utime(annotations, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_coco_file(annotations, tmp_path / "cache").names == ("b.jpg", "Schlob.jpg")
    assert len(kept_files(tmp_path / "cache")) == 2


def test_what_is_damaged_is_never_used_and_replaced(annotations: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    parsed = read_coco_file(annotations, cache)
    (kept,) = kept_files(cache)
    whole = kept.read_bytes()
    damaged = [b"", whole[:20], whole[:-1], whole + b"\0", b"no zip at all"]
    for place in range(0, len(whole), 61):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in damaged:
        kept.write_bytes(content)
        assert_same(read_coco_file(annotations, cache), parsed)
        assert kept.read_bytes() == whole


def test_what_cannot_be_used_is_not_kept(annotations: Path, tmp_path: Path) -> None:
    annotations.write_text(annotations.read_text().replace('"width": 60', '"width": 0'))
    for _ in range(2):
        with pytest.raises(DataError, match=r"instances\.json: images\[0\]"):
            read_coco_file(annotations, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_small_file_is_not_kept(tmp_path: Path) -> None:
    read_coco_file(write(tmp_path / "instances.json"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_a_folder_to_write_in_everything_is_parsed(annotations: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert_same(read_coco_file(annotations, tmp_path / "cache"), read_coco_file(annotations, None))
    assert "annotations are parsed anew" in caplog.text


def test_many_that_read_at_once_leave_one_whole_file(annotations: Path, tmp_path: Path) -> None:
    parsed = read_coco_file(annotations, None)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: read_coco_file(annotations, tmp_path / "cache"), range(32)):
            assert_same(found, parsed)
    assert len(kept_files(tmp_path / "cache")) == 1


def test_what_was_not_used_for_longest_makes_room(annotations: Path, tmp_path: Path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    read_coco_file(annotations, cache)
    (first,) = kept_files(cache)
    os.utime(first, (1, 1))
    draft_of_the_killed = first.with_name(".1234.kept")
    draft_of_the_killed.write_bytes(bytes(1000))
    os.utime(draft_of_the_killed, (0, 0))
    # Reading counts as use.
    read_coco_file(annotations, cache)
    monkeypatch.setattr(array_cache, "MOST_BYTES", 2 * first.stat().st_size + 100)
    read_coco_file(write(tmp_path / "second.json", name="two.jpg"), cache)
    assert first in kept_files(cache) and draft_of_the_killed not in kept_files(cache)
    os.utime(first, (1, 1))
    monkeypatch.setattr(array_cache, "MOST_BYTES", 10)
    read_coco_file(write(tmp_path / "third.json", name="three.jpg"), cache)
    assert len(kept_files(cache)) == 1
    assert read_coco_file(tmp_path / "third.json", cache).names == ("b.jpg", "three.jpg")
