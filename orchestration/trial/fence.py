"""Fences of a training: an attempt that another one has replaced reports nothing, and leaves no result.

An attempt may live on where its driver takes it for dead, on a machine that was out of reach for a while or suspended.
Each one creates the next file in the training's folder, or the next object in a bucket where machines share no folder,
and ends where there is a later one than its own. Between commands that share a training its lease decides in the same
way (see leases/lease.py).
"""

import logging
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.leases.lease import Lease, Superseded
from orchestration.leases.objects import FolderObjects, Objects

# Below it a file for each attempt, by its number.
FENCE = "fence"
# Between two checks of a lease, as a multiple of what the first of them took: at most 5 % of the time.
PAUSE_OF_CHECK = 19.0


@dataclass(frozen=True)
class Attempt:
    """One attempt at a training; only the newest one of a folder is current."""

    folder: str
    number: int
    # A folder that was removed and made again counts from 1 again.
    token: str
    # Where all machines of the training see it.
    objects: Objects

    @property
    def following(self) -> str:
        """The object that the next attempt creates."""
        return f"{FENCE}/{self.number + 1}"

    @property
    def is_in_folder(self) -> bool:
        """Whether a check reads files alone."""
        return isinstance(self.objects, FolderObjects)

    def is_current(self) -> bool:
        """Return whether no later attempt has begun; raises OSError where that cannot be read."""
        own = self.objects.read(f"{FENCE}/{self.number}")
        return own == self.token.encode() and self.objects.read(self.following) is None

    def check(self) -> None:
        """Raise Superseded where a later attempt has begun."""
        if not self.is_current():
            raise Superseded(f"a later attempt than number {self.number} trains in {self.folder} now")


def begin_fenced(folder: Path, stored: Objects | None = None) -> Attempt:
    """Begin an attempt in a training's folder: those before it are replaced.

    stored: where all machines of the training see it, where that is not the folder itself. Raises OSError.
    """
    objects, token = FolderObjects(folder) if stored is None else stored, uuid.uuid4().hex
    number = 1 + max((int(name) for name in objects.names(FENCE) if name.isdigit()), default=0)
    while not objects.create(f"{FENCE}/{number}", token.encode()):
        number += 1
    return Attempt(str(folder), number, token, objects)


def check_fences(attempt: Attempt | None, lease: Lease | None) -> None:
    """Raise Superseded where another attempt, or another command, trains this now.

    Where that cannot be read the training goes on: what counts is decided again at its end.
    """
    checks: list[Callable[[], None]] = [each.check for each in (attempt, lease) if each is not None]
    for check in checks:
        try:
            check()
        except OSError:
            logging.getLogger(__name__).warning("whether another attempt has begun cannot be read", exc_info=True)


@dataclass
class ReportCheck:
    """Called at every report: raises Superseded where another attempt, or another command, trains this now.

    The lease may lie in a bucket, and so may the attempt, and a bucket out of reach is waited for: it is checked so
    rarely that this takes a small part of the time, whatever the storage.
    """

    attempt: Attempt | None
    lease: Lease | None
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=-math.inf, init=False)

    def __call__(self) -> None:
        is_near = self.attempt is not None and self.attempt.is_in_folder
        if is_near:
            check_fences(self.attempt, None)
        begin = self.clock()
        if begin < self._next:
            return
        check_fences(None if is_near else self.attempt, self.lease)
        end = self.clock()
        self._next = end + PAUSE_OF_CHECK * (end - begin)


def is_replaced(attempt: Attempt | None) -> bool:
    """Return whether a later attempt works in the training's folder, whose files are that one's by now."""
    try:
        return attempt is not None and not attempt.is_current()
    except OSError:
        return False
