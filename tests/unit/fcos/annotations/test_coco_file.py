"""A cached annotation file reads as parsing would give it, or is parsed again."""

import json
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from fcos.annotations import coco_file
from fcos.annotations.coco_file import CocoFile, read_coco_file
from fcos.errors import DataError
from fcos.storage import array_cache


@pytest.fixture
def annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small annotation file that is cached in spite of its size."""
    monkeypatch.setattr(coco_file, "MIN_CACHED_BYTES", 0)
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


def fail_on_parsing(content: bytes, path: Path) -> CocoFile:
    raise AssertionError("parsed again")


def assert_equal(one: CocoFile, other: CocoFile) -> None:
    for item in fields(CocoFile):
        first, second = getattr(one, item.name), getattr(other, item.name)
        assert type(first) is type(second)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
        assert np.array_equal(first, second), item.name


def cached_files(cache: Path) -> list[Path]:
    return sorted((cache / array_cache.CACHE_FOLDER).iterdir())


@pytest.mark.parametrize("boxes", [0, 1, 2])
def test_a_second_read_uses_the_cache(annotations: Path, tmp_path: Path, monkeypatch, boxes) -> None:
    write(annotations, boxes=boxes)
    parsed = read_coco_file(annotations, None)
    assert_equal(read_coco_file(annotations, tmp_path / "cache"), parsed)
    monkeypatch.setattr(coco_file, "parse_coco_file", fail_on_parsing)
    assert_equal(read_coco_file(annotations, tmp_path / "cache"), parsed)
    # The cache key is the content, not the name.
    assert_equal(read_coco_file(annotations.rename(tmp_path / "other.json"), tmp_path / "cache"), parsed)


def test_a_changed_file_is_parsed_again(annotations: Path, tmp_path: Path) -> None:
    read_coco_file(annotations, tmp_path / "cache")
    before = annotations.stat()
    write(annotations, name="Schlob.jpg")
    os.utime(annotations, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_coco_file(annotations, tmp_path / "cache").names == ("b.jpg", "Schlob.jpg")
    assert len(cached_files(tmp_path / "cache")) == 2


def test_damaged_cached_files_are_replaced(annotations: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    parsed = read_coco_file(annotations, cache)
    (cached,) = cached_files(cache)
    complete = cached.read_bytes()
    damaged = [b"", complete[:20], complete[:-1], complete + b"\0", b"no zip at all"]
    for position in range(0, len(complete), 61):
        damaged.append(complete[:position] + bytes([complete[position] ^ 1]) + complete[position + 1 :])
    for content in damaged:
        cached.write_bytes(content)
        assert_equal(read_coco_file(annotations, cache), parsed)
        assert cached.read_bytes() == complete


def test_invalid_files_are_not_cached(annotations: Path, tmp_path: Path) -> None:
    annotations.write_text(annotations.read_text().replace('"width": 60', '"width": 0'))
    for _ in range(2):
        with pytest.raises(DataError, match=r"instances\.json: images\[0\]"):
            read_coco_file(annotations, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_whole_numbers_may_be_written_with_a_point(annotations: Path) -> None:
    parsed = read_coco_file(annotations, None)
    keys = "id|image_id|category_id|width|height"
    annotations.write_text(re.sub(rf'("(?:{keys})": \d+)', r"\1.0", annotations.read_text()))
    assert '"image_id": 7.0' in annotations.read_text()
    assert_equal(replace(read_coco_file(annotations, None), digest=parsed.digest), parsed)


def test_small_files_are_not_cached(tmp_path: Path) -> None:
    read_coco_file(write(tmp_path / "instances.json"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_a_writable_cache_files_are_parsed(annotations: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert_equal(read_coco_file(annotations, tmp_path / "cache"), read_coco_file(annotations, None))
    assert "its content is computed anew" in caplog.text


def test_concurrent_readers_leave_one_complete_file(annotations: Path, tmp_path: Path) -> None:
    parsed = read_coco_file(annotations, None)
    with ThreadPoolExecutor(8) as pool:
        for file in pool.map(lambda _: read_coco_file(annotations, tmp_path / "cache"), range(32)):
            assert_equal(file, parsed)
    assert len(cached_files(tmp_path / "cache")) == 1


def test_the_least_recently_used_file_is_evicted(annotations: Path, tmp_path: Path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    read_coco_file(annotations, cache)
    (oldest,) = cached_files(cache)
    os.utime(oldest, (1, 1))
    leftover = oldest.with_name(".1234.kept")
    leftover.write_bytes(bytes(1000))
    os.utime(leftover, (0, 0))
    # Reading counts as use.
    read_coco_file(annotations, cache)
    monkeypatch.setattr(array_cache, "MAX_BYTES", 2 * oldest.stat().st_size + 100)
    read_coco_file(write(tmp_path / "second.json", name="two.jpg"), cache)
    assert oldest in cached_files(cache) and leftover not in cached_files(cache)
    os.utime(oldest, (1, 1))
    monkeypatch.setattr(array_cache, "MAX_BYTES", 10)
    read_coco_file(write(tmp_path / "third.json", name="three.jpg"), cache)
    assert len(cached_files(cache)) == 1
    assert read_coco_file(tmp_path / "third.json", cache).names == ("b.jpg", "three.jpg")
