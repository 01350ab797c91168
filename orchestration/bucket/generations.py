"""Generations of a lock in a bucket: each is an object that one process creates, and the highest one counts.

An object is created where there is none, none but its creator writes it again, and it stays. So two processes never
have the same generation, whatever their clocks and however late a listing is: from what one shows, higher ones are
looked for one by one. Leases (leases/lease.py) are decided in the same way, by objects that are never written again;
here the object has the heartbeat too, and its process, as a process of the same machine that is gone is seen at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.objects import Objects

FOLDER: Final = "lock"
SUFFIX: Final = ".json"
# Seconds for which a check counts.
CHECK_SECONDS = 2.0


class Superseded(BucketError):
    """Another command, or another attempt at a training, has taken over: this one may not write any more."""


class Holder(BaseModel):
    """The content of a generation: the process that created it, and how far its heartbeat has counted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token: str
    pid: int
    # See processes.start_time.
    begin: float
    host: str
    # The host with its boot and its process namespace, in which the pid means one process.
    machine: str
    since: str
    counter: int = 0
    released: bool = False

    @property
    def description(self) -> str:
        """The process, for people."""
        return f"process {self.pid} on {self.host} since {self.since}"

    def to_bytes(self) -> bytes:
        """Return the content as an object's."""
        return self.model_dump_json().encode()


def name_of(generation: int) -> str:
    """Return the name of a generation's object."""
    return f"{FOLDER}/{generation:08d}{SUFFIX}"


def read_newest(sweep: Objects) -> tuple[int, Holder | None]:
    """Return the highest generation, 0 where there is none, and its holder; None where that cannot be read."""
    listed = (name.removeprefix(f"{FOLDER}/").removesuffix(SUFFIX) for name in sweep.list(FOLDER))
    generation = max((int(each) for each in listed if each.isdecimal()), default=0)
    data = sweep.read_if_there(name_of(generation)) if generation else None
    while (following := sweep.read_if_there(name_of(generation + 1))) is not None:
        generation, data = generation + 1, following
    return generation, _parse(data)


def create(sweep: Objects, generation: int, holder: Holder) -> bool:
    """Take a generation; return False where another process has it."""
    return sweep.create(name_of(generation), holder.to_bytes())


def is_superseded(sweep: Objects, generation: int) -> bool:
    """Return whether there is a higher generation."""
    return sweep.read_if_there(name_of(generation + 1)) is not None


def _parse(data: bytes | None) -> Holder | None:
    try:
        return None if data is None else Holder.model_validate_json(data)
    except ValidationError:
        return None


@dataclass
class Fence:
    """Raises Superseded where the object is there that whoever takes over creates; looks at most every two seconds.

    It has no patience of its own: what it is called in is tried again as a whole.
    """

    objects: Objects
    following: str
    clock: Callable[[], float] = time.monotonic
    _checked: float | None = field(default=None)

    @classmethod
    def of_lock(cls, sweep: Objects, generation: int, clock: Callable[[], float] = time.monotonic) -> "Fence":
        """Return the fence of a command that has a generation of a sweep's lock."""
        return cls(sweep, name_of(generation + 1), clock)

    def __call__(self) -> None:
        now = self.clock()
        if self._checked is not None and now - self._checked < CHECK_SECONDS:
            return
        if self.objects.patient(0.0).read_if_there(self.following) is not None:
            raise Superseded(f"{self.objects.address}: another command or attempt has taken over here")
        self._checked = now
