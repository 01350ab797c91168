"""What Tune asks a search for: the next training, drawn by Tune's own searcher and made a trial of the plan."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from fcos.errors import ConfigError
from orchestration.config.schema import ClusterConfig
from orchestration.experiment.checks import check_arm
from orchestration.experiment.trials import Trial, plan
from orchestration.planning.plan import Plan, keep_plan
from orchestration.search.points import Drawn, Search, name_of
from orchestration.search.samplers import METRIC, make_searcher
from orchestration.search.space import Point, configured, keys_of
from orchestration.trial.files import begin_training
from orchestration.trial.task import TASK, Task

# A searcher that draws nothing new and valid so often in a row has nothing more to draw.
MOST_MISSES = 200


class Suggestions(Searcher):
    """Passes points of an inner searcher on as trials; what the schema refuses is told to it as a failure.

    `begin` makes a trial of a point and gives Tune's config for it; where that training was drawn before it gives its
    metric, or None where it has none yet. It raises ConfigError for a point that is no valid configuration. `result_of`
    reads the metric of an ended training, None where it failed. `waiting` holds points with their configs that an
    earlier command did not finish; they come first. `left` counts the points that are still to be drawn.
    """

    def __init__(
        self,
        inner: Searcher,
        begin: Callable[[Point], dict[str, Any] | float | None],
        result_of: Callable[[Mapping[str, Any]], float | None],
        waiting: Sequence[tuple[Point, dict[str, Any]]],
        left: int,
    ) -> None:
        # Without a metric of its own: Tune would look for it in every report.
        super().__init__()
        self._inner = inner
        self._begin = begin
        self._result_of = result_of
        self._waiting = list(waiting)
        self._left = left
        # Tune's trial -> its config, the point, and its name with the inner searcher ("": drawn by an earlier command).
        self._begun: dict[str, tuple[dict[str, Any], Point, str]] = {}
        # Why the last point in a row of misses was refused, where the searcher gave up.
        self.gave_up: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that we never ask for; ours holds the plan and the console.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Tune's config of the next training, or that there is none left."""
        if self._waiting:
            point, config = self._waiting.pop(0)
            self._begun[trial_id] = config, point, ""
            return config
        reason = "every point has been drawn before"
        for attempt in range(MOST_MISSES):
            if self._left <= 0:
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
                self._left -= 1
                self._begun[trial_id] = begun, point, name
                return begun
            self._inner.on_trial_complete(name, None if begun is None else {METRIC: begun}, error=begun is None)
        self.gave_up = reason
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the inner searcher what a training gave."""
        config, point, name = self._begun.pop(trial_id)
        value = self._result_of(config)
        if name:
            self._inner.on_trial_complete(name, None if value is None else {METRIC: value}, error=value is None)
        else:
            self._inner.add_evaluated_point(point, 0.0 if value is None else value, error=value is None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learned from half a training."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a rerun starts from the plan and the trainings' own folders."""


@dataclass(frozen=True)
class Drawing:
    """Draws the rest of a search; `task_of` gives what the training of a place has to know."""

    found: Plan
    search: Search
    seed: int
    cluster: ClusterConfig
    task_of: Callable[[int], Task]

    def suggestions(self, waiting: Sequence[int]) -> Suggestions:
        """For Tune: unfinished trainings first, then new points; the searcher knows what the ended ones gave."""
        known = [
            (self._point(trial), value_of(self.found, trial))
            for place, trial in enumerate(self.found.trials)
            if place not in waiting
        ]
        searcher = make_searcher(self.search.strategy, self.search.config.space, self.search.config.mode, known)
        again = [(self._point(self.found.trials[place]), {TASK: self.task_of(place)}) for place in waiting]
        left = self.search.config.trials - len(self.found.trials)
        return Suggestions(searcher, self.begin, self.result_of, again, left)

    def begin(self, point: Point) -> dict[str, Any] | float | None:
        """Make a trial of a point and give Tune's config for it; for a training that is in the plan its value.

        Raises ConfigError for a point that is no valid configuration.
        """
        keys = keys_of(self.search.config.space, point)
        config = configured(self.search.base.model_dump(mode="json"), keys)
        check_arm(config, self.cluster)
        place = len(self.found.trials)
        name = name_of(place)
        (trial,) = plan({name: config}, (self.seed,), self.found.evidence, {name: self.search.data.of(config)})
        for other in self.found.trials:
            if other.identity == trial.identity:
                return value_of(self.found, other)
        self.search.drawn[name] = Drawn(point, keys)
        self.found.grow(name, config.model_dump(mode="json"), trial)
        # Before it is trained: whatever ends this process, the next command knows the point.
        keep_plan(self.found)
        begin_training(self.found.folder_of(trial))
        return {TASK: self.task_of(place)}

    def result_of(self, config: Mapping[str, Any]) -> float | None:
        """The metric of an ended training, None where it failed."""
        task: Task = config[TASK]
        return value_of(self.found, self.found.trials[task.place])

    def _point(self, trial: Trial) -> Point:
        return self.search.drawn[next(iter(trial.arms))].point


def value_of(found: Plan, trial: Trial) -> float | None:
    """The searched metric of a training at its end, the best of its arms; None where it has none."""
    assert found.search is not None
    config, summary = found.search.config, found.summary_of(trial)
    values = [] if summary is None else [summary["metrics"][arm].get(config.metric, math.nan) for arm in trial.arms]
    finite = [value for value in values if math.isfinite(value)]
    return (max if config.mode == "max" else min)(finite) if finite else None
