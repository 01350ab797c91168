"""Signs of life: each process of a training has a file in its folder, which it touches as it gets on."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration.trial.files import write_json
from orchestration.trial.processes import begin_of

ALIVE = "alive"
# The process of the Tune trial, which waits where workers train.
TRIAL = "trial"
# The folder may lie on a disk far away.
TOUCH_SECONDS = 1.0


@dataclass(frozen=True)
class Process:
    """Where a process of a training runs."""

    # Ray's name of the machine.
    node: str
    pid: int
    # See processes.begin_of.
    begin: float


# Name of a process -> the process and its last sign of life, which only tells whether there was another.
Signs = dict[str, tuple[Process, int]]


@contextmanager
def beating(folder: Path, name: str, node: str) -> Iterator[Callable[[], None]]:
    """Sign in as a process of a training while the block runs; yields what to call wherever it gets on."""
    path = folder / ALIVE / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, asdict(Process(node, os.getpid(), begin_of(os.getpid()))))
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= TOUCH_SECONDS:
            last = time.monotonic()
            # A sign that is lost is followed by another.
            with suppress(OSError):
                os.utime(path)

    try:
        yield beat
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def signs_of(folder: Path) -> Signs:
    """The processes that have signed in and not left; those that were killed are still there."""
    found: Signs = {}
    for path in sorted((folder / ALIVE).glob("*.json")):
        # It may leave just now, or be half written.
        with suppress(OSError, ValueError, TypeError):
            found[path.stem] = (Process(**json.loads(path.read_text())), path.stat().st_mtime_ns)
    return found


def clear_signs(folder: Path) -> None:
    """Forget the processes of an earlier attempt."""
    shutil.rmtree(folder / ALIVE, ignore_errors=True)
