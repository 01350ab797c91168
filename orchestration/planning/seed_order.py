"""The order in which the seeds of a sweep count, over all of its commands.

A look is a number of seeds, so that the driver and a report must count the same ones first. The order is that in which
commands planned them: plan.json has it, and experiment.json of the sweep's run. Runs in the store come in another one
where results were taken over, as these are recorded after all trainings.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SeedOrder:
    """Seeds in the order in which they count at looks.

    rounds_from: with until=decided how many of the first ones counted already before the rounds began, so that no round
    is of fewer; None where no command had rounds. given_after: how many counted when a command that gives its seeds
    followed the rounds; None where the newest command has rounds. Where no more count by the time of the next rounds,
    these are the same as before: what they decided stays decided.
    """

    seeds: tuple[int, ...] = ()
    rounds_from: int | None = None
    given_after: int | None = None

    @property
    def has_rounds(self) -> bool:
        """Whether the newest command has rounds."""
        return self.rounds_from is not None and self.given_after is None

    def follow(self, planned: Sequence[int], counted: Collection[int], *, has_rounds: bool) -> "SeedOrder":
        """Return the order of a later command, this one where nothing changes.

        planned: seeds of that command. counted: seeds of this order that have a result or were looked at; they come
        first, as a look at what there is has seen them, and any other that the command leaves out is none any more.
        """
        same = has_rounds == self.has_rounds and set(planned) <= set(self.seeds)
        if same and set(self.seeds) <= {*planned, *counted}:
            return self
        first = [seed for seed in self.seeds if seed in counted]
        others = [seed for seed in self.seeds if seed not in counted and seed in planned]
        seeds = tuple(dict.fromkeys([*first, *others, *planned]))
        if self.rounds_from is None:
            return SeedOrder(seeds, len(first) if has_rounds else None)
        counted_then = len(first) if self.given_after is None else self.given_after
        if not has_rounds:
            return SeedOrder(seeds, self.rounds_from, counted_then)
        return SeedOrder(seeds, len(first) if len(first) > counted_then else self.rounds_from)
