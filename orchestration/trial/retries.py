"""What became of earlier attempts at a training: how many failed, what was given up, whether there is another.

Tune gives each training one attempt more than cluster.max_failures: the one that may go to want of memory.
"""

import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestration.store_conventions import Tag
from orchestration.trial import files
from orchestration.trial.task import Task

ATTEMPTS = "attempts.json"


@dataclass(frozen=True)
class Attempts:
    """The record in a training's folder; all but the last line is of one command."""

    command: str = ""
    # Whether an attempt began of which nobody has said yet how it ended.
    open: bool = False
    failures: int = 0
    # Where it began, and how many processes the kernel had killed there for want of memory.
    node: str = ""
    kernel_kills: int = 0
    halved: bool = False
    # schedule.accumulate that it trains with for want of memory; 0 is the configured one.
    accumulate: int = 0


def read_attempts(folder: Path) -> Attempts:
    """The record; an empty one where there is none."""
    try:
        return Attempts(**json.loads((folder / ATTEMPTS).read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return Attempts()


def begin(task: Task, node: str) -> bool:
    """Note that an attempt begins; False where the one before, which died without a word, was the last."""
    folder = Path(task.folder)
    known = read_attempts(folder)
    if known.command != task.command:
        known = Attempts(accumulate=known.accumulate)
    elif known.open and not judge(task, node):
        return False
    else:
        known = read_attempts(folder)
    _write(folder, replace(known, command=task.command, open=True, node=node, kernel_kills=kernel_kills()))
    return True


def close(task: Task) -> None:
    """Note that an attempt came to its end."""
    folder = Path(task.folder)
    _write(folder, replace(read_attempts(folder), open=False))


def judge(task: Task, node: str = "") -> bool:
    """Whether an attempt that failed is followed by another; where memory was short, with half the micro-batch.

    `node` is where this is asked.
    """
    folder = Path(task.folder)
    known = replace(read_attempts(folder), open=False)
    failure = files.read_failure(folder)
    if failure is not None and failure["final"]:
        _write(folder, known)
        return False
    if _was_memory(known, failure, node):
        return _halve(task, folder, known)
    _write(folder, replace(known, failures=known.failures + 1))
    return known.failures < task.max_failures


def _was_memory(known: Attempts, failure: dict[str, Any] | None, node: str) -> bool:
    if failure is not None and failure["kind"] in ("OutOfMemory", "Stalled"):
        return bool(failure["kind"] == "OutOfMemory")
    return node == known.node and kernel_kills() > known.kernel_kills


def _halve(task: Task, folder: Path, known: Attempts) -> bool:
    before = accumulate_of(task)
    more = None if known.halved else halved(task.config, before, task.demand.numbers_of_workers)
    if more is None:
        _write(folder, known)
        files.clear_failure(folder)
        files.write_failure(folder, OutOfMemory(_in_vain(task, known, before)), final=True)
        return False
    _write(folder, replace(known, halved=True, accumulate=more))
    fewer = micro_batch(task.config, more)
    text = (
        f"out of memory with micro-batches of {micro_batch(task.config, before)} images: "
        f"it went on with {fewer} (schedule.accumulate={more})"
    )
    if task.config["task"] == "train" and gathers(task.config):
        text += ", over which batch norm gathers its statistics from there on, unlike in other trainings"
    files.add_note(folder, text)
    return True


def _in_vain(task: Task, known: Attempts, accumulate: int) -> str:
    if task.config.get("task", "train") != "train":
        return "out of memory; fewer runs side by side (cluster.concurrent) leave each more"
    size, workers = micro_batch(task.config, accumulate), task.demand.workers
    batch = task.config["schedule"]["batch_size"]
    sizes = f"schedule.batch_size={batch}, schedule.accumulate={accumulate}, cluster.workers={workers}"
    tried = f" and of {2 * size}" if known.halved else ""
    why = "" if known.halved else ", which cannot be halved"
    return (
        f"out of memory with micro-batches of {size} images{tried} ({sizes}){why}; smaller images (data.short_sides, "
        "data.long_side), a smaller model or fewer trainings side by side (cluster.concurrent) need less"
    )


def accumulate_of(task: Task) -> int:
    """schedule.accumulate that a training runs with: the configured one, or more where memory was short."""
    schedule = task.config["schedule"]
    kept = read_attempts(Path(task.folder)).accumulate
    # Other commands may have other numbers of workers.
    fits = kept and schedule["batch_size"] % (kept * task.demand.workers) == 0
    return int(kept if fits else schedule["accumulate"])


def memory_tags(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """What tracking is told of a training that was short of memory."""
    kept = read_attempts(folder).accumulate
    if not kept:
        return {}
    tags = {Tag.ACCUMULATE: str(kept)}
    return {**tags, Tag.INEXACT: "micro-batches of batch norm"} if gathers(config) else tags


def _write(folder: Path, attempts: Attempts) -> None:
    # A full disk ends the training by itself.
    with suppress(OSError):
        files.write_json(folder / ATTEMPTS, asdict(attempts))


VMSTAT = Path("/proc/vmstat")
# What torch, CUDA and its libraries, C++ and Ray say, in small letters.
WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "low on memory",
)
# Norms whose statistics are those of a micro-batch.
GATHERING_NORMS = ("bn", "bn_per_level", "sync_bn")


class OutOfMemory(RuntimeError):
    """A training needs more memory than there is."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, tells of memory that could not be had."""
    return any(_tells(each) for each in _chain(error))


def _tells(error: BaseException) -> bool:
    # Torch and Ray each have an error of that name, on the GPU and from the monitor of a machine's memory.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and the errors of a training's workers."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield one
        workers: Mapping[int, Any] = getattr(one, "worker_failures", None) or {}
        waiting += [one.__cause__, one.__context__, *(each for each in workers.values())]


def kernel_kills() -> int:
    """How many processes of this machine the kernel has killed for want of memory; 0 where it does not say."""
    try:
        counts = dict(line.split(maxsplit=1) for line in VMSTAT.read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def micro_batch(config: Mapping[str, Any], accumulate: int) -> int:
    """Images that are in memory together, over all workers."""
    return int(config["schedule"]["batch_size"]) // accumulate


def halved(config: Mapping[str, Any], accumulate: int, numbers_of_workers: Iterable[int]) -> int | None:
    """schedule.accumulate for half the micro-batch, None where that cannot be shared by each number of workers.

    Nor where a step's images must be seen together, as for an assignment by the outputs.
    """
    if config.get("task", "train") == "train" and config["model"]["assignment"]["kind"] == "simota":
        return None
    batch = config["schedule"]["batch_size"] if config.get("task", "train") == "train" else 1
    if any(batch % (2 * accumulate * workers) for workers in numbers_of_workers):
        return None
    return 2 * accumulate


def gathers(config: Mapping[str, Any]) -> bool:
    """Whether batch norm gathers statistics over the images of a micro-batch, so that its size decides the result."""
    return any(config["model"][part]["norm"] in GATHERING_NORMS for part in ("backbone", "fpn", "head"))
