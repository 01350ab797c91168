"""Out of memory: how it is known, and what a training can give up for it."""

import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
