"""Lock of a sweep's folder: one command at a time."""

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


class FolderHeld(RuntimeError):
    """Another process works in this folder; the message says who and since when."""


@contextmanager
def hold(folder: Path, since: str) -> Iterator[None]:
    """Hold a folder as long as the block runs; the system lets go of it when the process dies.

    Raises FolderHeld where another process holds it, ConfigError where nothing can be written there.
    """
    path = folder / "lock"
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderHeld(f"{folder} is in use by {_owner(path)}; wait, or give another name=...") from None
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
    """Describe the process that holds the folder; it writes its name a moment after it took the lock."""
    until = time.monotonic() + OWNER_SECONDS
    while time.monotonic() < until:
        try:
            owner = json.loads(path.read_text())
            # One of this machine that is gone is the holder before.
            if owner["host"] != socket.gethostname() or start_time(owner["pid"]):
                return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.01)
    return "another process"
