"""Failures of a training: recorded in its folder by the process that notices first, read by the driver."""

import errno
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fcos.errors import Transient, is_allocation_failure
from fcos.storage.run_folder import FAILURE, LOG, STOP
from orchestration.leases.lease import Superseded

# Bytes below which a disk counts as full: a record of why a training ended needs some.
LEAST_SPACE = 1 << 20
MESSAGE_LINES = 12


class DiskFull(RuntimeError):
    """There was no space for what a training has to write."""


class BudgetUsedUp(RuntimeError):
    """The sweep has used the hours that its budget allows."""


class OutOfMemory(RuntimeError):
    """A training needs more memory than there is."""


class Stalled(RuntimeError):
    """A training made no progress for longer than cluster.stall_minutes."""


class BucketUnreachable(RuntimeError):
    """The bucket of the output did not take what a training has to upload."""


class FailureKind(StrEnum):
    """Failures that are treated in a way of their own, by the class name of the error; all others are ERROR."""

    DIVERGED = "Diverged"
    PREEMPTED = "Preempted"
    BUDGET = "BudgetUsedUp"
    DISK_FULL = "DiskFull"
    OUT_OF_MEMORY = "OutOfMemory"
    STALLED = "Stalled"
    # Another command trains it: see leases/lease.py.
    SUPERSEDED = "Superseded"
    BUCKET = "BucketUnreachable"
    ERROR = "Error"


@dataclass(frozen=True)
class Failure:
    """Why an attempt at a training ended without a result."""

    kind: FailureKind
    message: str
    # Whether another attempt may fare better.
    retryable: bool

    @property
    def is_interruption(self) -> bool:
        """Whether the same command goes on, once there is what was missing, or another command has ended."""
        return self.kind in (FailureKind.BUDGET, FailureKind.DISK_FULL, FailureKind.SUPERSEDED, FailureKind.BUCKET)


class WorkerFailed(RuntimeError):
    """Carries the failure of a worker to its trial on another machine, which does not see the worker's folder."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


def write_failure(folder: Path, error: BaseException, *, retryable: bool) -> Failure:
    """Record a failure and return it; of several workers the first one is kept, as the others fail because of it."""
    text = f"{type(error).__name__}: {error}" if retryable else str(error)
    lines = text.strip().splitlines()
    # The first line names the error where one line is shown; what comes before the last ones is a traceback.
    message = "\n".join(lines if len(lines) <= MESSAGE_LINES else [lines[0], *lines[1 - MESSAGE_LINES :]])
    kind = type(error).__name__
    _write(folder, kind, message, retryable=retryable)
    return Failure(_kind_of(kind), message, retryable)


def _write(folder: Path, kind: str, message: str, *, retryable: bool) -> None:
    # The key `final` is that of earlier versions.
    record = {"kind": kind, "message": message, "final": not retryable}
    try:
        with (folder / FAILURE).open("x") as file:
            json.dump(record, file)
    except FileExistsError:
        logging.getLogger(__name__).info("a failure was recorded before this one")
    except OSError:
        # On a full disk; see is_interrupted.
        logging.getLogger(__name__).exception("the failure cannot be recorded")


def read_failure(folder: Path) -> Failure | None:
    """Return the failure of the last attempt, or None."""
    try:
        record: dict[str, Any] = json.loads((folder / FAILURE).read_text())
        kind, message, final = str(record["kind"]), str(record["message"]), bool(record["final"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return Failure(_kind_of(kind), message, retryable=not final)


def _kind_of(name: str) -> FailureKind:
    return FailureKind(name) if name in FailureKind._value2member_map_ else FailureKind.ERROR


def write_carried(folder: Path, error: BaseException) -> None:
    """Record the failure that an error of several workers carries, in place of any other; nothing where it has none.

    Where more than one failed before they were ended, the one that is treated in a way of its own counts, then the one
    that is not tried again: the others may be errors of collectives that waited for it.
    """
    failures = [each.failure for each in _chain(error) if isinstance(each, WorkerFailed)]
    if failures:
        first = min(failures, key=lambda failure: (failure.kind is FailureKind.ERROR, failure.retryable))
        clear_failure(folder)
        _write(folder, first.kind, first.message, retryable=first.retryable)


def clear_failure(folder: Path) -> None:
    """Remove the record of an earlier attempt."""
    (folder / FAILURE).unlink(missing_ok=True)


def has_failed(folder: Path, kind: FailureKind) -> bool:
    """Return whether the last attempt ended with a failure of this kind."""
    failure = read_failure(folder)
    return failure is not None and failure.kind is kind


def is_interrupted(folder: Path) -> bool:
    """Return whether the last attempt ended for want of something, or for another command: no failure of its own."""
    failure = read_failure(folder)
    if failure is None:
        return is_held_back(folder) or is_disk_full(folder)
    return failure.is_interruption


def failure_reason(folder: Path) -> str:
    """Return why a training failed, with its log where the message alone does not explain it."""
    failure = read_failure(folder)
    log = folder / LOG
    if failure is None and is_disk_full(folder):
        return f"{no_space_message(None, [folder])}; its checkpoints are whole"
    if failure is None:
        return f"its process ended without a word (killed, or out of memory); log: {log}"
    return f"{failure.message}\nlog: {log}" if failure.retryable else failure.message


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt may fare better: not after fcos's own errors (config, data, divergence).

    Transient ones among them, such as a file that could not be read just now, may have passed by then. One that another
    attempt or command has replaced is not tried again here.
    """
    if isinstance(error, Superseded):
        return False
    return type(error).__module__.split(".")[0] != "fcos" or isinstance(error, Transient)


def is_disk_full(folder: Path) -> bool:
    """Return whether the disk of a folder is full; False where there is no such folder any more."""
    try:
        return shutil.disk_usage(folder).free < LEAST_SPACE
    except FileNotFoundError:
        return False


def is_no_space(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, is that of a full disk."""
    return next(_no_space_errors(error), None) is not None


def no_space_message(error: BaseException | None, folders: Sequence[Path]) -> str:
    """Return which disk of which machine is full.

    It is that of the file which the error names; where it names none, the fullest of those that `folders` are on.
    """
    named = [Path(each.filename) for each in _no_space_errors(error) if isinstance(each.filename, str)]
    # The first folder on each disk.
    by_disk = {_existing(folder).stat().st_dev: folder for folder in reversed(folders)}
    path = named[0] if named else min(by_disk.values(), key=lambda folder: shutil.disk_usage(_existing(folder)).free)
    mount = _existing(path)
    while not mount.is_mount():
        mount = mount.parent
    return f"no space left on the disk of {path} ({mount} on {platform.node()})"


def _existing(path: Path) -> Path:
    """Return where a path leads to, or the first folder above it that exists."""
    path = path.resolve()
    # Path.exists raises an error for what is in a closed folder.
    return next(each for each in (path, *path.parents) if os.path.exists(each))  # noqa: PTH110


def _no_space_errors(error: BaseException | None) -> Iterator[OSError]:
    """Iterate over those errors of a full disk which an error is or came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            yield error
        error = error.__cause__ or error.__context__


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, is a failed allocation."""
    return any(is_allocation_failure(each) for each in _chain(error))


def is_killed_by_ray(error: BaseException | None) -> bool:
    """Return whether an error came from processes that the memory monitor of Ray ended."""
    names = [(type(each).__module__.split(".")[0], type(each).__name__) for each in _chain(error)]
    return ("ray", "OutOfMemoryError") in names


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over the error, those that it came from, and the errors of a training's workers."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        workers: Mapping[int, Any] = getattr(one, "worker_failures", None) or {}
        waiting += [one.__cause__, one.__context__, *workers.values()]


def is_held_back(folder: Path) -> bool:
    """Return whether the sweep of a training's folder (<sweep>/trials/<identity>) lets none begin."""
    return (folder.parents[1] / STOP).exists()
