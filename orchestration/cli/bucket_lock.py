"""Lock of a sweep's folder in a bucket, for one command at a time: a generation with a heartbeat that counts."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.objects import Objects
from orchestration.bucket.generations import Holder, create, is_superseded, name_of, read_newest
from orchestration.bucket.output import as_config_error
from orchestration.cli.lock import FolderInUse
from orchestration.trial import processes


@dataclass(frozen=True)
class LockTimes:
    """Seconds between heartbeats, and without one until a lock counts as left behind, by the watcher's own clock."""

    heartbeat: float = 5.0
    stale: float = 30.0
    poll: float = 1.0


@contextmanager
def lock_bucket(
    sweep: Objects,
    since: str,
    *,
    times: LockTimes = LockTimes(),
    on_wait: Callable[[str], None] = lambda _: None,
    on_lost: Callable[[str], None] | None = None,
) -> Iterator[int]:
    """Lock the folder of a sweep in a bucket while the block runs; yield the generation.

    on_wait: called with what is waited for, where a lock may have been left behind. on_lost: called from a thread with
    the reason, once another command has taken over; by default it ends this process in order.

    Raises FolderInUse where another command works there, and ConfigError for a bucket that cannot be used.
    """
    own = _this_process(since)
    with as_config_error(sweep.address):
        generation = _acquire(sweep, own, times, on_wait)
    done = threading.Event()
    lost = on_lost or _end_process
    thread = threading.Thread(
        target=_keep, args=(sweep.patient(0.0), generation, own, times, done, lost), name="lock", daemon=True
    )
    thread.start()
    try:
        yield generation
    finally:
        done.set()
        thread.join()
        # One that is not released is taken over a little later.
        with suppress(BucketError):
            if not is_superseded(sweep, generation):
                sweep.write(name_of(generation), own.model_copy(update={"released": True}).to_bytes())


def _this_process(since: str) -> Holder:
    pid = os.getpid()
    return Holder(
        token=secrets.token_hex(16),
        pid=pid,
        begin=processes.start_time(pid),
        host=socket.gethostname(),
        machine=machine_name(),
        since=since,
    )


def machine_name() -> str:
    """Return the name of this host with its boot and its process namespace, as several hosts may have one name."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def _acquire(sweep: Objects, own: Holder, times: LockTimes, on_wait: Callable[[str], None]) -> int:
    while True:
        generation, holder = read_newest(sweep)
        if holder is not None and not holder.released and not _is_gone(holder):
            _wait_for(sweep, generation, holder, times, on_wait)
        if create(sweep, generation + 1, own):
            return generation + 1


def _is_gone(holder: Holder) -> bool:
    """Return whether the holder was a process of this machine that is there no more."""
    return holder.machine == machine_name() and not processes.is_alive(holder.pid, holder.begin)


def _wait_for(
    sweep: Objects, generation: int, holder: Holder, times: LockTimes, on_wait: Callable[[str], None]
) -> None:
    """Return when a holder's heartbeat has stood still for long enough, or the lock is free or has moved on.

    Raises FolderInUse as soon as the heartbeat counts on.
    """
    in_use = FolderInUse(f"{sweep.address} is in use by {holder.description}; wait, or give another name=...")
    if holder.machine == machine_name():
        raise in_use
    on_wait(f"{sweep.address}: locked by {holder.description}; waiting {times.stale:g} s for a sign of life")
    deadline = time.monotonic() + times.stale
    while time.monotonic() < deadline:
        time.sleep(times.poll)
        newest, now = read_newest(sweep)
        if newest != generation or now is None or now.released:
            return
        if now.counter != holder.counter:
            raise in_use


def _keep(
    sweep: Objects,
    generation: int,
    own: Holder,
    times: LockTimes,
    done: threading.Event,
    on_lost: Callable[[str], None],
) -> None:
    """Count on until the block ends, or another command has taken over."""
    counter = 0
    while not done.wait(times.heartbeat):
        try:
            if is_superseded(sweep, generation):
                on_lost(f"{sweep.address}: another command has taken over, as no heartbeat of this one arrived there")
                return
            counter += 1
            sweep.write(name_of(generation), own.model_copy(update={"counter": counter}).to_bytes())
        except BucketError as error:
            logging.getLogger(__name__).warning("the lock's heartbeat: %s", error)


def _end_process(reason: str) -> None:
    """End this process as a signal from outside does: in order, its runs as KILLED."""
    logging.getLogger(__name__).error("%s", reason)
    os.kill(os.getpid(), signal.SIGTERM)
