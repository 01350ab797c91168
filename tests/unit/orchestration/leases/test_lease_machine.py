"""Commands that claim, die, freeze, wake and look in any order: one holder a generation, and never two results."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import floats, integers

from orchestration.leases.holders import LIMIT_SECONDS, Holder, OtherHolders
from orchestration.leases.lease import Claim, Lease, Outcome, Superseded, claim_next, expire, read_state
from tests.helpers.memory_objects import MemoryObjects

IDENTITY = "x"
COMMANDS = 4


@dataclass
class Command:
    """One command: its heartbeat, its view of the others, and the lease that it believes to hold."""

    holder: Holder
    others: OtherHolders
    lease: Lease | None = None
    is_frozen: bool = False


class LeaseMachine(RuleBasedStateMachine):
    """Commands by number. A killed one is replaced by a new one, which knows nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = MemoryObjects()
        self.started = 0
        self.granted: list[int] = []
        self.results = 0
        self.commands = [self.start() for _ in range(COMMANDS)]

    def start(self) -> Command:
        self.started += 1
        name = f"command{self.started}"
        command = Command(Holder(self.objects, name, name, "host"), OtherHolders(self.objects, name))
        command.holder.heartbeat((), {})
        return command

    def awake(self, number: int) -> Command | None:
        command = self.commands[number]
        return None if command.is_frozen else command

    @rule(number=integers(0, COMMANDS - 1))
    def heartbeat(self, number: int) -> None:
        if command := self.awake(number):
            command.holder.heartbeat((), {})

    @rule(number=integers(0, COMMANDS - 1), seconds=floats(0, 20))
    def look(self, number: int, seconds: float) -> None:
        if command := self.awake(number):
            command.others.look(seconds, [read_state(self.objects, IDENTITY).claim.holder])

    @rule(number=integers(0, COMMANDS - 1))
    def look_for_long(self, number: int) -> None:
        """All others stand still meanwhile, dead or not."""
        if command := self.awake(number):
            for _ in range(10):
                command.others.look(LIMIT_SECONDS / 8, [read_state(self.objects, IDENTITY).claim.holder])

    @rule(number=integers(0, COMMANDS - 1))
    def begin(self, number: int) -> None:
        """Claim a lease that is free, or whose holder is dead; a result is taken and not trained again."""
        command = self.awake(number)
        if command is None or command.lease is not None:
            return
        state = read_state(self.objects, IDENTITY)
        if not state.is_free and command.others.is_dead(state.claim.holder):
            state = expire(self.objects, IDENTITY, state, command.holder.name)
        if not state.is_free or (state.end is not None and state.end.outcome is Outcome.FINISHED):
            return
        command.lease = claim_next(self.objects, IDENTITY, state, Claim(holder=command.holder.name))
        if command.lease is not None:
            self.granted.append(command.lease.generation)

    @rule(number=integers(0, COMMANDS - 1))
    def report(self, number: int) -> None:
        command = self.awake(number)
        if command is not None and command.lease is not None:
            try:
                command.lease.check()
            except Superseded:
                command.lease = None

    @rule(number=integers(0, COMMANDS - 1))
    def finish(self, number: int) -> None:
        command = self.awake(number)
        if command is not None and command.lease is not None:
            try:
                command.lease.finish()
                self.results += 1
            except Superseded:
                assert self.granted[-1] > command.lease.generation or read_state(self.objects, IDENTITY).is_free
            command.lease = None

    @rule(number=integers(0, COMMANDS - 1))
    def give_back(self, number: int) -> None:
        command = self.awake(number)
        if command is not None and command.lease is not None:
            command.lease.give_back(Outcome.STOPPED)
            command.lease = None

    @rule(number=integers(0, COMMANDS - 1))
    def freeze_or_wake(self, number: int) -> None:
        self.commands[number].is_frozen = not self.commands[number].is_frozen

    @rule(number=integers(0, COMMANDS - 1))
    def kill(self, number: int) -> None:
        self.commands[number] = self.start()

    @precondition(lambda self: self.results == 0)
    @rule(number=integers(0, COMMANDS - 1))
    def finish_alone(self, number: int) -> None:
        """Whatever the others did before they fell silent, one that goes on alone comes to the result."""
        self.commands[number].is_frozen = False
        for _ in range(3):
            self.look_for_long(number)
            self.begin(number)
            self.finish(number)
        assert self.results == 1

    @invariant()
    def one_holder_a_generation(self) -> None:
        assert self.granted == list(range(1, len(self.granted) + 1))

    @invariant()
    def one_result(self) -> None:
        assert self.results <= 1

    @invariant()
    def every_generation_but_the_last_has_ended(self) -> None:
        for generation in self.granted[:-1]:
            assert f"{IDENTITY}/{generation}.end" in self.objects.content


TestLeases = LeaseMachine.TestCase
TestLeases.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
