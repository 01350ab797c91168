"""A local copy of a folder in a bucket: whole files alone, fetched once, in step with what the bucket has."""

import errno
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fcos.storage.bucket import folder_copy
from fcos.storage.bucket.faults import BucketRefused
from fcos.storage.bucket.folder_copy import ARRIVING, RECORD, CopyRefused, FolderCopy, NoSpace, check_names
from tests.helpers.data.bucket_data import MemoryBucket
from tests.helpers.processes.waiting import PATIENCE

NAMES = ("a.json", "images/1.png", "images/deep/2.png")


@pytest.fixture
def bucket() -> MemoryBucket:
    made = MemoryBucket("s3://lab/photos")
    for name in NAMES:
        made.objects.write(name, f"content of {name}".encode())
    return made


@pytest.fixture
def copy(bucket: MemoryBucket, tmp_path: Path) -> FolderCopy:
    return FolderCopy.below(tmp_path / "cache", bucket.objects)


def fetch_all(copy: FolderCopy) -> None:
    listed = copy.objects.versions()
    copy.fetch_below("", listed, list(listed))


def files_of(copy: FolderCopy) -> dict[str, bytes]:
    found = (path for path in copy.root.rglob("*") if path.is_file())
    return {path.relative_to(copy.root).as_posix(): path.read_bytes() for path in found}


def test_all_objects_become_files_below_a_path_that_ends_as_the_address(copy: FolderCopy) -> None:
    fetch_all(copy)
    assert files_of(copy) == {name: f"content of {name}".encode() for name in NAMES}
    assert copy.root.parts[-2:] == ("lab", "photos")
    assert (copy.home / "address.txt").read_text() == "s3://lab/photos\n"
    assert not list((copy.home / ARRIVING).iterdir())


def test_what_is_there_is_not_fetched_again(copy: FolderCopy, bucket: MemoryBucket) -> None:
    fetch_all(copy)
    bucket.files.fetched.clear()
    fetch_all(copy)
    copy.fetch({"a.json": copy.objects.versions()["a.json"]})
    assert bucket.fetched == []


def test_nothing_is_written_where_all_is_there(copy: FolderCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_all(copy)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FolderCopy, "_locked", refuse)
    fetch_all(copy)


def test_changed_new_and_damaged_files_are_fetched_and_no_others(copy: FolderCopy, bucket: MemoryBucket) -> None:
    fetch_all(copy)
    bucket.files.fetched.clear()
    bucket.objects.write("a.json", b"other")
    bucket.objects.write("images/3.png", b"new")
    (copy.root / "images/1.png").write_bytes(b"cut")
    fetch_all(copy)
    assert bucket.fetched == ["a.json", "images/1.png", "images/3.png"]
    assert files_of(copy) == {
        "a.json": b"other",
        "images/1.png": b"content of images/1.png",
        "images/3.png": b"new",
        "images/deep/2.png": b"content of images/deep/2.png",
    }


def test_what_the_bucket_has_no_more_is_removed_here(copy: FolderCopy, bucket: MemoryBucket) -> None:
    fetch_all(copy)
    bucket.objects.remove(["images/deep/2.png", "a.json"])
    listed = bucket.objects.below("images").versions()
    copy.fetch_below("images", listed, list(listed))
    assert sorted(files_of(copy)) == ["a.json", "images/1.png"], "of the folder that is looked at alone"
    assert not (copy.root / "images/deep").exists()


def test_only_the_wanted_ones_are_fetched_and_others_of_the_listing_stay(
    copy: FolderCopy, bucket: MemoryBucket
) -> None:
    fetch_all(copy)
    bucket.objects.write("images/1.png", b"1 other")
    bucket.objects.write("images/deep/2.png", b"2 other")
    listed = bucket.objects.below("images").versions()
    copy.fetch_below("images", listed, ["1.png"])
    assert files_of(copy)["images/1.png"] == b"1 other"
    assert files_of(copy)["images/deep/2.png"] == b"content of images/deep/2.png"


def test_a_fetch_that_is_cut_goes_on_where_it_was(copy: FolderCopy, bucket: MemoryBucket) -> None:
    folder_names = [f"images/{number}.png" for number in range(100)]
    for name in folder_names:
        bucket.objects.write(name, name.encode())
    enough = threading.Event()

    def refuse_later(path: str) -> None:
        if len(bucket.files.fetched) >= 40:
            enough.set()
            raise PermissionError("no more")

    bucket.files.before = refuse_later
    with pytest.raises(BucketRefused, match="no more"):
        fetch_all(copy)
    assert enough.is_set()
    here = files_of(copy)
    assert here and all(content in (name.encode(), f"content of {name}".encode()) for name, content in here.items())
    with (copy.home / RECORD).open("a") as lines:
        # As a process leaves it that is killed.
        lines.write('["images/7.pn')
    (copy.home / ARRIVING / "half").write_bytes(b"ha")
    bucket.files.before = lambda path: None
    bucket.files.fetched.clear()
    fetch_all(copy)
    assert len(bucket.fetched) == len(folder_names) + 2 - len(here)
    assert len(files_of(copy)) == len(folder_names) + 2
    assert not list((copy.home / ARRIVING).iterdir())
    bucket.files.fetched.clear()
    fetch_all(copy)
    assert bucket.fetched == []


def test_of_several_at_once_one_fetches(bucket: MemoryBucket, tmp_path: Path) -> None:
    copies = [FolderCopy.below(tmp_path / "cache", bucket.objects) for _ in range(6)]
    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(fetch_all, copies))
    assert bucket.fetched == sorted(NAMES)


def test_who_waits_for_another_is_called_meanwhile(
    copy: FolderCopy, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_copy, "WAIT_SECONDS", 0.01)
    waited = threading.Event()
    bucket.files.before = lambda path: waited.wait(PATIENCE)
    other = FolderCopy(copy.objects, copy.home)
    listed = bucket.objects.versions()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fetch_all, other)
        while not (copy.home / ARRIVING).exists():
            assert not first.done()
        calls: list[tuple[int, int]] = []

        def count(done: int, total: int) -> None:
            calls.append((done, total))
            waited.set()

        copy.fetch_below("", listed, list(listed), count)
        first.result()
    assert calls[0] == (0, len(NAMES))
    assert bucket.fetched == sorted(NAMES)


def test_an_object_that_changes_meanwhile_is_refused_by_name_and_not_kept(
    copy: FolderCopy, bucket: MemoryBucket
) -> None:
    def change(path: str) -> None:
        if path.endswith("1.png"):
            bucket.objects.write("images/1.png", b"of the same size, no?!!"[: len("content of images/1.png")])

    bucket.files.before = change
    with pytest.raises(CopyRefused, match=r"^s3://lab/photos/images/1\.png: changed while the data were fetched"):
        fetch_all(copy)
    assert sorted(files_of(copy)) == ["a.json", "images/deep/2.png"]
    bucket.files.before = lambda path: None
    fetch_all(copy)
    assert files_of(copy)["images/1.png"] == bucket.objects.read("images/1.png")


def test_an_object_of_which_less_arrives_is_refused_by_name(copy: FolderCopy, bucket: MemoryBucket) -> None:
    version = bucket.objects.version("a.json")
    assert version is not None
    bucket.objects.write("a.json", b"less")
    with pytest.raises(CopyRefused, match=r"a\.json: 4 bytes arrived of an object of 17"):
        copy.fetch({"a.json": version})
    assert files_of(copy) == {}


@pytest.mark.parametrize("name", ["../x", "images/../../x", "a//b", "/x", "./x", "x\0y"])
def test_names_that_would_leave_the_folder_are_refused(bucket: MemoryBucket, name: str) -> None:
    with pytest.raises(CopyRefused, match="is no name of a file in a folder"):
        check_names([name], bucket.objects.address)


def test_an_object_that_is_a_folder_too_is_refused_by_name(copy: FolderCopy) -> None:
    listed = copy.objects.versions() | {"images": copy.objects.versions()["a.json"]}
    with pytest.raises(CopyRefused, match="s3://lab/photos/images: is an object, and images/ has others"):
        copy.fetch_below("", listed, list(listed))


def test_a_disk_without_room_is_found_before_anything_is_fetched(
    copy: FolderCopy, bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(NoSpace, match=r"GB are free at"):
        fetch_all(copy)
    assert bucket.fetched == []


def test_an_object_that_was_replaced_by_a_folder_becomes_one(copy: FolderCopy, bucket: MemoryBucket) -> None:
    fetch_all(copy)
    bucket.objects.remove(["a.json"])
    bucket.objects.write("a.json/part", b"x")
    fetch_all(copy)
    assert files_of(copy)["a.json/part"] == b"x"
    bucket.objects.remove(["a.json/part"])
    bucket.files.pseudo_dirs = [path for path in bucket.files.pseudo_dirs if "a.json" not in path]
    bucket.objects.write("a.json", b"y")
    fetch_all(copy)
    assert files_of(copy)["a.json"] == b"y"
