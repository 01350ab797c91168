"""Lock of a sweep's folder, for one command at a time."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from fcos.errors import ConfigError
from orchestration.trial.processes import start_time

OWNER_SECONDS = 1.0


class FolderInUse(RuntimeError):
    """Another process has locked the folder; the message names it and the time."""


@contextmanager
def lock_folder(folder: Path, since: str, advice: str = "wait, or give another name=...") -> Iterator[None]:
    """Lock a folder while the block runs; the operating system releases the lock when the process dies.

    advice: what to do where another process has it.

    Raises FolderInUse where another process has the lock, ConfigError where the folder cannot be written.
    """
    # Not filelock, which has its file to itself: here others read from the locked file which process has it.
    path = folder / "lock"
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"{folder} is in use by {_owner(path)}; {advice}") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
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


def _owner(path: Path) -> str:
    """Describe the process that has the lock; it writes its id shortly after it took the lock."""
    deadline = time.monotonic() + OWNER_SECONDS
    while time.monotonic() < deadline:
        try:
            owner = json.loads(path.read_text())
            # A process of this machine that no longer exists was the previous owner.
            if owner["host"] != socket.gethostname() or start_time(owner["pid"]):
                return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.01)
    return "another process"
