"""Measures two ways to the same result side by side: a peer's and ours, in one process, on one core, in turns.

Results are compared first; where they differ nothing is timed and the exit status is 1. Times are medians of processor
time (which other programs disturb less than the clock) over rounds peer, ours, peer, ours, after a warm-up. Memory is
how far the resident set rises above where it stood before one call (VmHWM after a reset by /proc/self/clear_refs;
Linux only), with freed memory given back before: what the call needs at its peak, its results included.
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """One thing done by both; `same` compares their results and describes how, or raises AssertionError."""

    name: str
    peer: Callable[[], Any]
    ours: Callable[[], Any]
    same: Callable[[Any, Any], str]
    peer_name: str = "torchvision"
    # Images that one call handles, where images per second are clearer than a time.
    images: int | None = None
    # How many times as fast, and how many times less memory, is wanted.
    goal: float | None = None
    memory_goal: float | None = None


@dataclass(frozen=True)
class Result:
    """Medians in seconds and peaks in bytes (None: not measured here)."""

    name: str
    peer_name: str
    same: str
    peer_seconds: float
    ours_seconds: float
    rounds: int
    peer_bytes: int | None
    ours_bytes: int | None
    images: int | None
    goal: float | None
    memory_goal: float | None


def main(description: str, cases: Callable[[], Iterable[Case]]) -> None:
    """Measure the cases of a benchmark that the command line selects, on one core."""
    options = parser(description).parse_args()
    use_one_core()
    run(options, cases())


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser with the options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="few repetitions: is it right, and about how fast")
    made.add_argument("--only", default="", metavar="TEXT", help="only cases with TEXT in their name")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    return made


def run(options: argparse.Namespace, cases: Iterable[Case]) -> list[Result]:
    """Measure, print and perhaps write the selected cases."""
    results = []
    for case in cases:
        if options.only in case.name:
            results.append(measure(case, budget=3.0 if options.quick else 12.0, least=2 if options.quick else 5))
            print(line(results[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results]))
    return results


def use_one_core() -> None:
    """Pin this process to one core and torch to one thread."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(case: Case, budget: float, least: int) -> Result:
    """Compare, warm up, then time in turns for `budget` seconds, `least` rounds or more and 200 at most.

    Where the comparison alone takes longer than the budget it is warm-up enough, and three rounds (or one) are.
    """
    began = time.perf_counter()
    try:
        same = case.same(case.peer(), case.ours())
    except AssertionError as error:
        sys.exit(f"{case.name}: the results differ: {error}")
    if time.perf_counter() - began < budget:
        case.peer(), case.ours()
    else:
        least = 3 if least > 2 else 1
    peer: list[float] = []
    ours: list[float] = []
    began = time.perf_counter()
    while len(ours) < least or (time.perf_counter() - began < budget and len(ours) < 200):
        peer.append(seconds_of(case.peer))
        ours.append(seconds_of(case.ours))
    return Result(
        name=case.name,
        peer_name=case.peer_name,
        same=same,
        peer_seconds=statistics.median(peer),
        ours_seconds=statistics.median(ours),
        rounds=len(ours),
        peer_bytes=peak_of(case.peer),
        ours_bytes=peak_of(case.ours),
        images=case.images,
        goal=case.goal,
        memory_goal=case.memory_goal,
    )


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the processor time of one call (by the clock where a GPU works); its result is freed outside of it."""
    on_gpu = torch.cuda.is_initialized()
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    began = clock()
    result = call()
    if on_gpu:
        torch.cuda.synchronize()
    taken = clock() - began
    del result
    return taken


def peak_of(call: Callable[[], Any]) -> int | None:
    """Return by how many bytes the resident set (on a GPU: what torch has allocated) rises during one call."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - start
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    # Memory that was freed but kept by the C library would be used again unseen.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    reset.write_text("5")
    result = call()
    peak = _status("VmHWM")
    del result
    return max(0, peak - before)


def _status(field: str) -> int:
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(f"{field}:"):
            return int(entry.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def line(result: Result) -> str:
    """Return a result as one line for the console."""
    ratio = result.peer_seconds / result.ours_seconds
    text = f"{result.name}: {ratio:.1f}x {result.peer_name} "
    text += f"({amount(result.peer_seconds, result.images)} -> {amount(result.ours_seconds, result.images)}"
    if result.peer_bytes is not None and result.ours_bytes is not None:
        text += f"; peak memory {mebibytes(result.peer_bytes)} -> {mebibytes(result.ours_bytes)}"
    return f"{text}; {result.same}; {result.rounds} rounds)"


def amount(seconds: float, images: int | None) -> str:
    """Format a time with its unit, or images per second."""
    if images is not None:
        return f"{images / seconds:.3g} img/s"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def mebibytes(count: int) -> str:
    return f"{count / 2**20:.3g} MiB"


def require(condition: bool, message: str) -> None:
    """Raise AssertionError, also where Python runs without asserts."""
    if not condition:
        raise AssertionError(message)
