"""What Tune asks a search for: the next training, drawn by Tune's own searcher and made a trial of the plan."""

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from fcos.config import ConfigError
from orchestration.space import Point
from orchestration.strategy import METRIC

# A searcher that draws nothing valid so often in a row has a space that holds nothing valid.
MOST_REFUSALS = 200


class Suggestions(Searcher):
    """Passes points of an inner searcher on as trials; what the schema refuses is told to it as a failure.

    `begin` makes a trial of a point and gives Tune's config for it, or the value of the metric where that training is
    done already; it raises ConfigError for a point that is no valid configuration. `result_of` reads the metric of an
    ended training, None where it failed. `waiting` holds points that were drawn by an earlier command and not finished.
    """

    def __init__(
        self,
        inner: Searcher,
        begin: Callable[[Point], dict[str, Any] | float],
        result_of: Callable[[Mapping[str, Any]], float | None],
        waiting: list[Point],
        trials: int,
    ) -> None:
        super().__init__(metric=METRIC, mode=inner.mode)
        self._inner = inner
        self._begin = begin
        self._result_of = result_of
        self._waiting = waiting
        self._left = trials
        # Tune's trial -> its config, the point, and its name with the inner searcher ("": drawn by an earlier command).
        self._begun: dict[str, tuple[dict[str, Any], Point, str]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's config of the next training, or that there is none left."""
        while self._waiting and self._left > 0:
            point = self._waiting.pop(0)
            self._left -= 1
            begun = self._begin(point)
            if isinstance(begun, float):
                self._inner.add_evaluated_point(point, begun)
            else:
                self._begun[trial_id] = begun, point, ""
                return begun
        for attempt in range(MOST_REFUSALS):
            if self._left <= 0:
                return Searcher.FINISHED
            name = f"{trial_id}.{attempt}"
            point = self._inner.suggest(name)
            if point is None or isinstance(point, str):
                return point
            try:
                begun = self._begin(point)
            except ConfigError:
                self._inner.on_trial_complete(name, error=True)
                continue
            self._left -= 1
            if isinstance(begun, float):
                self._inner.on_trial_complete(name, {METRIC: begun})
                continue
            self._begun[trial_id] = begun, point, name
            return begun
        raise ConfigError(f"experiment.search.space: {MOST_REFUSALS} points in a row were no valid configuration")

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the inner searcher what a training gave."""
        config, point, name = self._begun.pop(trial_id)
        value = self._result_of(config)
        if name:
            self._inner.on_trial_complete(name, None if value is None else {METRIC: value}, error=value is None)
        elif value is not None:
            self._inner.add_evaluated_point(point, value)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learned from half a training."""
