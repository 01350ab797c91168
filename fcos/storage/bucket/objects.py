"""Objects in a bucket through fsspec: read, written whole, created where they are absent, removed."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from fcos.errors import ConfigError
from fcos.storage.bucket.address import CREDENTIALS, Address, without_credentials
from fcos.storage.bucket.faults import BucketMissing, BucketRefused, ObjectMissing, code_of, with_retries

ResultT = TypeVar("ResultT")

# Seconds for which a call is made again: of a command that a person waits for, and beside a training.
COMMAND_PATIENCE, TRAINING_PATIENCE = 30.0, 60.0
EXTRA = "fcos-lab[bucket]"
# The library's own attempts stay few, as calls are made again here; listings are never taken from a cache.
_S3: Final[dict[str, Any]] = {
    "use_listings_cache": False,
    "skip_instance_cache": True,
    # Otherwise each read begins with a HEAD, whose refusal has no reason.
    "max_concurrency": 1,
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"mode": "standard", "max_attempts": 2},
    },
}
_GCS: Final[dict[str, Any]] = {"use_listings_cache": False, "skip_instance_cache": True}
GOOGLE: Final = ("gs", "gcs")
# Variables from which botocore takes the address of the service.
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
OPTIONS: Final = {"s3": _S3, "s3a": _S3, **dict.fromkeys(GOOGLE, _GCS)}
# What differs between two contents of an object, by service; the most certain first.
_VERSION_KEYS: Final = (
    "ETag", "generation", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "created",
)  # fmt: skip


def allow() -> None:
    """Do nothing; the default check before a change."""


@dataclass(frozen=True)
class ObjectVersion:
    """The content of an object as a service describes it: size in bytes, and what changes with the content."""

    size: int
    version: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "ObjectVersion":
        """Return the version in fsspec's description of an object."""
        known = (str(info[key]) for key in _VERSION_KEYS if info.get(key))
        return cls(int(info["size"] or 0), next(known, ""))


@dataclass(frozen=True)
class Objects:
    """The objects below an address; names are relative to it.

    Every method raises BucketError, after attempts of about `patience` seconds where a fault may pass. `check` is
    called before every attempt to change something, and raises where this process may not.
    """

    address: Address
    # A filesystem of fsspec.
    filesystem: Any
    patience: float = COMMAND_PATIENCE
    check: Callable[[], None] = allow

    def below(self, *names: str) -> "Objects":
        """Return the objects of a folder below."""
        return replace(self, address=self.address.below(*names))

    def patient(self, seconds: float) -> "Objects":
        """Return the same objects with other patience."""
        return replace(self, patience=seconds)

    def checked(self, check: Callable[[], None]) -> "Objects":
        """Return the same objects with a check before every change."""
        return replace(self, check=check)

    def read(self, name: str) -> bytes:
        """Return the content of an object; raises ObjectMissing where there is none."""
        return bytes(self._call(name, lambda path: self.filesystem.cat_file(path)))

    def read_if_there(self, name: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        try:
            return self.read(name)
        except ObjectMissing:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object, or replace it; readers see the old or the new content, never a part."""
        self._write(name, lambda path: self.filesystem.pipe_file(path, data))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object where there is none; return False where there is one.

        The answer to an attempt may be lost: an object with these very data counts as the one that was written here.
        """

        def create(path: str) -> bool:
            try:
                self.filesystem.pipe_file(path, data, mode="create")
            except Exception as error:
                if not _exists_already(error):
                    raise
                return False
            return True

        return self._write(name, create) or self.read_if_there(name) == data

    def upload(self, file: Path, name: str) -> None:
        """Write a local file as an object; there is none, or the one before, until all of it has arrived."""
        self._write(name, lambda path: self.filesystem.put_file(str(file), path))

    def upload_folder(self, folder: Path) -> None:
        """Write all files of a local folder as objects of their relative paths."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.upload(file, file.relative_to(folder).as_posix())

    def download(self, name: str, file: Path) -> None:
        """Write an object to a local file, which is a part of it where this is interrupted."""
        self._call(name, lambda path: self.filesystem.get_file(path, str(file)))

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, of which some may be gone already."""
        for name in names:
            try:
                self._call(name, self._when_allowed(lambda path: self.filesystem.rm_file(path)))
            except ObjectMissing:
                continue

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes, None where there is none."""
        try:
            return int(self._call(name, lambda path: self.filesystem.info(path))["size"])
        except ObjectMissing:
            return None

    def list(self, folder: str) -> list[str]:
        """Return the names of the objects below a folder, of which the newest may be missing."""
        try:
            found = self._call(folder, lambda path: self.filesystem.find(path))
        except ObjectMissing:
            return []
        before = f"{self.address.path}/".lstrip("/")
        return sorted(path.lstrip("/").removeprefix(before) for path in found)

    def version(self, name: str) -> ObjectVersion | None:
        """Return the version of an object, None where there is none, or a folder."""
        try:
            info = self._call(name, lambda path: self.filesystem.info(path))
        except ObjectMissing:
            return None
        return None if info["type"] == "directory" else ObjectVersion.of(info)

    def versions(self) -> dict[str, ObjectVersion]:
        """Return the versions of all objects below the address by name; the newest may be missing."""
        try:
            found = self._call("", lambda path: self.filesystem.find(path.rstrip("/"), detail=True))
        except ObjectMissing:
            return {}
        before = f"{self.address.path}/".lstrip("/")
        # Consoles make objects that end with a slash, and stand for folders.
        return {
            path.lstrip("/").removeprefix(before): ObjectVersion.of(info)
            for path, info in sorted(found.items())
            if info["type"] != "directory" and path.lstrip("/").startswith(before) and not path.endswith("/")
        }

    def require_bucket(self) -> None:
        """Raise BucketMissing where the bucket is not there, which some services list as an empty one."""
        if self.address.scheme not in GOOGLE:
            return
        bucket = replace(self, address=Address(self.address.scheme, self.address.bucket))
        try:
            bucket._call("", lambda path: self.filesystem.ls(path.rstrip("/")))
        except ObjectMissing:
            raise BucketMissing(f"{self.address}: there is no such bucket as {self.address.bucket}") from None
        except BucketRefused:
            # Rights may end at the folder, which has been read.
            return

    def folders(self) -> tuple[str, ...]:
        """Return the names of the folders right below the address, of which the newest may be missing."""
        try:
            found = self._call("", lambda path: self.filesystem.ls(path.rstrip("/"), detail=True))
        except ObjectMissing:
            return ()
        names = (each["name"].rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory")
        return tuple(sorted(names))

    def _write(self, name: str, call: Callable[[str], ResultT]) -> ResultT:
        try:
            return self._call(name, self._when_allowed(call))
        except ObjectMissing as error:
            # Nothing else has to be there for an object to be written.
            raise BucketMissing(f"{self.address}: there is no such bucket as {self.address.bucket}") from error

    def _when_allowed(self, call: Callable[[str], ResultT]) -> Callable[[str], ResultT]:
        """Return the call with the check in each attempt: while one waits, another process may take over."""

        def checked(path: str) -> ResultT:
            self.check()
            return call(path)

        return checked

    def _call(self, name: str, call: Callable[[str], ResultT]) -> ResultT:
        address = self.address.below(name)
        return with_retries(lambda: call(address.path), str(address), self.patience)


def _exists_already(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or code_of(error) in ("PreconditionFailed", "412")


def open_objects(address: Address, patience: float = COMMAND_PATIENCE) -> Objects:
    """Return the objects below an address, with credentials of the environment; nothing is called yet.

    Raises ConfigError for a scheme that fsspec does not know, or whose package is not installed, and for credentials in
    the address of the service.
    """
    import fsspec

    if address.scheme not in GOOGLE:
        _check_endpoints()
    try:
        kind = fsspec.get_filesystem_class(address.scheme)
    except ImportError as error:
        raise ConfigError(
            f"{address}: a package for {address.scheme}:// is not installed here ({error}); "
            f"pip install '{EXTRA}' has those for s3:// and gs://"
        ) from None
    except ValueError:
        raise ConfigError(
            f"{address}: {address.scheme}:// is no storage that fsspec knows; give s3:// or gs://"
        ) from None
    if address.scheme in GOOGLE:
        # Its subclass calls another service about the kind of the bucket each time, and warns without rights to that.
        kind = import_module("gcsfs.core").GCSFileSystem
    return Objects(address, kind(**OPTIONS.get(address.scheme, {})), patience)


def _check_endpoints() -> None:
    """Refuse credentials in the service's address: beside the signature of a request they fail it, after minutes."""
    for name in ENDPOINTS:
        value = os.environ.get(name, "")
        if CREDENTIALS.search(value):
            raise ConfigError(
                f"{name}={without_credentials(value)}: the address of a service holds no credentials; give them as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
