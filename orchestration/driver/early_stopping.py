"""Early stopping that a training carries out itself: Tune's scheduler judges, a file in the training's folder asks.

When Tune stops a trial whose training runs on Ray Train workers, the workers' placement group can stay behind and the
sweep waits for ever (ray 54305). So no STOP ever reaches Tune: the training hears of it at its next report, evaluates,
saves and returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestration.cli.progress import parse_record
from orchestration.search.samplers import METRIC, STEP
from orchestration.trial import files
from orchestration.trial.task import TASK, Task
from orchestration.trial.worker import RECORD


class AsksToStop(FIFOScheduler):
    """Judges by an inner scheduler over the reported values of one metric; several arms count by their best."""

    def __init__(self, inner: TrialScheduler, metric: str, mode: str, ended: Iterable[Path]) -> None:
        """`ended` are folders of trainings that earlier commands ended: they stand on the rungs as before."""
        super().__init__()
        # Tune's controller, which we do not have for trainings of the past, is nothing that it looks at.
        self._inner: Any = inner
        self._metric = None  # What Tune would look for in every report.
        self._key = metric
        self._best = max if mode == "max" else min
        # Tune's trial -> what was last judged.
        self._last: dict[str, dict[str, float]] = {}
        self._asked: set[str] = set()
        for folder in ended:
            self._add(SimpleNamespace(trial_id=str(folder)), folder)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._add(trial, Path(_task(trial).folder))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        text = result.get(RECORD)
        if text is not None:
            record = parse_record(text)
            self._judge(trial, record["points"])
            if trial.trial_id in self._asked and record["step"] < record["total_steps"]:
                files.ask_to_stop(Path(_task(trial).folder))
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._inner.on_trial_complete(tune_controller, trial, self._last.get(trial.trial_id, {}))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._inner.on_trial_remove(tune_controller, trial)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a rerun reads the trainings' own folders."""

    def _add(self, trial: Any, folder: Path) -> None:
        self._inner.on_trial_add(None, trial)
        points = files.read_points(folder)
        self._judge(trial, [[*point, value] for point, value in points.items()])

    def _judge(self, trial: Any, points: Sequence[Sequence[Any]]) -> None:
        for step, value in curve(points, self._key, self._best).items():
            self._last[trial.trial_id] = {METRIC: value, STEP: step}
            if self._inner.on_trial_result(None, trial, self._last[trial.trial_id]) == TrialScheduler.STOP:
                self._asked.add(trial.trial_id)


def curve(points: Sequence[Sequence[Any]], key: str, best: Any) -> Mapping[int, float]:
    """Step -> value of one metric in [arm, key, step, value] points, the best of several arms."""
    values: dict[int, list[float]] = {}
    for _, name, step, value in points:
        if name == key:
            values.setdefault(step, []).append(value)
    return {step: best(values[step]) for step in sorted(values)}


def _task(trial: Any) -> Task:
    task: Task = trial.config[TASK]
    return task
