"""First steps that trainings take from others of their plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestration.experiment.trials import Trial


@dataclass(frozen=True)
class Prefix:
    """The first steps of a training that it takes from another one, its trunk."""

    trunk: Trial
    step: int


@dataclass(frozen=True)
class Prefixes:
    """What trainings take from others, by identity; those that take nothing are missing."""

    by_identity: Mapping[str, Prefix] = field(default_factory=dict)

    def of(self, trial: Trial) -> Prefix | None:
        """Return what a training takes from another one; None for one that begins at step 0, or from its own."""
        return self.by_identity.get(trial.identity)

    def steps_of(self, trial: Trial) -> int:
        """Return the number of steps that a training takes from another one."""
        prefix = self.of(trial)
        return 0 if prefix is None else prefix.step

    def forks(self, trunk: Trial) -> tuple[int, ...]:
        """Return the steps after which a training keeps a checkpoint for others."""
        return tuple(sorted({each.step for each in self.by_identity.values() if each.trunk.identity == trunk.identity}))

    def count_waiting(self, identity: str) -> int:
        """Return how many trainings wait for one, also by way of others."""
        waiting = [name for name, each in self.by_identity.items() if each.trunk.identity == identity]
        return len(waiting) + sum(map(self.count_waiting, waiting))
