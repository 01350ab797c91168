"""Searcher for Ray Tune that races the points of a search over several seeds, and then confirms the winner."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search import Searcher

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.schema import ClusterConfig
from orchestration.experiment.config_checks import check_arm
from orchestration.experiment.trials import Trial, plan_trials
from orchestration.experiment.weights import pin_weights
from orchestration.planning.plan import Plan, update_plan
from orchestration.planning.reuse import FetchTraining, is_here
from orchestration.planning.search_race import SearchRace
from orchestration.search.points import MOST_MISSES, SampledPoint, Search, name_of
from orchestration.search.race import TrainSeed
from orchestration.search.samplers import planned_points, propose
from orchestration.search.space import Point, point_keys
from orchestration.trial.failures import is_interrupted
from orchestration.trial.files import begin_training
from orchestration.trial.task import TASK, Task

# Called with the index of a training that has been added to the plan, before it begins: it takes over what other
# sweeps have of it.
AddTraining = Callable[[int], None]


class RaceSearcher(Searcher):
    """Suggests what the race needs next; a training whose result another sweep has is not suggested.

    `fetch` is called with the folder of a training that has ended, before it is read.
    """

    def __init__(
        self,
        race: SearchRace,
        points: "PointSampler",
        pending: Sequence[int],
        task: Callable[[int], Task],
        add: AddTraining,
        fetch: FetchTraining = is_here,
    ) -> None:
        # Without a metric of its own: Tune would look for it in every report.
        super().__init__()
        self._race = race
        self._points = points
        self._pending = list(pending)
        self._task = task
        self._add = add
        self._fetch = fetch
        # Tune's trial -> index of its training.
        self._running: dict[str, int] = {}
        # Identities of trainings of this command that ended without a result.
        self._failed: set[str] = set()
        self._interrupted = False
        # Whether nothing has ended since results were awaited: what is next is the same.
        self._waits = False

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher for a restore that never happens; this one holds the plan and the console.
        return {}

    @property
    def exhausted(self) -> str | None:
        """Why no more points were sampled; None as long as there are any."""
        return self._points.exhausted

    def suggest(self, trial_id: str) -> Any:
        """Return Tune's config of the next training, None while results are awaited, FINISHED at the end."""
        index = self._pending.pop(0) if self._pending else self._begin_next()
        if index is None:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = index
        return {TASK: self._task(index)}

    def _begin_next(self) -> int | None:
        """Add what comes next to the plan until something of it has to be trained; None where results decide first."""
        plan = self._race.plan
        running = {plan.trials[index].identity for index in self._running.values()}
        while not (self._interrupted or self._waits):
            decision = self._race.decide(self._failed, running, can_sample=self._points.exhausted is None)
            if isinstance(decision, TrainSeed):
                trial = self._points.make_trial(decision.name, plan.arms[decision.name], decision.seed)
                plan.grow(decision.name, plan.arms[decision.name], trial)
            elif decision != "sample":
                self._waits = True
                return None
            elif not self._points.sample(self._race):
                continue
            # Before it is trained: whatever ends this process, the next command has it.
            update_plan(plan)
            index = len(plan.trials) - 1
            self._add(index)
            if plan.summary_of(plan.trials[index]) is None:
                begin_training(plan.folder_of(plan.trials[index]))
                return index
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note how a training ended; after one that was stopped for want of hours or space none begins."""
        self._waits = False
        plan = self._race.plan
        trial = plan.trials[self._running.pop(trial_id)]
        self._fetch(plan.folder_of(trial))
        if plan.summary_of(trial) is None:
            self._failed.add(trial.identity)
            self._interrupted |= is_interrupted(plan.folder_of(trial))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the race goes by whole trainings."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a rerun finds the race again from the plan and the results."""


@dataclass
class PointSampler:
    """Samples the points of a race; each follows from the plan and the results alone, not from this process."""

    plan: Plan
    search: Search
    cluster: ClusterConfig
    # Why there is no further point; None as long as there may be one.
    exhausted: str | None = field(default=None, init=False)
    # Of points that do not depend on results those that are left, and as text those that were drawn.
    _left: Iterator[Point] | None = field(default=None, init=False)
    _passed: set[str] = field(default_factory=set, init=False)

    def sample(self, race: SearchRace) -> bool:
        """Add a new point with its first training to the plan; return False where there is none."""
        reason = "every point has been drawn before"
        known = {trial.identity for trial in self.plan.trials}
        for point in self._propose(race):
            name = name_of(len(self.search.drawn))
            keys = point_keys(self.search.config.space, point)
            try:
                config = with_keys(self.search.base, keys)
                check_arm(config, self.cluster)
                config = pin_weights(config)
            except ConfigError as error:
                reason = str(error)
                continue
            trial = self.make_trial(name, config, self.search.seeds[0])
            if trial.identity not in known:
                self.search.drawn[name] = SampledPoint(point=point, keys=keys)
                self.plan.grow(name, config, trial)
                return True
        self.exhausted = reason
        return False

    def make_trial(self, arm: str, config: Config, seed: int) -> Trial:
        """Return the training of an arm with a seed."""
        (trial,) = plan_trials({arm: config}, (seed,), self.plan.provenance, {arm: self.search.data.of(config)})
        return trial

    def _propose(self, race: SearchRace) -> Iterator[Point]:
        """Yield proposals; those that are refused or known are followed by others."""
        strategy, config = self.search.strategy, self.search.config
        if strategy.searcher != "tpe":
            # Where they were left off: a search may have thousands.
            self._left = self._left or self._planned_points()
            for point in self._left:
                # Not `yield from`, which would end what is left with this iterator.
                yield point
            return
        known: list[tuple[Point, Sequence[float] | None]] = [
            *((each.point, each.values) for each in self.search.observations),
            *race.known(),
        ]
        for attempt in range(MOST_MISSES):
            point = propose(strategy, config.space, self.search.modes, known, sampled=len(self.search.drawn) + attempt)
            yield point
            # Not again: as a failure where it is refused, and as what it gave where it is known.
            known.append((point, next((values for each, values in known if each == point), None)))

    def _planned_points(self) -> Iterator[Point]:
        """Yield points that do not depend on results, without those sampled before; random ones not without end."""
        strategy, config = self.search.strategy, self.search.config
        drawn = {_text_of(each.point) for each in self.search.drawn.values()}
        misses = 0
        for point in planned_points(strategy, config.space):
            text = _text_of(point)
            if text in drawn:
                drawn.discard(text)
                self._passed.add(text)
                misses = 0
                continue
            if misses > MOST_MISSES:
                return
            # The caller goes on only where what it got was no new point; a grid has an end of its own.
            misses += strategy.searcher != "grid"
            if text not in self._passed:
                count = len(self.search.drawn)
                yield point
                if len(self.search.drawn) > count:
                    self._passed.add(text)
                    misses = 0


def _text_of(point: Point) -> str:
    return json.dumps(point, sort_keys=True)
