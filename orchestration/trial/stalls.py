"""Stalls of a training: found by its heartbeats, and ended, from outside of its processes.

The driver does so (see driver/watchdogs.py), or, where it does not see the training's folder, a process beside it,
which ends with its standard input:

    python -m orchestration.trial.stalls GUARD
"""

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestration.trial import files, processes
from orchestration.trial.bucket_folder import following_object, in_turn, sees_driver, upload_records
from orchestration.trial.failures import Stalled, write_failure
from orchestration.trial.heartbeat import TRIAL, Heartbeats, Process, read_heartbeats
from orchestration.trial.task import BucketTask, Task

TICK_SECONDS = 1.0
# Longer than that between two checks, this process itself was suspended, and maybe all others with it.
GAP_SECONDS = 5.0
# Between registration and first heartbeat a process imports what it needs: that much more time.
START_SECONDS = 120.0


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


def end_here(folder: str, among: Sequence[Process], limit: float) -> None:
    """End those processes of this machine that are still there, and record why before their end is noticed."""
    alive = [process for process in among if processes.is_alive(process.pid, process.begin)]
    if alive:
        reason = f"no progress for {limit:.0f} s (cluster.stall_minutes={limit / 60:g}); its processes were ended"
        write_failure(Path(folder), Stalled(reason), retryable=True)
        files.add_note(Path(folder), f"{reason}, and it went on from its last checkpoint")
    for process in alive:
        processes.kill(process.pid)


@dataclass(frozen=True)
class Guard:
    """What the process beside a training is given.

    bucket: None where it is one of several machines of the training, whose records are uploaded from another one;
    following: the object that the next attempt creates, None where files keep attempts apart.
    """

    folder: str
    seconds: float
    bucket: BucketTask | None
    following: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Guard":
        values: dict[str, Any] = json.loads(text)
        bucket = None if values["bucket"] is None else BucketTask(**values["bucket"])
        return cls(values["folder"], values["seconds"], bucket, values["following"])

    def watch(self, ended: Callable[[float], bool]) -> None:
        """End the training where it stalls, and upload why; return then, or when `ended`, which waits, is true."""
        folder, detector, before = Path(self.folder), StallDetector(self.seconds), time.monotonic()
        while not ended(TICK_SECONDS):
            now = time.monotonic()
            stalled = detector.check([folder], min(now - before, GAP_SECONDS))
            before = now
            if stalled:
                among = {process for process, _ in read_heartbeats(folder).values()}
                end_here(self.folder, list(among), self.seconds)
                if self.bucket is not None:
                    # The next attempt on this machine waits for it before it uploads anything.
                    with in_turn(folder):
                        upload_records(folder, self.bucket, self.following)
                return


@contextmanager
def guarded(task: Task) -> Iterator[None]:
    """Let a process beside this one end the training where it stalls, if the driver does not see its folder."""
    if task.stall_seconds is None or task.bucket is None or sees_driver(task):
        yield
        return
    guard = Guard(task.folder, task.stall_seconds, None if task.is_spread else task.bucket, following_object(task))
    command = [sys.executable, "-m", "orchestration.trial.stalls", guard.to_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _standard_input_ends(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    Guard.from_json(sys.argv[1]).watch(_standard_input_ends)
