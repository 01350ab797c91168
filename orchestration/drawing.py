"""Points that follow from results: each becomes a trial of the plan, and its value goes back to the searcher."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.config import ClusterConfig
from orchestration.experiment import Trial, plan
from orchestration.planning import Plan, keep_plan
from orchestration.preflight import check_arm
from orchestration.search import Drawn, Search, name_of
from orchestration.space import Point, configured, keys_of
from orchestration.strategy import make_searcher
from orchestration.suggestions import Suggestions
from orchestration.task import TASK, Task
from orchestration.trial_files import begin_training


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
