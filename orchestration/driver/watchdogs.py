"""Trainings that get nowhere: found by the lack of signs of life, and ended so that Tune takes them up again."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.trial import files, processes
from orchestration.trial.heartbeat import TRIAL, Process, Signs, signs_of

TICK_SECONDS = 1.0
# Longer than that between two looks, this process itself was stopped, and maybe all others with it.
GAP_SECONDS = 5.0
# Between signing in and the first sign of life a process imports what it needs: that much more time.
START_SECONDS = 120.0
# What is given to whoever ends a process on another machine.
END_SECONDS = 30.0


class Stalled(RuntimeError):
    """A training made no progress for longer than cluster.stall_minutes."""


@dataclass
class Watch:
    """Which trainings have shown no sign of life for `limit` seconds.

    Before its workers sign in, a training may wait for room in a cluster that others use too; that is Ray's to watch.
    """

    limit: float
    _signs: dict[Path, Signs] = field(default_factory=dict)
    _quiet: dict[Path, float] = field(default_factory=dict)
    # Those of whose processes one has given a sign of life.
    _begun: set[Path] = field(default_factory=set)

    def look(self, running: Iterable[Path], seconds: float) -> list[Path]:
        """Those that are found stalled, `seconds` after the last look; each counts anew from then on."""
        stalled = []
        folders = list(running)
        for gone in self._quiet.keys() - set(folders):
            del self._quiet[gone], self._signs[gone]
            self._begun.discard(gone)
        for folder in folders:
            signs = signs_of(folder)
            if signs == self._signs.get(folder) and set(signs) - {TRIAL}:
                self._quiet[folder] += seconds
            else:
                self._take(folder, signs)
            room = 0.0 if folder in self._begun else START_SECONDS
            if self._quiet[folder] >= self.limit + room:
                self._quiet[folder] = 0.0
                stalled.append(folder)
        return stalled

    def _take(self, folder: Path, signs: Signs) -> None:
        """Begin to count anew."""
        before = self._signs.get(folder, {})
        if _processes(signs) != _processes(before):
            self._begun.discard(folder)
        elif signs != before:
            self._begun.add(folder)
        self._quiet[folder], self._signs[folder] = 0.0, signs


def _processes(signs: Signs) -> dict[str, Process]:
    # By name, as one process may be the trial's and its only worker's.
    return {name: process for name, (process, _) in signs.items()}


@contextmanager
def watched(limit: float | None, running: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """While the block runs, end `running` trainings that make no progress for `limit` seconds; None lets them be.

    A file in the training's folder says why, and Tune takes it up again from its last checkpoint.
    """
    if limit is None:
        yield
        return
    watch, ended, before = Watch(limit), set[Process](), time.monotonic()

    def look() -> None:
        nonlocal before
        now = time.monotonic()
        try:
            for folder in watch.look(running(), min(now - before, GAP_SECONDS)):
                _end(folder, signs_of(folder), limit, ended)
        except Exception:  # a folder or a machine out of reach: the next look may fare better
            logging.getLogger(__name__).debug("a stalled training could not be ended", exc_info=True)
        before = now

    with ticking("stalls", TICK_SECONDS, look):
        yield


def _end(folder: Path, signs: Signs, limit: float, ended: set[Process]) -> None:
    """End the workers; where that was done before and nothing came of it, the trial that waits for them."""
    workers = {process for name, (process, _) in signs.items() if name != TRIAL} - ended
    victims = workers or {process for process, _ in signs.values()}
    ended |= victims
    by_node: dict[str, list[Process]] = {}
    for process in victims:
        by_node.setdefault(process.node, []).append(process)
    reason = f"no progress for {limit:.0f} s (cluster.stall_minutes={limit / 60:g}); its processes were ended"
    _end_on_nodes(folder, by_node, reason)


def _end_on_nodes(folder: Path, by_node: Mapping[str, Sequence[Process]], reason: str) -> None:
    """A task on each machine, as nobody else can kill a process there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(end_here)
    tasks = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(folder), list(found), reason
        )
        for node, found in by_node.items()
    ]
    ray.get(tasks, timeout=END_SECONDS)


def end_here(folder: str, found: Sequence[Process], reason: str) -> None:
    """End those processes of this machine that are still there, and say why before anybody sees them dead."""
    alive = [process for process in found if processes.is_alive(process.pid, process.begin)]
    if alive:
        files.write_failure(Path(folder), Stalled(reason), final=False)
        files.add_note(Path(folder), f"{reason}, and it went on from its last checkpoint")
    for process in alive:
        processes.end(process.pid)


HEAD_TICK_SECONDS = 2.0
# One that is busy for a moment is not gone.
MISSES = 3


@contextmanager
def watched_head(address: str | None, lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` with the reason, from a thread, when the head (host:port) is gone; None is a Ray of our own.

    `lost` has to end the process: without a head Ray waits in its own code, deaf to signals, for a minute and then
    ends the process without another word. What Ray raises because of it in the meantime is held back.
    """
    if address is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        missed = 0
        while missed < MISSES:
            if done.wait(HEAD_TICK_SECONDS):
                return
            missed = 0 if answers(address) else missed + 1
        lost(f"the head of the Ray cluster at {address} does not answer any more")

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        if not answers(address):
            # Each look may take as long as the pause before it.
            thread.join(2 * HEAD_TICK_SECONDS * (MISSES + 1))
        raise
    finally:
        done.set()


def answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=HEAD_TICK_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def ticking(name: str, seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` every so many seconds from a thread of that name, as long as the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(seconds):
            look()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
