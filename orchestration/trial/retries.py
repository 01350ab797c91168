"""Retries of a training: failed attempts are counted, and one for want of memory trains on with half the micro-batch.

Tune gives each training one attempt more than cluster.max_failures: the one that may go to want of memory.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fcos.storage.run_folder import ATTEMPTS
from fcos.storage.store_conventions import Tag
from orchestration.trial import files
from orchestration.trial.failures import Failure, FailureKind, OutOfMemory, clear_failure, read_failure, write_failure
from orchestration.trial.task import MicroBatching, Task

VMSTAT = Path("/proc/vmstat")


@dataclass(frozen=True)
class Attempts:
    """The record in a training's folder; all but `accumulate` is of one command."""

    command: str = ""
    # Whether an attempt began whose end is not recorded yet.
    open: bool = False
    failures: int = 0
    # Where it began, and how many processes the kernel had killed there for want of memory.
    node: str = ""
    kernel_kills: int = 0
    halved: bool = False
    # schedule.accumulate that it trains with for want of memory; 0 is the configured one.
    accumulate: int = 0


def read_attempts(folder: Path) -> Attempts:
    """Return the record; an empty one where there is none."""
    try:
        return Attempts(**json.loads((folder / ATTEMPTS).read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return Attempts()


def begin_attempt(task: Task, node: str) -> bool:
    """Record that an attempt begins; return False where the one before, which was killed, was the last."""
    folder = Path(task.folder)
    attempts = read_attempts(folder)
    if attempts.command != task.command_id:
        attempts = Attempts(accumulate=attempts.accumulate)
    elif attempts.open and not should_retry(task, node):
        return False
    else:
        attempts = read_attempts(folder)
    _write(folder, replace(attempts, command=task.command_id, open=True, node=node, kernel_kills=kernel_kills()))
    return True


def end_attempt(task: Task) -> None:
    """Record that an attempt came to its end."""
    folder = Path(task.folder)
    _write(folder, replace(read_attempts(folder), open=False))


def should_retry(task: Task, node: str = "") -> bool:
    """Return whether a failed attempt is followed by another; where memory was short, with half the micro-batch.

    `node` is the machine of the caller.
    """
    folder = Path(task.folder)
    attempts = replace(read_attempts(folder), open=False)
    failure = read_failure(folder)
    if failure is not None and not failure.retryable:
        _write(folder, attempts)
        return False
    if _was_memory(attempts, failure, node):
        return _retry_with_smaller_micro_batch(task, folder, attempts)
    _write(folder, replace(attempts, failures=attempts.failures + 1))
    return attempts.failures < task.max_failures


def _was_memory(attempts: Attempts, failure: Failure | None, node: str) -> bool:
    if failure is not None and failure.kind in (FailureKind.OUT_OF_MEMORY, FailureKind.STALLED):
        return failure.kind is FailureKind.OUT_OF_MEMORY
    return node == attempts.node and kernel_kills() > attempts.kernel_kills


def _retry_with_smaller_micro_batch(task: Task, folder: Path, attempts: Attempts) -> bool:
    before = accumulate_of(task)
    batching = task.micro_batching
    more = None if attempts.halved else halved(batching, before, task.demand.numbers_of_workers)
    if more is None:
        _write(folder, attempts)
        clear_failure(folder)
        write_failure(folder, OutOfMemory(_exhausted_message(task, attempts, before)), retryable=False)
        return False
    _write(folder, replace(attempts, halved=True, accumulate=more))
    text = (
        f"out of memory with micro-batches of {batching.batch_size // before} images: "
        f"it went on with {batching.batch_size // more} (schedule.accumulate={more})"
    )
    if batching.trains and batching.decides:
        text += ", over which batch norm gathers its statistics from there on, unlike in other trainings"
    files.add_note(folder, text)
    return True


def _exhausted_message(task: Task, attempts: Attempts, accumulate: int) -> str:
    batching, workers = task.micro_batching, task.demand.workers
    if not batching.trains:
        return "out of memory; fewer runs side by side (cluster.concurrent) leave each more"
    size = batching.batch_size // accumulate
    sizes = f"schedule.batch_size={batching.batch_size}, schedule.accumulate={accumulate}, cluster.workers={workers}"
    tried = f" and of {2 * size}" if attempts.halved else ""
    why = "" if attempts.halved else ", which cannot be halved"
    return (
        f"out of memory with micro-batches of {size} images{tried} ({sizes}){why}; smaller images (data.short_sides, "
        "data.long_side), a smaller model or fewer trainings side by side (cluster.concurrent) need less"
    )


def accumulate_of(task: Task) -> int:
    """Return the schedule.accumulate of an attempt: the configured one, or more where memory was short."""
    batching, kept = task.micro_batching, read_attempts(Path(task.folder)).accumulate
    # Other commands may have other numbers of workers.
    fits = kept and batching.batch_size % (kept * task.demand.workers) == 0
    return kept if fits else batching.accumulate


def halved(batching: MicroBatching, accumulate: int, numbers_of_workers: Iterable[int]) -> int | None:
    """Return schedule.accumulate for half the micro-batch; None where some number of workers cannot share that."""
    if not batching.divisible:
        return None
    if any(batching.batch_size % (2 * accumulate * workers) for workers in numbers_of_workers):
        return None
    return 2 * accumulate


def carry_micro_batching(origin: Path, folder: Path) -> None:
    """Record for a copy of a training that it went on with smaller micro-batches, where it did.

    Its tags record it and its report shows it; no other training begins from its state.
    """
    if kept := read_attempts(origin).accumulate:
        files.write_json(folder / ATTEMPTS, asdict(Attempts(accumulate=kept)))


def memory_tags(folder: Path, batching: MicroBatching) -> dict[str, str]:
    """Return the tags of a training that was short of memory."""
    kept = read_attempts(folder).accumulate
    if not kept:
        return {}
    tags = {Tag.ACCUMULATE: str(kept)}
    return {**tags, Tag.INEXACT: "micro-batches of batch norm"} if batching.decides else tags


def kernel_kills() -> int:
    """Return how many processes of this machine the kernel has killed for want of memory; 0 where it is unknown."""
    try:
        counts = dict(line.split(maxsplit=1) for line in VMSTAT.read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def _write(folder: Path, attempts: Attempts) -> None:
    # A full disk ends the training by itself.
    with suppress(OSError):
        files.write_json(folder / ATTEMPTS, asdict(attempts))
