"""Searcher for Ray Tune that begins trainings round by round, until every arm is decided."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from orchestration.experiment.trials import Trial
from orchestration.planning.seed_rounds import Needed, SeedRounds
from orchestration.trial.failures import is_interrupted
from orchestration.trial.files import begin_training
from orchestration.trial.task import TASK, Task


class RoundSearcher(Searcher):
    """Suggests the trainings that are needed; those of the next round when all of the round before have ended.

    `begin_round` is called with what is needed whenever all trainings so far have ended; it takes over results that
    other sweeps have.
    """

    def __init__(
        self,
        rounds: SeedRounds,
        pending: Sequence[int],
        task: Callable[[int], Task],
        begin_round: Callable[[Needed], None],
    ) -> None:
        # Without a metric of its own: Tune would look for it in every report.
        super().__init__()
        self._plan = rounds.plan
        self._rounds = rounds
        self._queue = list(pending)
        self._task = task
        self._begin_round = begin_round
        # Tune's trial -> index of its training.
        self._running: dict[str, int] = {}
        # Identities of trainings of this command that ended without a result.
        self._failed: set[str] = set()
        self._interrupted = False
        # Why less was begun than was asked for, as TrialSearcher has it: nothing is drawn here.
        self.exhausted: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that is never asked for; this one holds the plan and the console.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return Tune's config of the next training, None while a round is running, FINISHED at the end."""
        if not self._queue and not self._running and not self._interrupted:
            self._fill_queue()
        if self._queue:
            index = self._queue.pop(0)
            self._running[trial_id] = index
            return {TASK: self._task(index)}
        return None if self._running else Searcher.FINISHED

    def _fill_queue(self) -> None:
        """Begin rounds until one has something to train, or nothing more is needed."""
        while True:
            needed = self._rounds.needed(self._has_ended)
            self._begin_round(needed)
            self._queue = [index for index in needed.indices if not self._has_ended(self._plan.trials[index])]
            if self._queue or needed.complete:
                break
        for index in self._queue:
            begin_training(self._plan.folder_of(self._plan.trials[index]))

    def _has_ended(self, trial: Trial) -> bool:
        return trial.identity in self._failed or self._plan.summary_of(trial) is not None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note how a training ended; after one that was stopped for want of hours or space no round begins."""
        trial = self._plan.trials[self._running.pop(trial_id)]
        folder: Path = self._plan.folder_of(trial)
        if self._plan.summary_of(trial) is None:
            self._failed.add(trial.identity)
            self._interrupted |= is_interrupted(folder)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: arms are decided on results alone."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a rerun finds the rounds again from the results."""
