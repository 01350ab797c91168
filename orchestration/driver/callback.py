"""Callback of Ray Tune that publishes what happens to the trials."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from fcos.storage.run_folder import ProgressRecord
from orchestration.driver.events import (
    Events,
    TrialFailed,
    TrialFinished,
    TrialReported,
    TrialRetried,
    TrialStarted,
    TrialStopped,
)
from orchestration.experiment.provenance import code_differences
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import is_here
from orchestration.trial import retries
from orchestration.trial.failures import (
    OutOfMemory,
    failure_reason,
    is_held_back,
    is_interrupted,
    read_failure,
    write_failure,
)
from orchestration.trial.task import Task, task_of
from orchestration.trial.worker import RECORD

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as TuneTrial


class SweepCallback(tune.Callback):
    """Publishes starts, reports and ends of Tune's trials, in the driver."""

    def __init__(self, plan: Plan, events: Events, fetch: Callable[[Path], None] = is_here) -> None:
        self._plan = plan
        self._events = events
        # Called with the folder of a training of which another attempt is made. Where none is, the searcher has fetched
        # it, which Tune notifies first.
        self._fetch = fetch
        # Indices of the trainings that this command has started.
        self._started: set[int] = set()
        # Failures by Tune's own count, which leaves out machines that were taken away.
        self._failures: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that never happens; the handlers hold threads and a terminal.
        return {}

    def on_trial_start(self, iteration: int, trials: "list[TuneTrial]", trial: "TuneTrial", **info: Any) -> None:
        task = task_of(trial)
        if is_held_back(Path(task.folder)):
            return
        first = task.index not in self._started
        self._started.add(task.index)
        self._events.publish(TrialStarted(task.index, self._plan.trials[task.index], first))

    def on_trial_result(
        self, iteration: int, trials: "list[TuneTrial]", trial: "TuneTrial", result: dict[str, Any], **info: Any
    ) -> None:
        text = result.pop(RECORD, None)
        if text is not None:
            index = task_of(trial).index
            self._events.publish(TrialReported(index, self._plan.trials[index], ProgressRecord.from_json(text)))

    def on_trial_complete(self, iteration: int, trials: "list[TuneTrial]", trial: "TuneTrial", **info: Any) -> None:
        self._publish_end(task_of(trial))

    def on_trial_recover(self, iteration: int, trials: "list[TuneTrial]", trial: "TuneTrial", **info: Any) -> None:
        task = task_of(trial)
        self._fetch(Path(task.folder))
        _record_ray_memory_kill(trial, Path(task.folder))
        if trial.num_failures == self._failures.get(trial.trial_id, 0):
            retries.end_attempt(task)
        self._failures[trial.trial_id] = trial.num_failures
        training = self._plan.trials[task.index]
        reason = failure_reason(Path(task.folder)).splitlines()[0].rstrip(":")
        text = "%s: %s; it is taken up from its last checkpoint"
        logging.getLogger(__name__).warning(text, training.label, reason)
        self._events.publish(TrialRetried(task.index, training, reason))

    def on_trial_error(self, iteration: int, trials: "list[TuneTrial]", trial: "TuneTrial", **info: Any) -> None:
        task = task_of(trial)
        _record_ray_memory_kill(trial, Path(task.folder))
        if retries.read_attempts(Path(task.folder)).open:
            retries.should_retry(task)
        self._publish_end(task)

    def _publish_end(self, task: Task) -> None:
        trial, folder = self._plan.trials[task.index], Path(task.folder)
        summary = self._plan.summary_of(trial)
        if summary is not None:
            self._events.publish(TrialFinished(task.index, trial, summary))
        elif is_interrupted(folder):
            begun = task.index in self._started
            self._events.publish(TrialStopped(task.index, trial, failure_reason(folder), begun))
        else:
            failure, reason = read_failure(folder), failure_reason(folder)
            if failure is None or failure.retryable:
                # An edit may keep a process from starting at all, so that nothing else could report it.
                reason = "; ".join([*code_differences(self._plan.provenance), reason])
            self._events.publish(TrialFailed(task.index, trial, reason))


def _record_ray_memory_kill(trial: "TuneTrial", folder: Path) -> None:
    """Record that Ray's memory monitor ended a process, which leaves no record of its own: only Tune's error has it."""
    try:
        text = Path(trial.error_file or "").read_text().rpartition("Failure #")[2]
    except OSError:
        return
    if read_failure(folder) is None and "low on memory" in text:
        # It may have been ended before it began.
        folder.mkdir(parents=True, exist_ok=True)
        write_failure(folder, OutOfMemory("the machine had no more memory, and Ray ended its process"), retryable=True)
