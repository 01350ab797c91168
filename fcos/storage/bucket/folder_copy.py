"""A local copy of a folder in a bucket, which all processes of a machine share and bring in step with the bucket."""

import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from fcos.storage.bucket.address import ADDRESS_FILE, Address
from fcos.storage.bucket.objects import Objects, ObjectVersion
from fcos.storage.files import write_atomically

# Below a cache folder; in it a folder for each address.
COPIES: Final = "from_buckets"
# In the folder of an address: the copied files, files that are on their way, and what the bucket had of each.
FILES, ARRIVING, RECORD, LOCK = "files", "arriving", "objects.jsonl", "lock"
# Objects that are fetched at once.
SIDE_BY_SIDE = 16
# At an object of which less arrives than it has.
ATTEMPTS = 3
# Between two signs of life while another process fetches.
WAIT_SECONDS = 5.0
# Objects that a message names.
EXAMPLES = 3
# Called with the number of objects that have arrived and their total.
CountCallback = Callable[[int, int], None]


def ignore_count(done: int, total: int) -> None:
    """Do nothing; the default callback."""


class CopyRefused(ValueError):
    """Objects that cannot be files of a folder, or that changed while they were fetched; the message names them."""


class NoSpace(ValueError):
    """The disk of the cache is too small for the objects; the message has both numbers."""


@dataclass(frozen=True)
class _Arrived:
    """A file of the copy, and the object that it is a copy of."""

    version: ObjectVersion
    # Of the file, which is fetched again where it has been changed here.
    modified: int


@dataclass(frozen=True)
class FolderCopy:
    """The copy of a folder in a bucket, in `home`; a file in it is always whole."""

    objects: Objects
    home: Path

    @classmethod
    def below(cls, cache: Path, objects: Objects) -> "FolderCopy":
        """Return the copy of the folder of some objects below a cache folder."""
        return cls(objects, cache / COPIES / objects.address.digest)

    @property
    def root(self) -> Path:
        """The local folder; its path ends as the address does, as names of images may repeat the end of it."""
        return self.home / FILES / self.objects.address.path

    def fetch(self, wanted: Mapping[str, ObjectVersion], on_count: CountCallback = ignore_count) -> None:
        """Fetch single objects, with the versions that they have now, where they are missing here or have changed.

        on_count: is called while another process fetches too. Raises as `fetch_below`.
        """
        check_names(wanted, self.objects.address)
        if not self._missing(wanted):
            return
        with self._locked(lambda: on_count(0, len(wanted))):
            arrived = self._fetch(wanted, on_count)
            self._refuse_changed(wanted, {name: self.objects.version(name) for name in arrived})

    def fetch_below(
        self,
        folder: str,
        listed: Mapping[str, ObjectVersion],
        names: Collection[str],
        on_count: CountCallback = ignore_count,
    ) -> None:
        """Bring a folder below the root in step with what a listing of it shows: fetch `names`, remove what is gone.

        Names are relative to the folder, which is the root itself where it is empty. Nothing is written where all is
        there. Raises CopyRefused, NoSpace, BucketError, and OSError where the cache cannot be written.
        """
        here = self.objects.below(folder) if folder else self.objects
        check_names(listed, here.address)
        prefix = f"{folder}/" if folder else ""
        wanted = {f"{prefix}{name}": listed[name] for name in names}
        if not self._missing(wanted) and next(self._others(folder, listed), None) is None:
            return
        with self._locked(lambda: on_count(0, len(wanted))):
            self._remove_others(folder, listed)
            arrived = self._fetch(wanted, on_count)
            if arrived:
                now = here.versions()
                self._refuse_changed(wanted, {name: now.get(name.removeprefix(prefix)) for name in arrived})

    @contextmanager
    def _locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.home / LOCK)
        while True:
            try:
                lock.acquire(timeout=WAIT_SECONDS)
                break
            except Timeout:
                on_wait()
        try:
            # Of a process that was killed.
            shutil.rmtree(self.home / ARRIVING, ignore_errors=True)
            yield
        finally:
            lock.release()

    def _fetch(self, wanted: Mapping[str, ObjectVersion], on_count: CountCallback) -> list[str]:
        """Fetch what is not here; return its names."""
        missing = self._missing(wanted)
        if not missing:
            return []
        self._require_space(sum(wanted[name].size for name in missing))
        (self.home / ADDRESS_FILE).write_text(f"{self.objects.address}\n")
        (self.home / ARRIVING).mkdir(exist_ok=True)
        # Anew, as the last line may have been cut short.
        write_atomically(self.home / RECORD, _text(_read_record(self.home / RECORD)))
        present = len(wanted) - len(missing)
        with (self.home / RECORD).open("a", encoding="utf-8") as lines:
            for count, (name, file) in enumerate(self._arrivals({name: wanted[name] for name in missing}), 1):
                modified = self._store(file, name)
                print(_line(name, _Arrived(wanted[name], modified)), file=lines, flush=True)
                on_count(present + count, len(wanted))
        total = sum(wanted[name].size for name in missing)
        logging.getLogger(__name__).info(
            "%s: %d objects (%.1f MB) fetched into %s", self.objects.address, len(missing), total / 1e6, self.root
        )
        return missing

    def _arrivals(self, wanted: Mapping[str, ObjectVersion]) -> Iterator[tuple[str, Path]]:
        """Download objects side by side; yield the name and the file of each as it arrives.

        After a failure nothing further begins, what is under way arrives, and the first failure is raised.
        """
        stop = threading.Event()

        def download(name: str) -> Path | None:
            return None if stop.is_set() else self._download(name, wanted[name])

        failure: BaseException | None = None
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="fetch") as pool:
            futures = {pool.submit(download, name): name for name in wanted}
            try:
                for future in as_completed(futures):
                    failed = future.exception()
                    if failed is not None:
                        failure = failure or failed
                        stop.set()
                    elif (file := future.result()) is not None:
                        yield futures[future], file
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def _download(self, name: str, version: ObjectVersion) -> Path:
        file = self.home / ARRIVING / uuid.uuid4().hex
        for _ in range(ATTEMPTS):
            self.objects.download(name, file)
            if file.stat().st_size == version.size:
                return file
        raise CopyRefused(
            f"{self.objects.address.below(name)}: {file.stat().st_size} bytes arrived of an object of {version.size}; "
            "it changed while it was fetched; give the same command again when nobody writes there"
        )

    def _store(self, file: Path, name: str) -> int:
        """Move a file that has arrived below the root; return its modification time."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(path)
        return path.stat().st_mtime_ns

    def _missing(self, wanted: Mapping[str, ObjectVersion]) -> list[str]:
        """Return the names of objects that are not here as they are in the bucket."""
        record = _read_record(self.home / RECORD)
        return [name for name, version in wanted.items() if not self._has(name, version, record)]

    def _has(self, name: str, version: ObjectVersion, record: Mapping[str, _Arrived]) -> bool:
        arrived = record.get(name)
        if arrived is None or arrived.version != version:
            return False
        try:
            stat = (self.root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (stat.st_size, stat.st_mtime_ns) == (version.size, arrived.modified)

    def _require_space(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self.home).free
        if num_bytes > free:
            raise NoSpace(
                f"{num_bytes / 1e9:.1f} GB are to be fetched, and {free / 1e9:.1f} GB are free at {self.home}"
            )

    def _others(self, folder: str, listed: Collection[str]) -> Iterator[Path]:
        """Yield the files below a folder that the bucket does not have."""
        top = self.root / folder
        for path, _, files in os.walk(top, topdown=False):
            for file in files:
                if (Path(path) / file).relative_to(top).as_posix() not in listed:
                    yield Path(path) / file

    def _remove_others(self, folder: str, listed: Collection[str]) -> None:
        """Remove the files below a folder that the bucket does not have, and folders that are empty then."""
        for file in self._others(folder, listed):
            file.unlink()
        for path, _, _ in os.walk(self.root / folder, topdown=False):
            with suppress(OSError):
                Path(path).rmdir()

    def _refuse_changed(self, wanted: Mapping[str, ObjectVersion], now: Mapping[str, ObjectVersion | None]) -> None:
        """Remove files whose object is another one than before it was fetched, and raise CopyRefused."""
        changed = [name for name, version in now.items() if version != wanted[name]]
        for name in changed:
            (self.root / name).unlink(missing_ok=True)
        if changed:
            more = f" (and {len(changed) - EXAMPLES} more)" if len(changed) > EXAMPLES else ""
            names = ", ".join(str(self.objects.address.below(name)) for name in changed[:EXAMPLES])
            raise CopyRefused(
                f"{names}{more}: changed while the data were fetched; give the same command again when nobody writes "
                "there"
            )


def check_names(names: Collection[str], address: Address) -> Collection[str]:
    """Return the names; raises CopyRefused for those that would leave the folder, or be a file and a folder at once."""
    folders: set[str] = set()
    for name in names:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise CopyRefused(
                f"{address}/{name}: is no name of a file in a folder (an empty part, or a step up or down); rename it"
            )
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = next((name for name in names if name in folders), None)
    if both is not None:
        raise CopyRefused(f"{address}/{both}: is an object, and {both}/ has others, which no folder holds; rename it")
    return names


def _read_record(path: Path) -> dict[str, _Arrived]:
    """Return what has arrived by name; a line that was cut short counts for nothing."""
    arrived: dict[str, _Arrived] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return arrived
    for line in lines:
        with suppress(ValueError, TypeError):
            name, size, version, modified = json.loads(line)
            arrived[str(name)] = _Arrived(ObjectVersion(int(size), str(version)), int(modified))
    return arrived


def _text(record: Mapping[str, _Arrived]) -> str:
    return "".join(f"{_line(name, arrived)}\n" for name, arrived in record.items())


def _line(name: str, arrived: _Arrived) -> str:
    return json.dumps([name, arrived.version.size, arrived.version.version, arrived.modified])
