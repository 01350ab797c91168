"""What Tune asks a search for: the next training, drawn by Tune's own searcher and made a trial of the plan."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from fcos.section import ConfigError
from orchestration.space import Point
from orchestration.strategy import METRIC

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
