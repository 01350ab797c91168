"""Whether the driver of a sweep is alive, from the lock and the record in its folder."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from orchestration.cli.lock import LockOwner, read_owner
from orchestration.monitor.record import WRITE_SECONDS, StatusRecord, read_status

# A record of another machine that is younger counts as a sign of life; clocks of a cluster agree to a second or so.
FRESH_SECONDS = 20.0
# No clock is wrong by that much: a record that is older is of a driver that is gone, whatever its machine.
STALE_SECONDS = 3600.0
# How long a record of another machine is watched for a change where its time does not show whether it is alive; and two
# heartbeats of a lock in a bucket.
WATCH_SECONDS = 5 * WRITE_SECONDS
POLL_SECONDS = 0.5

# unsure: on another machine, and its record is older, or younger, than this machine's clock allows.
Driver = Literal["none", "alive", "gone", "unsure"]


@dataclass(frozen=True)
class Sign:
    """What is known of a sweep's driver."""

    folder: Path
    owner: LockOwner | None
    record: StatusRecord | None
    driver: Driver


def find_sign(folder: Path, owner: LockOwner | None, record: StatusRecord | None, now: float) -> Sign:
    """Return what lock and record show at a time. No process of another machine can be looked at."""
    if owner is None:
        return Sign(folder, owner, record, "none")
    if owner.is_here:
        return Sign(folder, owner, record, "alive" if owner.exists else "gone")
    if record is None or not belongs_to(record, owner):
        return Sign(folder, owner, record, "unsure")
    age = now - record.written
    driver: Driver = "alive" if abs(age) < FRESH_SECONDS else "gone" if age > STALE_SECONDS else "unsure"
    return Sign(folder, owner, record, driver)


def belongs_to(record: StatusRecord, owner: LockOwner) -> bool:
    """Return whether a record is of the command that has the lock, and not of one before."""
    return (record.host, record.pid) == (owner.host, owner.pid)


def ignore(_: Sequence[Path]) -> None:
    """Do nothing; the default of what is done before folders are looked at again."""


def watch_unsure(
    signs: Sequence[Sign],
    seconds: float = WATCH_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    refresh: Callable[[Sequence[Path]], None] = ignore,
) -> list[Sign]:
    """Return the signs, those that are unsure decided by whether record or heartbeat changes within some seconds.

    Neither clocks nor times of files count for it, which may be another machine's.

    refresh: called with the folders that are about to be looked at again.
    """
    until, current = clock() + seconds, list(signs)
    while any(sign.driver == "unsure" for sign in current):
        if clock() >= until:
            return [replace(sign, driver="gone") if sign.driver == "unsure" else sign for sign in current]
        sleep(POLL_SECONDS)
        refresh([sign.folder for sign in current if sign.driver == "unsure"])
        current = [_look_again(sign) if sign.driver == "unsure" else sign for sign in current]
    return current


def _look_again(sign: Sign) -> Sign:
    try:
        owner, record = read_owner(sign.folder) or sign.owner, read_status(sign.folder) or sign.record
    except (OSError, ValueError):
        return sign
    if _counts(owner, record) == _counts(sign.owner, sign.record):
        return sign
    return replace(sign, owner=owner, record=record, driver="alive")


def _counts(owner: LockOwner | None, record: StatusRecord | None) -> tuple[int, int]:
    """Return what a living driver counts on: heartbeats of its lock in a bucket, and records."""
    return 0 if owner is None else owner.counter, 0 if record is None else record.count
