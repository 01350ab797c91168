"""Data sets in a bucket in memory, which data.root names by an address of S3."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.data import bucket_source
from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import Objects


class CountedFiles(MemoryFileSystem):  # type: ignore[misc]  # which has no types
    """A bucket of its own that names what is fetched from it; `before` is called with each path first."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]
        self.fetched: list[str] = []
        self.before: Callable[[str], object] = lambda path: None

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        self.before(rpath)
        self.fetched.append(rpath)
        super().get_file(rpath, lpath, **options)


@dataclass
class MemoryBucket:
    """A data set below `root`, an address, of which whatever reads data in this process knows."""

    root: str
    files: CountedFiles = field(default_factory=CountedFiles)

    @property
    def objects(self) -> Objects:
        return Objects(Address.parse(self.root), self.files, patience=0.0)

    @property
    def fetched(self) -> list[str]:
        """The names of the objects that were fetched, in order of the alphabet."""
        return sorted(path.removeprefix(f"{self.objects.address.path}/") for path in self.files.fetched)

    def upload(self, folder: Path) -> None:
        self.objects.upload_folder(folder)


def memory_bucket_of_data(monkeypatch: pytest.MonkeyPatch, root: str = "s3://lab/photos") -> MemoryBucket:
    """A bucket that is opened in place of every address."""
    bucket = MemoryBucket(root)
    monkeypatch.setattr(
        bucket_source, "open_objects", lambda address: replace(bucket.objects, address=address), raising=True
    )
    return bucket
