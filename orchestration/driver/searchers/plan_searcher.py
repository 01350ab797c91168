"""Searcher for Ray Tune that begins planned trainings when they can begin.

A training may wait for the checkpoint of another one that it begins from, or for another command that trains the same,
and a round of seeds for the round before.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.experiment.trials import Trial
from orchestration.leases.lease import Lease
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import FetchTraining, is_here
from orchestration.planning.seed_rounds import LaterRounds
from orchestration.trial.failures import FailureKind, has_failed, is_held_back, is_interrupted
from orchestration.trial.task import TASK, Task


class PlanSearcher(Searcher):
    """Suggests the trainings that are needed, and with rounds those of the next one when the round before has ended.

    `task` returns what a training's processes are given, from its index, the steps after which it keeps a checkpoint
    for others, and its lease. `fetch` is called with the folder of a training that has ended, before it is read.
    """

    def __init__(
        self,
        plan: Plan,
        pending: Sequence[int],
        queue: TrainingQueue,
        task: Callable[[int, tuple[int, ...], Lease | None], Task],
        later: LaterRounds | None,
        fetch: FetchTraining = is_here,
    ) -> None:
        # Without a metric of its own: Tune would look for it in every report.
        super().__init__()
        self._plan = plan
        self._queue = queue
        self._queue.put(pending)
        self._task = task
        self._later = later
        self._fetch = fetch
        # Tune's trial -> index of its training.
        self._running: dict[str, int] = {}
        # Identities of trainings of this command that ended without a result.
        self._failed: set[str] = set()
        self._interrupted = False
        # Why fewer points were sampled than requested, as TrialSearcher has it: none are sampled here.
        self.exhausted: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that never happens; this one holds the plan and the console.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return Tune's config of the next training, None while those that are left wait, FINISHED at the end."""
        index = self._take()
        if index is not None:
            self._running[trial_id] = index
            return {TASK: self._task(index, self._queue.forks(index), self._queue.lease(index))}
        return None if self._running or self._queue else Searcher.FINISHED

    def _take(self) -> int | None:
        """Return the next training that can begin; after the last one of a round, or its reuse, of the next round."""
        while True:
            if not self._queue and not self._running and (self._interrupted or not self._begin_round()):
                return None
            index = self._queue.take()
            if index is not None or self._queue or self._running:
                return index

    def _begin_round(self) -> bool:
        """Begin rounds until one has something to train; return False where nothing more is needed."""
        while self._later is not None:
            needed = self._later.rounds.needed(self._has_ended)
            self._later.begin(needed)
            self._queue.put([index for index in needed.indices if not self._has_ended(self._plan.trials[index])])
            if self._queue or needed.complete:
                break
        return bool(self._queue)

    def _has_ended(self, trial: Trial) -> bool:
        return trial.identity in self._failed or self._plan.summary_of(trial) is not None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note how a training ended; after one that was stopped for want of hours or space no round begins."""
        index = self._running.pop(trial_id)
        trial = self._plan.trials[index]
        folder: Path = self._plan.folder_of(trial)
        self._fetch(folder)
        if has_failed(folder, FailureKind.SUPERSEDED) and not is_held_back(folder):
            # It waits for the other command, and goes on here if that one gives it back.
            self._queue.put_back(index)
            return
        self._queue.end(index)
        if self._plan.summary_of(trial) is None:
            self._failed.add(trial.identity)
            self._interrupted |= is_interrupted(folder)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: arms are decided on results alone."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a rerun finds rounds and forks again from the files."""
