"""Searcher for Ray Tune: points of Tune's own searcher become trials of the plan."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from fcos.config.parse import with_keys
from fcos.errors import ConfigError
from orchestration.config.schema import ClusterConfig
from orchestration.experiment.config_checks import check_arm
from orchestration.experiment.trials import Trial, plan_trials
from orchestration.experiment.weights import pin_weights
from orchestration.planning.plan import Plan, update_plan
from orchestration.planning.reuse import FetchTraining, is_here
from orchestration.search.points import MOST_MISSES, SampledPoint, Search, name_of
from orchestration.search.samplers import METRIC, make_searcher
from orchestration.search.space import Point, point_keys
from orchestration.trial.files import begin_training
from orchestration.trial.task import TASK, Task


class TrialSearcher(Searcher):
    """Turns the points of an inner searcher into trials; a point that the schema refuses counts as a failed trial.

    `begin` makes a trial of a point and returns Tune's config for it; for a training that was drawn before it returns
    the metric, or None where that training has none yet. It raises ConfigError for a point that is no valid
    configuration. `result_of` returns the metric of an ended training, None where it failed. `pending` holds points
    with their configs that an earlier command did not finish; they come first. `to_sample` counts the new points.
    """

    def __init__(
        self,
        inner: Searcher,
        begin: Callable[[Point], dict[str, Any] | float | None],
        result_of: Callable[[Mapping[str, Any]], float | None],
        pending: Sequence[tuple[Point, dict[str, Any]]],
        to_sample: int,
    ) -> None:
        # Without a metric of its own: Tune would look for it in every report.
        super().__init__()
        self._inner = inner
        self._begin = begin
        self._result_of = result_of
        self._pending = list(pending)
        self._to_sample = to_sample
        # Tune's trial -> its config, the point, and its name with the inner searcher ("": drawn by an earlier command).
        self._begun: dict[str, tuple[dict[str, Any], Point, str]] = {}
        # Why the last of MOST_MISSES points in a row was refused; None as long as there are points.
        self.exhausted: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that never happens; this one holds the plan and the console.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return Tune's config of the next training, or FINISHED."""
        if self._pending:
            point, config = self._pending.pop(0)
            self._begun[trial_id] = config, point, ""
            return config
        reason = "every point has been drawn before"
        for attempt in range(MOST_MISSES):
            if self._to_sample <= 0:
                return Searcher.FINISHED
            name = f"{trial_id}.{attempt}"
            point = self._inner.suggest(name) or {}
            try:
                begun = self._begin(point)
            except ConfigError as error:
                reason = str(error)
                self._inner.on_trial_complete(name, error=True)
                continue
            if isinstance(begun, dict):
                self._to_sample -= 1
                self._begun[trial_id] = begun, point, name
                return begun
            self._inner.on_trial_complete(name, None if begun is None else {METRIC: begun}, error=begun is None)
        self.exhausted = reason
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass the result of a training on to the inner searcher."""
        config, point, name = self._begun.pop(trial_id)
        value = self._result_of(config)
        if name:
            self._inner.on_trial_complete(name, None if value is None else {METRIC: value}, error=value is None)
        else:
            self._inner.add_evaluated_point(point, 0.0 if value is None else value, error=value is None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: nothing is learned from half a training."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a rerun starts from the plan and the trainings' own folders."""


@dataclass(frozen=True)
class SearchTrials:
    """The trials of a search whose points follow from results; `task` gives what a training's processes are given.

    `fetch` is called with the folder of a training that has ended, before it is read.
    """

    plan: Plan
    search: Search
    seed: int
    cluster: ClusterConfig
    task: Callable[[int], Task]
    fetch: FetchTraining = is_here

    def searcher(self, pending: Sequence[int]) -> TrialSearcher:
        """Return a searcher for Tune: unfinished trainings first, then new points, drawn from the ended ones."""
        known = [
            (self._point(trial), objective_value(self.plan, trial))
            for index, trial in enumerate(self.plan.trials)
            if index not in pending
        ]
        observed = [(each.point, each.values[0]) for each in self.search.observations]
        strategy, config = self.search.strategy, self.search.config
        inner = make_searcher(strategy, config.space, config.mode, [*observed, *known])
        again = [(self._point(self.plan.trials[index]), {TASK: self.task(index)}) for index in pending]
        to_sample = self.search.config.trials - len(self.plan.trials)
        return TrialSearcher(inner, self.begin, self.result_of, again, to_sample)

    def begin(self, point: Point) -> dict[str, Any] | float | None:
        """Make a trial of a point and return Tune's config for it; for a training of the plan return its metric.

        Raises ConfigError for a point that is no valid configuration.
        """
        keys = point_keys(self.search.config.space, point)
        config = with_keys(self.search.base, keys)
        check_arm(config, self.cluster)
        config = pin_weights(config)
        index = len(self.plan.trials)
        name = name_of(index)
        digests = {name: self.search.data.of(config)}
        (trial,) = plan_trials({name: config}, (self.seed,), self.plan.provenance, digests)
        for other in self.plan.trials:
            if other.identity == trial.identity:
                return objective_value(self.plan, other)
        self.search.drawn[name] = SampledPoint(point=point, keys=keys)
        self.plan.grow(name, config, trial)
        # Before it is trained: whatever ends this process, the next command has the point.
        update_plan(self.plan)
        begin_training(self.plan.folder_of(trial))
        return {TASK: self.task(index)}

    def result_of(self, config: Mapping[str, Any]) -> float | None:
        """Return the metric of an ended training, None where it failed."""
        task: Task = config[TASK]
        self.fetch(Path(task.folder))
        return objective_value(self.plan, self.plan.trials[task.index])

    def _point(self, trial: Trial) -> Point:
        return self.search.drawn[next(iter(trial.arms))].point


def objective_value(plan: Plan, trial: Trial) -> float | None:
    """Return the searched metric of a training at its end, the best of its arms; None where it has none."""
    assert plan.search is not None
    config, summary = plan.search.config, plan.summary_of(trial)
    values = [] if summary is None else [summary.metrics[arm].get(config.metric, math.nan) for arm in trial.arms]
    finite = [value for value in values if math.isfinite(value)]
    return (max if config.mode == "max" else min)(finite) if finite else None
