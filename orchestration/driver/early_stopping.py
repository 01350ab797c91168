"""Early stopping that a training carries out itself: Tune's scheduler decides, a file in its folder requests it.

When Tune stops a trial whose training runs on Ray Train workers, the workers' placement group can stay behind and the
sweep waits for ever (ray 54305). So no STOP ever reaches Tune: the training finds the request at its next report,
evaluates, saves and returns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.search.samplers import METRIC, STEP
from orchestration.trial import files
from orchestration.trial.task import task_of
from orchestration.trial.worker import RECORD

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial as TuneTrial

    # One of Tune, or a stand-in for a training that an earlier command ended.
    AnyTrial = TuneTrial | SimpleNamespace


class StopRequestingScheduler(FIFOScheduler):
    """Requests stops by an inner scheduler over the reported values of one metric; of several arms the best counts.

    Trainings of the seed `judged` alone are compared and stopped: more seeds are given to points that came through.
    """

    def __init__(self, inner: TrialScheduler, metric: str, mode: str, ended: Iterable[Path], judged: int) -> None:
        """Create the scheduler; trainings of earlier commands, in the folders `ended`, stand on the rungs as before."""
        super().__init__()  # type: ignore[no-untyped-call]
        # It does not use Tune's controller, which trainings of earlier commands do not have.
        self._inner: Any = inner
        self._metric = None  # Tune would look for one in every report.
        self._key = metric
        self._best: Callable[[Iterable[float]], float] = max if mode == "max" else min
        self._judged = judged
        # Tune's trial -> the last value that the inner scheduler got.
        self._last: dict[str, dict[str, float]] = {}
        self._stopping: set[str] = set()
        for folder in ended:
            self._add(SimpleNamespace(trial_id=str(folder)), folder)

    def on_trial_add(self, tune_controller: "TuneController | None", trial: "AnyTrial") -> None:
        if self._is_judged(trial):
            self._add(trial, Path(task_of(trial).folder))

    def on_trial_result(
        self, tune_controller: "TuneController | None", trial: "AnyTrial", result: dict[str, Any]
    ) -> str:
        text = result.get(RECORD)
        if text is not None and self._is_judged(trial):
            record = ProgressRecord.from_json(text)
            self._add_points(trial, record.points)
            if trial.trial_id in self._stopping and record.step < record.total_steps:
                files.request_stop(Path(task_of(trial).folder))
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: "TuneController | None", trial: "AnyTrial", result: dict[str, Any]
    ) -> None:
        if self._is_judged(trial):
            self._inner.on_trial_complete(tune_controller, trial, self._last.get(trial.trial_id, {}))

    def on_trial_remove(self, tune_controller: "TuneController | None", trial: "AnyTrial") -> None:
        if self._is_judged(trial):
            self._inner.on_trial_remove(tune_controller, trial)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a rerun reads the trainings' own folders."""

    def _is_judged(self, trial: "AnyTrial") -> bool:
        return bool(task_of(trial).config["seed"] == self._judged)

    def _add(self, trial: "AnyTrial", folder: Path) -> None:
        self._inner.on_trial_add(None, trial)
        self._add_points(trial, files.read_points(folder))

    def _add_points(self, trial: "AnyTrial", points: Sequence[MetricPoint]) -> None:
        for step, value in curve(points, self._key, self._best).items():
            self._last[trial.trial_id] = {METRIC: value, STEP: step}
            if self._inner.on_trial_result(None, trial, self._last[trial.trial_id]) == TrialScheduler.STOP:
                self._stopping.add(trial.trial_id)


def curve(points: Sequence[MetricPoint], key: str, best: Callable[[Iterable[float]], float]) -> Mapping[int, float]:
    """Return step -> value of one metric, of several arms the best."""
    values: dict[int, list[float]] = {}
    for point in points:
        if point.key == key:
            values.setdefault(point.step, []).append(point.value)
    return {step: best(values[step]) for step in sorted(values)}
