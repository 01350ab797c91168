"""Watchdogs: threads that end stalled trainings, notice a lost head, or repeat a call."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.cluster.listening import connection_error
from orchestration.trial import files, processes
from orchestration.trial.failures import Stalled, write_failure
from orchestration.trial.heartbeat import TRIAL, Heartbeats, Process, read_heartbeats

TICK_SECONDS = 1.0
# Longer than that between two checks, this process itself was suspended, and maybe all others with it.
GAP_SECONDS = 5.0
# Between registration and first heartbeat a process imports what it needs: that much more time.
START_SECONDS = 120.0
# Time for ending a process on another machine.
END_SECONDS = 30.0


@dataclass
class StallDetector:
    """Finds trainings without a heartbeat for `limit` seconds.

    Before its workers register, a training may wait for room in a cluster that others use too; Ray watches that.
    """

    limit: float
    _heartbeats: dict[Path, Heartbeats] = field(default_factory=dict)
    _quiet: dict[Path, float] = field(default_factory=dict)
    # Those of which a process has given a heartbeat.
    _begun: set[Path] = field(default_factory=set)

    def check(self, running: Iterable[Path], seconds: float) -> list[Path]:
        """Return those that are stalled, `seconds` after the last check; each counts anew from then on."""
        stalled = []
        folders = list(running)
        for gone in self._quiet.keys() - set(folders):
            del self._quiet[gone], self._heartbeats[gone]
            self._begun.discard(gone)
        for folder in folders:
            heartbeats = read_heartbeats(folder)
            if heartbeats == self._heartbeats.get(folder) and set(heartbeats) - {TRIAL}:
                self._quiet[folder] += seconds
            else:
                self._take(folder, heartbeats)
            grace = 0.0 if folder in self._begun else START_SECONDS
            if self._quiet[folder] >= self.limit + grace:
                self._quiet[folder] = 0.0
                stalled.append(folder)
        return stalled

    def _take(self, folder: Path, heartbeats: Heartbeats) -> None:
        """Start the count anew."""
        before = self._heartbeats.get(folder, {})
        if _processes(heartbeats) != _processes(before):
            self._begun.discard(folder)
        elif heartbeats != before:
            self._begun.add(folder)
        self._quiet[folder], self._heartbeats[folder] = 0.0, heartbeats


def _processes(heartbeats: Heartbeats) -> dict[str, Process]:
    # By name, as one process may be the trial's and its only worker's.
    return {name: process for name, (process, _) in heartbeats.items()}


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
    reason = f"no progress for {limit:.0f} s (cluster.stall_minutes={limit / 60:g}); its processes were ended"
    _end_on_nodes(folder, by_node, reason)


def _end_on_nodes(folder: Path, by_node: Mapping[str, Sequence[Process]], reason: str) -> None:
    """Run a Ray task on each machine, as only a process of that machine can kill another."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(end_here)
    tasks = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(folder), list(victims), reason
        )
        for node, victims in by_node.items()
    ]
    ray.get(tasks, timeout=END_SECONDS)


def end_here(folder: str, among: Sequence[Process], reason: str) -> None:
    """End those processes of this machine that are still there, and record why before their end is noticed."""
    alive = [process for process in among if processes.is_alive(process.pid, process.begin)]
    if alive:
        write_failure(Path(folder), Stalled(reason), retryable=True)
        files.add_note(Path(folder), f"{reason}, and it went on from its last checkpoint")
    for process in alive:
        processes.kill(process.pid)


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
