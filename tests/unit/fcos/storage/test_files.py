"""Atomic writes and caches of bounded size."""

import os
from pathlib import Path

import pytest

from fcos.storage.files import evict_least_recently_used, write_atomically


@pytest.mark.parametrize(("data", "content"), [("Größe", "Größe".encode()), (b"\x00\xff", b"\x00\xff")])
def test_an_atomic_write_replaces_the_file_and_leaves_nothing_else(
    tmp_path: Path, data: bytes | str, content: bytes
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    write_atomically(path, data)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_atomically(atomic, "")
    assert atomic.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_atomic_write_keeps_the_old_file_and_removes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_succeeds_where_folders_cannot_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail_for_folders(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(22, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    write_atomically(tmp_path / "state.json", "new")
    assert (tmp_path / "state.json").read_text() == "new"


def test_an_atomic_write_into_a_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "state.json", "new")


def used_at(path: Path, time: int, num_bytes: int = 10) -> Path:
    path.write_bytes(b"x" * num_bytes)
    os.utime(path, (time, time))
    return path


@pytest.mark.parametrize(
    ("max_bytes", "keep_newest", "left"),
    [(30, False, "abc"), (20, False, "bc"), (19, False, "c"), (9, False, ""), (9, True, "c"), (0, True, "c")],
)
def test_the_files_used_longest_ago_are_evicted_first(
    tmp_path: Path, max_bytes: int, keep_newest: bool, left: str
) -> None:
    files = [used_at(tmp_path / name, time) for time, name in enumerate("abc", start=1)]
    evict_least_recently_used(files, max_bytes, Path.unlink, keep_newest=keep_newest)
    assert "".join(sorted(path.name for path in tmp_path.iterdir())) == left


def test_files_that_another_process_removed_are_skipped(tmp_path: Path) -> None:
    files = [used_at(tmp_path / "a", 1), tmp_path / "gone", used_at(tmp_path / "b", 2)]
    removed: list[Path] = []

    def remove(path: Path) -> None:
        removed.append(path)
        raise FileNotFoundError(path)

    evict_least_recently_used(files, 5, remove)
    assert removed == [tmp_path / "b", tmp_path / "a"]
