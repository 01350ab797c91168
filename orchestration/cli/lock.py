"""Lock of a sweep's folder, for one command at a time."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from fcos.errors import ConfigError
from orchestration.trial.processes import is_alive, start_time

LOCK = "lock"
# In the local folder of a sweep in a bucket: who has its lock there; empty while it is free.
OWNER_IN_BUCKET = "lock_in_bucket"
OWNER_SECONDS = 1.0


@dataclass(frozen=True)
class LockOwner:
    """The process that has the lock, or had it when it was killed."""

    pid: int
    host: str
    # When it took the lock, as people read it.
    since: str
    # See processes.start_time; 0 in locks by older versions.
    begin: float = 0.0
    # Heartbeats of a lock in a bucket so far.
    counter: int = 0

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def exists(self) -> bool:
        """Whether the process is there, on this machine; pids are given again, so its start counts where known."""
        return is_alive(self.pid, self.begin) if self.begin else start_time(self.pid) > 0


def read_owner(folder: Path) -> LockOwner | None:
    """Return the process that a folder's lock names; None where no command works there.

    In the local folder of a sweep in a bucket it is a process of this machine that is there, else the one that has the
    lock in the bucket: one that was killed here leaves its name, and another machine may have gone on since.

    Raises OSError for a lock that cannot be read; one that is just being written names none.
    """
    owner = _read_owner(folder / LOCK)
    if not (folder / OWNER_IN_BUCKET).exists() or (owner is not None and owner.is_here and owner.exists):
        return owner
    return _read_owner(folder / OWNER_IN_BUCKET)


def _read_owner(path: Path) -> LockOwner | None:
    try:
        owner = json.loads(path.read_text())
        return LockOwner(
            int(owner["pid"]), str(owner["host"]), str(owner["since"]), float(owner.get("begin", 0)),
            int(owner.get("counter", 0)),
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class FolderInUse(RuntimeError):
    """Another process has locked the folder; the message names it and the time."""


@contextmanager
def lock_folder(folder: Path, since: str, advice: str = "wait, or give another name=...") -> Iterator[None]:
    """Lock a folder while the block runs; the operating system releases the lock when the process dies.

    advice: what to do where another process has it.

    Raises FolderInUse where another process has the lock, ConfigError where the folder cannot be written.
    """
    # Not filelock, which has its file to itself: here others read from the locked file which process has it.
    path = folder / LOCK
    with _opened(path) as file:
        if (owner := _acquire(file, folder)) is not None:
            raise FolderInUse(f"{folder} is in use by {owner}; {advice}")
        file.truncate(0)
        pid = os.getpid()
        json.dump(asdict(LockOwner(pid, socket.gethostname(), since, start_time(pid))), file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError as error:
        raise ConfigError(f"output: {path.parent} cannot be written ({error.strerror}); give output=<folder>") from None


def _acquire(file: TextIO, folder: Path) -> str | None:
    """Take the lock; return None then, else a description of the process that has it.

    That writes its id shortly after it took the lock. One that only looks whether a command works in the folder has it
    for an instant, and writes none.
    """
    deadline = time.monotonic() + OWNER_SECONDS
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        with suppress(OSError):
            owner = _read_owner(folder / LOCK)
            # A process of this machine that no longer exists was the previous owner.
            if owner is not None and (not owner.is_here or owner.exists):
                return f"process {owner.pid} on {owner.host} since {owner.since}"
        time.sleep(0.01)
    return "another process"
