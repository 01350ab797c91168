"""First steps that trainings take from others, of their plan or of other sweeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fcos.config.evaluation import EvaluationSettings
from fcos.config.run import ScheduleConfig
from orchestration.experiment.extension import Extension
from orchestration.experiment.identity import evaluation_identity
from orchestration.experiment.trials import Trial


@dataclass(frozen=True)
class Trunk:
    """A training whose first steps others take."""

    identity: str
    # Arms and seed, or its run in the tracking store, for people.
    label: str
    sweep: str
    folder: Path
    schedule: ScheduleConfig
    # Decays of the moving averages of the weights that it keeps.
    averages: frozenset[float]
    # Arm -> identity of its evaluation.
    evaluations: Mapping[str, str]

    @classmethod
    def of(cls, trial: Trial, sweep: str, folder: Path) -> "Trunk":
        """Return a training of a plan as the trunk of others."""
        evaluations = {arm: trial.identity_of(arm) for arm in trial.arms}
        return cls(trial.identity, trial.label, sweep, folder, trial.config.schedule, trial.averages, evaluations)

    def arm_like(self, settings: EvaluationSettings) -> str | None:
        """Return the arm that is evaluated by the same settings, or None."""
        wanted = evaluation_identity(self.identity, settings)
        return next((arm for arm, identity in self.evaluations.items() if identity == wanted), None)


@dataclass(frozen=True)
class Prefix:
    """The first steps of a training that it takes from another one, its trunk."""

    trunk: Trunk
    step: int
    # Whether this command trains the trunk, which leaves the checkpoint on its way.
    waits: bool = False
    # The checkpoint that was chosen by hand, which is taken or nothing.
    extension: Extension | None = None

    @classmethod
    def by_choice(cls, extension: Extension, trial: Trial) -> "Prefix":
        """Return what a training takes that goes on from a checkpoint of another schedule."""
        label, schedule = str(extension.path), trial.config.schedule
        trunk = Trunk(extension.sha256, label, "", extension.run_folder, schedule, trial.averages, {})
        return cls(trunk, extension.step, extension=extension)


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
        return tuple(sorted({self.by_identity[name].step for name in self._waiting_for(trunk.identity)}))

    def count_waiting(self, identity: str) -> int:
        """Return how many trainings wait for one, also by way of others."""
        waiting = self._waiting_for(identity)
        return len(waiting) + sum(map(self.count_waiting, waiting))

    def _waiting_for(self, identity: str) -> Sequence[str]:
        return self._waiting.get(identity, ())

    @cached_property
    def _waiting(self) -> Mapping[str, Sequence[str]]:
        """Identities of the trainings that wait for another one, by that of the other one."""
        waiting: dict[str, list[str]] = {}
        for name, each in self.by_identity.items():
            # The same training in another sweep is none that is waited for.
            if each.waits:
                waiting.setdefault(each.trunk.identity, []).append(name)
        return waiting
