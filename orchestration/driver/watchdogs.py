"""Watchdogs: threads that end stalled trainings, notice a lost head, or repeat a call."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestration.cluster.listening import connection_error
from orchestration.trial.heartbeat import TRIAL, Heartbeats, Process, read_heartbeats
from orchestration.trial.stalls import GAP_SECONDS, TICK_SECONDS, StallDetector, end_here

# Time for ending a process on another machine.
END_SECONDS = 30.0


@contextmanager
def end_stalled(limit: float | None, running: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """End `running` trainings that make no progress for `limit` seconds, while the block runs; None sets no limit.

    A file in the training's folder has the reason, and Tune takes it up again from its last checkpoint.
    """
    if limit is None:
        yield
        return
    detector, ended, before = StallDetector(limit), set[Process](), time.monotonic()

    def check() -> None:
        nonlocal before
        now = time.monotonic()
        try:
            for folder in detector.check(running(), min(now - before, GAP_SECONDS)):
                _end(folder, read_heartbeats(folder), limit, ended)
        except Exception:  # a folder or a machine out of reach: the next check may succeed
            logging.getLogger(__name__).debug("a stalled training could not be ended", exc_info=True)
        before = now

    with repeating("stalls", TICK_SECONDS, check):
        yield


def _end(folder: Path, heartbeats: Heartbeats, limit: float, ended: set[Process]) -> None:
    """End the workers; where that was done before without effect, the trial that waits for them."""
    workers = {process for name, (process, _) in heartbeats.items() if name != TRIAL} - ended
    victims = workers or {process for process, _ in heartbeats.values()}
    ended |= victims
    by_node: dict[str, list[Process]] = {}
    for process in victims:
        by_node.setdefault(process.node, []).append(process)
    _end_on_nodes(folder, by_node, limit)


def _end_on_nodes(folder: Path, by_node: Mapping[str, Sequence[Process]], limit: float) -> None:
    """Run a Ray task on each machine, as only a process of that machine can kill another."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(end_here)
    tasks = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(folder), list(victims), limit
        )
        for node, victims in by_node.items()
    ]
    ray.get(tasks, timeout=END_SECONDS)


HEAD_TICK_SECONDS = 2.0
# Seconds after which Ray's own processes, the nodes among them, end without a head; and the default of that.
RAY_LIMIT, RAY_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
# What is left of them for closing the runs.
HEAD_LOST_CLOSE_SECONDS = 15.0


@contextmanager
def watch_head(address: str | None, on_lost: Callable[[str], None]) -> Iterator[None]:
    """Call `on_lost` with the reason, from a thread, when the head (host:port) is gone; None is a Ray of our own.

    Gone is one that has not answered for `head_seconds`. `on_lost` has to end the process: without a head Ray waits in
    its own code, where no signal reaches it, and then ends the process without a message. What Ray raises in the
    meantime because the head does not answer is held back.
    """
    if address is None:
        yield
        return
    done, limit = threading.Event(), head_seconds()

    def watch() -> None:
        missing, before = 0.0, time.monotonic()
        while missing < limit:
            if done.wait(HEAD_TICK_SECONDS):
                return
            answers, now = _answers(address), time.monotonic()
            # What this process was suspended for counts for little.
            missing = 0.0 if answers else missing + min(now - before, GAP_SECONDS)
            before = now
        on_lost(f"the head of the Ray cluster at {address} does not answer any more (for {missing:.0f} s)")

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        # The thread ends the process, or the head comes back.
        while thread.is_alive() and not _answers(address):
            thread.join(HEAD_TICK_SECONDS)
        raise
    finally:
        done.set()


def head_seconds() -> float:
    """Return for how many seconds a head may be out of reach: as long as Ray's nodes wait, less what the end takes."""
    try:
        limit = float(os.environ.get(RAY_LIMIT, RAY_SECONDS))
    except ValueError:
        # Ray does not take it either.
        limit = RAY_SECONDS
    return max(limit - HEAD_LOST_CLOSE_SECONDS, HEAD_TICK_SECONDS)


def _answers(address: str) -> bool:
    return connection_error(address, HEAD_TICK_SECONDS) is None


@contextmanager
def repeating(name: str, seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function every so many seconds from a thread of that name, as long as the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(seconds):
            call()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
