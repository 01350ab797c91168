"""Trainings that are to begin, each when the checkpoint that it begins from is there."""

from collections.abc import Iterable

from orchestration.experiment.prefixes import Prefixes
from orchestration.experiment.trials import Trial
from orchestration.planning.first_steps.begin_from import begin_from
from orchestration.planning.first_steps.planned_prefixes import Elsewhere, find_prefixes, held_checkpoints
from orchestration.planning.plan import Plan
from orchestration.trial.failures import is_held_back
from orchestration.trial.files import begin_training


class TrainingQueue:
    """Trainings of a plan by index; one that others wait for comes before the others of its seed."""

    def __init__(self, plan: Plan, elsewhere: Elsewhere) -> None:
        """Create the queue; `elsewhere` are trainings of other sweeps whose checkpoints may be begun from."""
        self._plan = plan
        self._elsewhere = elsewhere
        self._waiting: list[int] = []
        self._prefixes = Prefixes()
        # Identities of trainings that were put in and have not ended.
        self._unfinished: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, indices: Iterable[int]) -> None:
        """Put trainings in; those that were put in before have ended."""
        self._waiting = list(indices)
        trials = [self._plan.trials[index] for index in self._waiting]
        for trial in trials:
            begin_training(self._plan.folder_of(trial))
        self._prefixes = find_prefixes(self._plan, trials, self._elsewhere)
        self._unfinished = {trial.identity for trial in trials}

    def take(self) -> int | None:
        """Return the next training that can begin, its folder filled with what it begins from; None while all wait."""
        ready = [index for index in self._waiting if self._is_ready(self._plan.trials[index])]
        if not ready:
            return None
        index = min(ready, key=self._turn)
        self._waiting.remove(index)
        trial = self._plan.trials[index]
        folder, prefix = self._plan.folder_of(trial), self._prefixes.of(trial)
        # One that is held back does not begin; a later command plans anew where from.
        if not is_held_back(folder):
            begin_from(prefix, trial, folder)
        return index

    def forks(self, index: int) -> tuple[int, ...]:
        """Return the steps after which a training keeps a checkpoint for others."""
        return self._prefixes.forks(self._plan.trials[index])

    def end(self, index: int) -> None:
        """Note that a training has ended, with a result or without."""
        self._unfinished.discard(self._plan.trials[index].identity)

    def _is_ready(self, trial: Trial) -> bool:
        prefix = self._prefixes.of(trial)
        if prefix is None or not prefix.waits or prefix.trunk.identity not in self._unfinished:
            return True
        return prefix.step in held_checkpoints(prefix.trunk.folder)

    def _turn(self, index: int) -> tuple[int, bool, int, int]:
        trial = self._plan.trials[index]
        seeds, prefix = [each.seed for each in self._plan.trials], self._prefixes.of(trial)
        # What begins from a checkpoint that is there comes first: the trunk may go on and remove it.
        waits = prefix is None or prefix.step not in held_checkpoints(prefix.trunk.folder)
        return seeds.index(trial.seed), waits, -self._prefixes.count_waiting(trial.identity), index
