"""Heartbeats: each process of a training has a file in its folder, whose time it updates as it makes progress."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fcos.storage.run_folder import HEARTBEATS
from orchestration.trial.files import write_json
from orchestration.trial.processes import start_time

# The process of the Tune trial, which waits where workers train.
TRIAL = "trial"
# The folder may lie on a network disk.
TOUCH_SECONDS = 1.0


@dataclass(frozen=True)
class Process:
    """Where a process of a training runs."""

    # Ray's id of the machine.
    node: str
    pid: int
    # See processes.start_time.
    begin: float
    # Name of the machine, and the GPUs that Ray gave the process; for people, empty in files by older versions.
    host: str = field(default="", compare=False)
    gpus: str = field(default="", compare=False)


# Name of a process -> the process and the time of its last heartbeat, of which only a change counts.
Heartbeats = dict[str, tuple[Process, int]]


@contextmanager
def registered(folder: Path, name: str, node: str) -> Iterator[Callable[[], None]]:
    """Register a process of a training while the block runs; yields the function that gives a heartbeat."""
    path = folder / HEARTBEATS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    pid, gpus = os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    write_json(path, asdict(Process(node, pid, start_time(pid), socket.gethostname(), gpus)))
    last = time.monotonic()

    def heartbeat() -> None:
        nonlocal last
        if time.monotonic() - last >= TOUCH_SECONDS:
            last = time.monotonic()
            # One that is lost is followed by another.
            with suppress(OSError):
                os.utime(path)

    try:
        yield heartbeat
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_heartbeats(folder: Path) -> Heartbeats:
    """Return the processes that are registered; those that were killed are still among them."""
    heartbeats: Heartbeats = {}
    for path in sorted((folder / HEARTBEATS).glob("*.json")):
        # It may be removed just now.
        with suppress(OSError, ValueError, TypeError):
            heartbeats[path.stem] = (Process(**json.loads(path.read_text())), path.stat().st_mtime_ns)
    return heartbeats


def clear_heartbeats(folder: Path) -> None:
    """Remove the processes of an earlier attempt."""
    shutil.rmtree(folder / HEARTBEATS, ignore_errors=True)
