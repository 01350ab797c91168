"""Heartbeats of the commands that hold leases: a counter that each overwrites, and how others judge it.

A counter that does not move for LIMIT_SECONDS by the clock of the one who looks means that its command is dead. No time
is written that two hosts would compare, so clocks that differ by minutes make no difference.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from orchestration.leases.lease import Record, parse_record
from orchestration.leases.objects import Objects

HOLDERS = "holders"
HEARTBEAT_SECONDS = 3.0
# Ten heartbeats: less than a minute, and more than a busy machine or a slow disk holds one up.
LIMIT_SECONDS = 30.0
# Longer than that between two looks, the process that looks was suspended itself, and maybe all others with it.
GAP_SECONDS = 5.0


class TrainingStep(Record):
    """How far a training is."""

    step: int = 0
    total_steps: int = 0
    loss: float | None = None


class HolderRecord(Record):
    """The heartbeat of a command, with what it trains now and what it has planned."""

    count: int = 0
    sweep: str = ""
    host: str = ""
    # Identities of the trainings that it has to train.
    planned: frozenset[str] = frozenset()
    # Identity -> how far it is.
    running: Mapping[str, TrainingStep] = {}


@dataclass
class Holder:
    """The heartbeat of this command; its name is no other's."""

    objects: Objects
    name: str
    sweep: str
    host: str
    _count: int = field(default=0, init=False)

    def heartbeat(self, planned: Iterable[str], running: Mapping[str, TrainingStep]) -> None:
        """Move the counter; raises OSError where the storage does not take it."""
        self._count += 1
        record = HolderRecord(
            count=self._count, sweep=self.sweep, host=self.host, planned=frozenset(planned), running=dict(running)
        )
        self.objects.overwrite(f"{HOLDERS}/{self.name}", record.to_bytes())

    def end(self) -> None:
        """Remove the heartbeat of a command that holds no lease any more."""
        self.objects.remove(f"{HOLDERS}/{self.name}")


@dataclass(frozen=True)
class _Seen:
    """What the looks at a command have shown so far."""

    # None where it has no heartbeat.
    record: HolderRecord | None = None
    # Seconds for which its counter has not moved.
    quiet: float = 0.0
    # Whether its counter was ever seen to move.
    has_moved: bool = False


@dataclass
class OtherHolders:
    """Commands other than this one, and for how long their counters have not moved.

    One thread looks, and others ask meanwhile.
    """

    objects: Objects
    own: str
    limit: float = LIMIT_SECONDS
    _seen: dict[str, _Seen] = field(default_factory=dict, init=False)

    def look(self, seconds: float, needed: Iterable[str] = ()) -> None:
        """Read all heartbeats, `seconds` after the last look; `needed` names holders of leases, with one or without.

        Of a heartbeat that cannot be read nothing is known: it counts neither as moved nor as quiet. Raises OSError
        where none can be listed.
        """
        listed = set(self.objects.names(HOLDERS))
        for name in self._seen.keys() - listed - set(needed):
            del self._seen[name]
        for name in sorted({*listed, *needed} - {self.own}):
            with suppress(OSError):
                self._observe(name, min(seconds, GAP_SECONDS))

    def _observe(self, name: str, seconds: float) -> None:
        data = self.objects.read(f"{HOLDERS}/{name}") if name else None
        record = None if data is None else parse_record(HolderRecord, data)
        before = self._seen.get(name)
        if before is None:
            self._seen[name] = _Seen(record)
            return
        moved = record is not None and (before.record is None or record.count != before.record.count)
        self._seen[name] = _Seen(record, 0.0 if moved else before.quiet + seconds, before.has_moved or moved)

    def has_moved(self, name: str) -> bool:
        """Return whether the counter of a command was seen to move, and not too long ago."""
        return self._seen.get(name, _Seen()).has_moved and not self.is_dead(name)

    def is_dead(self, name: str) -> bool:
        """Return whether the counter of a command has not moved for the limit."""
        return self._seen.get(name, _Seen()).quiet >= self.limit

    def is_present(self, name: str) -> bool:
        """Return whether a command is alive; one that has ended has no heartbeat. Raises OSError."""
        return not self.is_dead(name) and self.objects.read(f"{HOLDERS}/{name}") is not None

    def step_of(self, name: str, identity: str) -> TrainingStep:
        """Return how far a command is with a training; step 0 where it has not reported any."""
        record = self._seen.get(name, _Seen()).record
        return TrainingStep() if record is None else record.running.get(identity, TrainingStep())

    def plans(self, identity: str, name: str | None = None) -> bool:
        """Return whether a command, or any, that is alive has a training before it, or trains it."""
        seen = tuple(self._seen.values()) if name is None else (self._seen.get(name, _Seen()),)
        records = [each.record for each in seen if each.quiet < self.limit]
        return any(record is not None and identity in record.planned for record in records)

    def remove_dead(self) -> None:
        """Remove the heartbeats of dead commands, which every later command would read at each look.

        One that was only suspended writes its own again. Raises OSError.
        """
        dead = [name for name, seen in tuple(self._seen.items()) if name and seen.quiet >= self.limit]
        for name in dead:
            self.objects.remove(f"{HOLDERS}/{name}")
