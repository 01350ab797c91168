"""A stand-in for Ray Tune in virtual time: the driver's searcher, scheduler and callback are called as Tune calls them.

What Tune itself and its actors cost is not in it. The order of calls is that of Ray 2.60's tune_controller.py: of a
report scheduler, searcher, callback; of an end scheduler, searcher, callback; after a failure the callback alone, while
attempts are left. A searcher with free slots is called once for each event, also where it has nothing yet.
"""

import heapq
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from scale_results import ResultBank
from scale_trainings import Ending, FailureRates, SimulatedTraining

from orchestration.trial.task import TASK

# Virtual seconds until an attempt begins again.
RETRY_SECONDS: Final = 60.0
# What a search algorithm of Tune returns when it has no more trainings.
FINISHED: Final = "FINISHED"


@dataclass
class Simulation:
    """What is simulated, and what it took: processor seconds of this thread by part, and counts by kind of event."""

    bank: Callable[[], ResultBank]
    rates: FailureRates
    # Called after every so many trainings: waits until the tracking store has all, as it has while real ones train.
    settle: Callable[[], None] = lambda: None
    settle_every: int = 50
    # Called once, with the folders of those that run, when as many run as ever will.
    on_full: Callable[[list[Path]], None] = lambda folders: None
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: Counter[str] = field(default_factory=Counter)
    # Of the last event, in virtual seconds.
    end: float = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the processor time of the block to a part."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[part] += time.thread_time() - began


@dataclass
class VirtualTrial:
    """What Tune's callbacks and searchers read of a trial."""

    trial_id: str
    config: dict[str, Any]
    training: SimulatedTraining
    num_failures: int = 0
    error_file: str | None = None
    last_result: dict[str, Any] = field(default_factory=dict)


class GridSearcher:
    """The trainings of a param_space, one after the other, for what Tune's own generator does."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        self._left = iter(configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next config, FINISHED after the last."""
        return next(self._left, FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the grid is given."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the grid is given."""


class VirtualTuner:
    """Stand-in for ray.tune.Tuner, with its arguments."""

    def __init__(
        self, simulation: Simulation, trainable: Any, *, param_space: dict[str, Any], tune_config: Any, run_config: Any
    ) -> None:
        self._simulation = simulation
        grid = [{TASK: task} for task in param_space[TASK]["grid_search"]] if param_space else []
        self._searcher: Any = tune_config.search_alg or GridSearcher(grid)
        self._most = tune_config.num_samples if tune_config.search_alg else len(grid)
        self._slots: int = tune_config.max_concurrent_trials
        self._scheduler: Any = tune_config.scheduler
        (self._callback,) = run_config.callbacks
        self._max_failures: int = run_config.failure_config.max_failures
        self._ids = itertools.count()
        # Virtual time, a number that breaks ties, and what happens then.
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._running: dict[str, VirtualTrial] = {}
        self._begun = self._ended = 0
        self._is_full = self._has_finished = False
        self._now = 0.0

    def fit(self) -> None:
        """Run all trainings."""
        self._fill()
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
            self._fill()
        self._simulation.end = self._now
        self._simulation.settle()

    def _at(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._ids), happen))

    def _fill(self) -> None:
        """Begin trainings while there are slots, and the searcher has any."""
        while len(self._running) < self._slots and self._begun < self._most and not self._has_finished:
            trial_id = f"{next(self._ids):08d}"
            with self._simulation.timed("searcher"):
                config = self._searcher.suggest(trial_id)
            self._simulation.counts["suggestions"] += 1
            if config is None:
                self._simulation.counts["suggestions of nothing"] += 1
                break
            if config == FINISHED:
                self._has_finished = True
                break
            self._begun += 1
            self._add(trial_id, config)
        if not self._is_full and self._running and (self._begun == self._most or len(self._running) == self._slots):
            self._is_full = True
            # When all of them have begun.
            self._at(2.0, self._show_full)

    def _show_full(self) -> None:
        self._simulation.on_full([Path(trial.training.task.folder) for trial in self._running.values()])

    def _add(self, trial_id: str, config: dict[str, Any]) -> None:
        with self._simulation.timed("trainings"):
            training = SimulatedTraining(config[TASK], self._simulation.bank(), self._simulation.rates)
        trial = self._running[trial_id] = VirtualTrial(trial_id, config, training)
        if self._scheduler is not None:
            with self._simulation.timed("scheduler"):
                self._scheduler.on_trial_add(None, trial)
        # Not at once: a process begins later than it is chosen.
        self._at(1.0, partial(self._start, trial))

    def _start(self, trial: VirtualTrial) -> None:
        """Begin an attempt; one that may not begin ends at once."""
        self._call("on_trial_start", trial)
        with self._simulation.timed("trainings"):
            begins = trial.training.begin()
        if not begins:
            self._complete(trial)
        elif trial.training.is_at_end:
            self._at(trial.training.pace / 2, partial(self._end_attempt, trial))
        else:
            self._at(trial.training.pace, partial(self._report, trial))

    def _report(self, trial: VirtualTrial) -> None:
        """Hand over the next report, and plan what follows."""
        with self._simulation.timed("trainings"):
            stops = trial.training.stop_requested()
        if stops:
            self._end_attempt(trial, stopped=True)
            return
        with self._simulation.timed("trainings"):
            result = trial.training.report()
        trial.last_result = dict(result)
        if self._scheduler is not None:
            with self._simulation.timed("scheduler"):
                self._scheduler.on_trial_result(None, trial, dict(result))
        with self._simulation.timed("searcher"):
            self._searcher.on_trial_result(trial.trial_id, dict(result))
        self._call("on_trial_result", trial, result=result)
        ends = trial.training.is_at_end
        self._at(trial.training.pace / 2 if ends else trial.training.pace, partial(self._after_report, trial, ends))

    def _after_report(self, trial: VirtualTrial, ends: bool) -> None:
        if ends:
            self._end_attempt(trial)
        else:
            self._report(trial)

    def _end_attempt(self, trial: VirtualTrial, stopped: bool = False) -> None:
        """Finish a training, or let the attempt fail."""
        training, simulation = trial.training, self._simulation
        if stopped or training.fate == "finished":
            simulation.counts["stopped early" if stopped else "finished"] += 1
            with simulation.timed("trainings"):
                training.finish()
            self._complete(trial)
            return
        simulation.counts[training.fate] += 1
        with simulation.timed("trainings"):
            ending: Ending = training.fail()
        if ending == "returned":
            self._complete(trial)
            return
        trial.num_failures += ending == "raised"
        if trial.num_failures <= self._max_failures:
            simulation.counts["attempts again"] += 1
            self._call("on_trial_recover", trial)
            self._at(RETRY_SECONDS, partial(self._start, trial))
        else:
            self._give_up(trial)

    def _give_up(self, trial: VirtualTrial) -> None:
        if self._scheduler is not None:
            with self._simulation.timed("scheduler"):
                self._scheduler.on_trial_error(None, trial)
        with self._simulation.timed("searcher"):
            self._searcher.on_trial_complete(trial.trial_id, error=True)
        self._call("on_trial_error", trial)
        self._leave(trial)

    def _complete(self, trial: VirtualTrial) -> None:
        if self._scheduler is not None:
            with self._simulation.timed("scheduler"):
                self._scheduler.on_trial_complete(None, trial, dict(trial.last_result))
        with self._simulation.timed("searcher"):
            self._searcher.on_trial_complete(trial.trial_id, result=dict(trial.last_result))
        self._call("on_trial_complete", trial)
        self._leave(trial)

    def _leave(self, trial: VirtualTrial) -> None:
        del self._running[trial.trial_id]
        self._ended += 1
        if self._ended % self._simulation.settle_every == 0:
            self._simulation.settle()

    def _call(self, name: str, trial: VirtualTrial, **more: Any) -> None:
        """Call the driver's callback, as Tune does."""
        self._simulation.counts["events"] += 1
        with self._simulation.timed("callback"):
            getattr(self._callback, name)(iteration=0, trials=[], trial=trial, **more)
