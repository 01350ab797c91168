"""Objects through fsspec: in memory, and in a folder, which are the same to a caller."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address
from fcos.storage.bucket.faults import BucketError, BucketRefused, ObjectMissing
from fcos.storage.bucket.objects import Objects, open_objects
from tests.helpers.bucket_runs import CutFileSystem, memory_bucket


@pytest.fixture(params=["memory", "folder"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "memory":
        return memory_bucket()
    return Objects(Address("local", str(tmp_path / "bucket")), LocalFileSystem(auto_mkdir=True), patience=0.0)


def test_what_is_written_is_read(objects: Objects) -> None:
    assert objects.read_if_there("a/b") is None
    with pytest.raises(ObjectMissing):
        objects.read("a/b")
    objects.write("a/b", b"one")
    objects.write("a/b", b"three")
    assert objects.read("a/b") == objects.below("a").read("b") == b"three"
    assert (objects.size("a/b"), objects.size("a/c")) == (5, None)


def test_an_object_is_created_once(objects: Objects) -> None:
    assert objects.create("lock", b"mine")
    assert not objects.create("lock", b"theirs")
    assert objects.read("lock") == b"mine"


def test_a_creation_whose_answer_was_lost_is_known_by_its_content(objects: Objects) -> None:
    assert objects.create("lock", b"mine")
    # The attempt that a library makes after a lost answer.
    assert objects.create("lock", b"mine")


def test_files_go_and_come_back(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"content" * 1000)
    objects.upload(tmp_path / "here", "run/there")
    objects.download("run/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content" * 1000


def test_objects_are_listed_and_removed(objects: Objects) -> None:
    for name in ("run/a", "run/deep/b", "other"):
        objects.write(name, b"x")
    assert objects.list("run") == ["run/a", "run/deep/b"]
    objects.remove(["run/a", "run/gone"])
    assert objects.list("run") == ["run/deep/b"]
    assert objects.list("nothing") == []


class Flaky(MemoryFileSystem):  # type: ignore[misc]  # which has no types
    """A bucket whose first two writes are cut."""

    cachable = False
    cuts = 2

    def pipe_file(self, *arguments: Any, **options: Any) -> None:
        if self.cuts:
            self.cuts -= 1
            raise ConnectionResetError("cut")
        super().pipe_file(*arguments, **options)


def test_a_cut_connection_is_tried_again() -> None:
    objects = memory_bucket(Flaky())
    objects.write("a", b"x")
    assert objects.read("a") == b"x"


def test_every_attempt_at_a_change_is_checked() -> None:
    files, checks = Flaky(), list[int]()

    def check() -> None:
        checks.append(files.cuts)
        if files.cuts == 1:
            raise BucketError("another command has taken over")

    objects = memory_bucket(files)
    with pytest.raises(BucketError, match="taken over"):
        objects.checked(check).write("a", b"x")
    assert checks == [2, 1] and objects.read_if_there("a") is None
    files.cuts = 0
    objects.write("a", b"x")
    files.cuts = 1
    for change in (lambda it: it.remove(["a"]), lambda it: it.create("b", b"x")):
        with pytest.raises(BucketError, match="taken over"):
            change(objects.checked(check))
    assert objects.list("") == ["a"]


def test_what_is_refused_is_not_tried_again() -> None:
    refused = CutFileSystem(MemoryFileSystem(), changes=0)
    with pytest.raises(BucketRefused, match="no more changes"):
        memory_bucket(refused).write("a", b"x")


def test_a_scheme_that_nothing_opens_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"s4://lab: s4:// is no storage that fsspec knows; give s3://"):
        open_objects(Address.parse("s4://lab"))


def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    # The package has a constant of the module's name.
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(ConfigError, match=r"s3://lab: a package .* is not installed.*pip install 'fcos-lab\[bucket\]'"):
        open_objects(Address.parse("s3://lab"))
