"""Leases on trainings: which of several commands trains one, decided by objects that are created once and stay.

A lease has generations. `<identity>/<n>.claim` is created by the command that begins to train, and `<identity>/<n>.end`
by whoever ends that generation: its holder with a result or without, or another command that has seen no heartbeat of
the holder for a while. The first of them to create the object decides, so that a holder that was given up for dead
finds the end of its generation, and what it does counts no more. Generation n + 1 is claimed after the end of n alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.leases.objects import Objects

CLAIM = ".claim"
END = ".end"


class Superseded(RuntimeError):
    """Another command, or another attempt, trains this; what the attempt that raises it does counts no more."""


class Outcome(StrEnum):
    """How a generation of a lease ended."""

    FINISHED = "finished"
    FAILED = "failed"
    # By its user, or for want of hours, space or a head.
    STOPPED = "stopped"
    # By another command, as the holder gave no heartbeat.
    EXPIRED = "expired"


class Record(BaseModel):
    """What an object holds; keys that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """Return the content of the object."""
        return self.model_dump_json(indent=1).encode()


RecordT = TypeVar("RecordT", bound=Record)


def parse_record(kind: type[RecordT], data: bytes | None) -> RecordT:
    """Return a record; one without content where it was cut short by a kill: that the object exists decides."""
    try:
        return kind.model_validate_json(data or b"{}")
    except ValidationError:
        return kind()


class Claim(Record):
    """Which command holds a generation, for others to follow."""

    holder: str = ""
    sweep: str = ""
    host: str = ""
    # The training's own folder.
    folder: str = ""
    # Public address of the tracking store that gets its result.
    store: str = ""


class End(Record):
    """Who ended a generation, and how."""

    holder: str = ""
    outcome: Outcome = Outcome.EXPIRED


@dataclass(frozen=True)
class LeaseState:
    """The newest generation of a lease; 0 where there was none."""

    generation: int = 0
    claim: Claim = field(default_factory=Claim)
    # None while it is held.
    end: End | None = None

    @property
    def is_free(self) -> bool:
        """Whether the next generation may be claimed."""
        return self.generation == 0 or self.end is not None


@dataclass(frozen=True)
class Lease:
    """A generation that a command has claimed; it travels to the processes that train."""

    objects: Objects
    identity: str
    generation: int
    holder: str

    def check(self) -> None:
        """Raise Superseded where the generation has ended without a result of this holder, or was followed by another.

        Raises OSError where the storage does not answer.
        """
        data = self.objects.read(self._name(END))
        if data is not None and (data != self._end(Outcome.FINISHED) or self._is_followed()):
            self._raise_superseded()

    def finish(self) -> None:
        """End the generation with a result, before that is written; raises Superseded where it has ended otherwise.

        Raises OSError where the storage does not answer.
        """
        if not self.give_back(Outcome.FINISHED) or self._is_followed():
            self._raise_superseded()

    def give_back(self, outcome: Outcome) -> bool:
        """End the generation; return False where it has ended otherwise."""
        return self.objects.create(self._name(END), self._end(outcome))

    def _end(self, outcome: Outcome) -> bytes:
        return End(holder=self.holder, outcome=outcome).to_bytes()

    def _is_followed(self) -> bool:
        return self.objects.read(f"{self.identity}/{self.generation + 1}{CLAIM}") is not None

    def _name(self, suffix: str) -> str:
        return f"{self.identity}/{self.generation}{suffix}"

    def _raise_superseded(self) -> None:
        claim = parse_record(Claim, self.objects.read(f"{self.identity}/{self.generation + 1}{CLAIM}"))
        if claim.sweep:
            raise Superseded(f"sweep {claim.sweep} on {claim.host} trains this now, as its lease here had ended")
        end = parse_record(End, self.objects.read(self._name(END)))
        raise Superseded(f"the lease of this training has ended ({end.outcome}), and another command may train it")


def read_state(objects: Objects, identity: str) -> LeaseState:
    """Return the newest generation of a lease."""
    numbers = [name.removesuffix(CLAIM) for name in objects.names(identity) if name.endswith(CLAIM)]
    newest = max((int(number) for number in numbers if number.isdigit()), default=0)
    # A listing of a bucket may lag behind.
    while objects.read(f"{identity}/{newest + 1}{CLAIM}") is not None:
        newest += 1
    if newest == 0:
        return LeaseState()
    claim = parse_record(Claim, objects.read(f"{identity}/{newest}{CLAIM}"))
    end = objects.read(f"{identity}/{newest}{END}")
    return LeaseState(newest, claim, None if end is None else parse_record(End, end))


def claim_next(objects: Objects, identity: str, state: LeaseState, claim: Claim) -> Lease | None:
    """Claim the generation after a free one; return None where another command was faster."""
    assert state.is_free, "a generation that is held is ended before the next one is claimed"
    generation = state.generation + 1
    if not objects.create(f"{identity}/{generation}{CLAIM}", claim.to_bytes()):
        return None
    return Lease(objects, identity, generation, claim.holder)


def expire(objects: Objects, identity: str, state: LeaseState, by: str) -> LeaseState:
    """End a generation whose holder is dead; return what the lease is then, which the holder may have ended itself."""
    assert not state.is_free, "there is nothing to end"
    objects.create(f"{identity}/{state.generation}{END}", End(holder=by, outcome=Outcome.EXPIRED).to_bytes())
    return read_state(objects, identity)
