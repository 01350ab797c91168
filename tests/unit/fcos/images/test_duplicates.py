"""Images that a data set has twice by content are noted, and found by reading as little as possible."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fcos.config.choices import Split
from fcos.images import duplicates
from fcos.images.duplicates import BLOCK_BYTES, duplicate_notes
from fcos.images.image_files import FileStat, file_stats
from fcos.storage.reading import read_bytes


def split_of(folder: Path, **contents: bytes) -> tuple[Path, Sequence[FileStat]]:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder, file_stats(folder, list(contents))


def test_different_images_give_no_note(tmp_path: Path) -> None:
    splits: dict[Split, tuple[Path, Sequence[FileStat]]] = {
        "train": split_of(tmp_path / "train", a=b"12", b=b"123", c=b"21"),
        "val": split_of(tmp_path / "val", a=b"13", b=b"124"),
    }
    assert duplicate_notes(splits, tmp_path / "cache") == []


def test_repeated_contents_of_a_split_are_counted_with_examples(tmp_path: Path) -> None:
    train = split_of(tmp_path / "train", a=b"12", b=b"34", c=b"12", d=b"12", e=b"34", f=b"56")
    assert duplicate_notes({"train": train}, tmp_path / "cache") == [
        "train: 3 images repeat the content of another under a name of its own: a = c = d, b = e"
    ]


def test_images_of_validation_that_are_trained_on_are_a_warning(tmp_path: Path) -> None:
    splits: dict[Split, tuple[Path, Sequence[FileStat]]] = {
        "train": split_of(tmp_path / "train", a=b"12", b=b"34"),
        "val": split_of(tmp_path / "val", x=b"34", y=b"35", z=b"34"),
    }
    assert duplicate_notes(splits, tmp_path / "cache") == [
        "val: 1 image repeats the content of another under a name of its own: x = z",
        "warning: 2 of 3 val images are train images too, by content: val x = train b, val z = train b; the metrics of "
        "val are partly those of images that were trained on",
    ]


def test_the_same_file_in_both_splits_needs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = split_of(tmp_path / "images", a=b"12")
    monkeypatch.setattr(duplicates, "read_block", None)
    (note,) = duplicate_notes({"train": folder, "val": folder}, tmp_path / "cache")
    assert note.startswith("warning: 1 of 1 val images are train images too, by content: val a = train a")


def test_a_name_that_is_listed_twice_is_no_other_image(tmp_path: Path) -> None:
    folder, stats = split_of(tmp_path / "train", a=b"12")
    assert duplicate_notes({"train": (folder, [*stats, *stats])}, tmp_path / "cache") == []


def test_long_files_that_differ_outside_of_their_middle_are_different(tmp_path: Path) -> None:
    middle = bytes(BLOCK_BYTES)
    train = split_of(tmp_path / "train", a=b"1" + middle + b"2", b=b"3" + middle + b"2", c=b"1" + middle + b"2")
    (note,) = duplicate_notes({"train": train}, tmp_path / "cache")
    assert note.endswith(": a = c")


def test_only_files_of_equal_size_and_middle_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = bytes(2 * BLOCK_BYTES)
    other = long[:-BLOCK_BYTES] + b"1" * BLOCK_BYTES
    train = split_of(tmp_path / "train", a=long, b=long + b"1", c=other, d=long)
    whole: list[str] = []

    def count(path: Path, description: str) -> bytes:
        whole.append(path.name)
        return read_bytes(path, description)

    monkeypatch.setattr(duplicates, "read_bytes", count)
    duplicate_notes({"train": train}, tmp_path / "cache")
    assert sorted(whole) == ["a", "d"]


def test_files_are_read_once_until_one_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = split_of(tmp_path / "train", a=b"12", b=b"12")
    first = duplicate_notes({"train": train}, tmp_path / "cache")
    monkeypatch.setattr(duplicates, "read_block", None)
    assert duplicate_notes({"train": train}, tmp_path / "cache") == first != []
    with pytest.raises(TypeError):
        duplicate_notes({"train": split_of(tmp_path / "train", a=b"123", b=b"123")}, tmp_path / "cache")


def test_missing_files_are_equal_to_none(tmp_path: Path) -> None:
    folder, _ = split_of(tmp_path / "train")
    stats: list[FileStat] = [("a", -1, -1), ("b", -1, -1)]
    assert duplicate_notes({"train": (folder, stats)}, tmp_path / "cache") == []
