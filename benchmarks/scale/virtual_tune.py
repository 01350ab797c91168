"""A stand-in for Ray Tune in virtual time: the driver's searcher, scheduler and callback are called as Tune calls them.

What Tune itself and its actors cost is not in it. The order of calls is that of Ray 2.60's tune_controller.py: of a
report and of an end scheduler, searcher, callback; after a failure the callback alone, while attempts are left. A
searcher with free slots is called once for each event, also where it has nothing yet.
"""

import heapq
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from scale.made_results import ResultBank
from scale.simulated_training import FailureRates, SimulatedTraining

from orchestration.trial.task import TASK

# Virtual seconds until an attempt begins again, and between two calls of what a command repeats every few seconds.
RETRY_SECONDS: Final = 60.0
PERIOD: Final = 900.0
# What a search algorithm of Tune returns when it has no more trainings.
FINISHED: Final = "FINISHED"
# Parts of what is simulated that are no work of the driver, or work that real time brings.
TRAININGS: Final = "trainings"
PERIODIC: Final = "periodic"


@dataclass(frozen=True)
class Periodic:
    """What a command does every so many seconds while it runs."""

    name: str
    seconds: float
    call: Callable[[], None]

    @property
    def label(self) -> str:
        return f"{self.name}, every {self.seconds:g} s"


@dataclass
class Simulation:
    """What is simulated, and what it took: processor seconds of this thread by part, and counts by kind of event."""

    bank: Callable[[], ResultBank]
    rates: FailureRates
    # Called after every so many trainings: waits until the tracking store has all, as it has while real ones train.
    settle: Callable[[], None] = lambda: None
    settle_every: int = 50
    periodic: list[Periodic] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: Counter[str] = field(default_factory=Counter)
    # In virtual seconds.
    now: float = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the processor time of the block to a part."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[part] += time.thread_time() - began

    def repeat(self) -> None:
        """Call what a command does every few seconds, and time each by itself."""
        with self.timed(PERIODIC):
            for periodic in tuple(self.periodic):
                with self.timed(periodic.label):
                    periodic.call()
                self.counts[periodic.label] += 1


@dataclass
class VirtualTrial:
    """What Tune's callbacks and searchers read of a trial."""

    trial_id: str
    config: dict[str, Any]
    training: SimulatedTraining
    num_failures: int = 0
    error_file: str | None = None
    last_result: dict[str, Any] = field(default_factory=dict)


class VirtualTuner:
    """Stand-in for ray.tune.Tuner, with its arguments."""

    def __init__(
        self, simulation: Simulation, trainable: Any, *, param_space: dict[str, Any], tune_config: Any, run_config: Any
    ) -> None:
        self._simulation = simulation
        grid = [{TASK: task} for task in param_space[TASK]["grid_search"]] if param_space else []
        self._grid = iter(grid)
        self._searcher: Any = tune_config.search_alg
        samples = len(grid) if self._searcher is None else tune_config.num_samples
        self._left = float("inf") if samples == -1 else samples
        self._slots: int = tune_config.max_concurrent_trials
        self._scheduler: Any = tune_config.scheduler
        (self._callback,) = run_config.callbacks
        self._max_failures: int = run_config.failure_config.max_failures
        self._ids = itertools.count()
        # Virtual time, a number that breaks ties, and what happens then.
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._running: dict[str, VirtualTrial] = {}
        self._ended = 0

    def fit(self) -> None:
        """Run all trainings."""
        simulation, next_period = self._simulation, PERIOD
        self._fill()
        while self._events:
            simulation.now, _, happen = heapq.heappop(self._events)
            happen()
            while simulation.now >= next_period:
                simulation.repeat()
                next_period += PERIOD
            self._fill()
        simulation.settle()

    def _at(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._simulation.now + seconds, next(self._ids), happen))

    def _fill(self) -> None:
        """Begin trainings while there are slots, and the searcher has any."""
        counts = self._simulation.counts
        while len(self._running) < self._slots and self._left > 0:
            trial_id = f"{next(self._ids):08d}"
            config: Any = next(self._grid, FINISHED) if self._searcher is None else self._suggest(trial_id)
            if config is None:
                counts["suggestions of nothing"] += 1
                if not self._events:
                    # All are with other commands.
                    self._at(PERIOD, lambda: None)
                return
            if not isinstance(config, dict):
                assert config == FINISHED
                self._left = 0
                return
            self._left -= 1
            with self._simulation.timed(TRAININGS):
                training = SimulatedTraining(config[TASK], self._simulation.bank(), self._simulation.rates)
            trial = self._running[trial_id] = VirtualTrial(trial_id, config, training)
            counts["at once"] = max(counts["at once"], len(self._running))
            self._notify(None, "on_trial_add", trial)
            # Not at once: a process begins later than it is chosen.
            self._at(1.0, partial(self._start, trial))

    def _suggest(self, trial_id: str) -> Any:
        self._simulation.counts["suggestions"] += 1
        with self._simulation.timed("searcher"):
            return self._searcher.suggest(trial_id)

    def _start(self, trial: VirtualTrial) -> None:
        """Begin an attempt; one that may not begin ends at once."""
        self._call("on_trial_start", trial)
        with self._simulation.timed(TRAININGS):
            begins = trial.training.begin()
        if not begins:
            self._leave(trial)
        else:
            self._go_on(trial)

    def _go_on(self, trial: VirtualTrial) -> None:
        """Plan the next report of an attempt, or its end."""
        training = trial.training
        if training.is_at_end:
            self._at(training.pace / 2, partial(self._end_attempt, trial))
        else:
            self._at(training.pace, partial(self._report, trial))

    def _report(self, trial: VirtualTrial) -> None:
        """Hand over the next report, and plan what follows."""
        with self._simulation.timed(TRAININGS):
            result = None if trial.training.stop_requested() else trial.training.report()
        if result is None:
            self._finish(trial, "stopped early")
            return
        trial.last_result = dict(result)
        self._notify("on_trial_result", "on_trial_result", trial, dict(result))
        self._call("on_trial_result", trial, result=result)
        self._go_on(trial)

    def _end_attempt(self, trial: VirtualTrial) -> None:
        """Finish a training, or let the attempt fail."""
        training, simulation = trial.training, self._simulation
        if training.fate == "finished":
            self._finish(trial, "finished")
            return
        simulation.counts[training.fate] += 1
        with simulation.timed(TRAININGS):
            ending = training.fail()
        trial.num_failures += ending == "raised"
        if ending == "returned":
            self._leave(trial)
        elif trial.num_failures <= self._max_failures:
            simulation.counts["attempts again"] += 1
            self._call("on_trial_recover", trial)
            self._at(RETRY_SECONDS, partial(self._start, trial))
        else:
            self._leave(trial, error=True)

    def _finish(self, trial: VirtualTrial, how: str) -> None:
        self._simulation.counts[how] += 1
        with self._simulation.timed(TRAININGS):
            trial.training.finish()
        self._leave(trial)

    def _leave(self, trial: VirtualTrial, *, error: bool = False) -> None:
        """End a trial for good."""
        simulation, result = self._simulation, dict(trial.last_result)
        if error:
            self._notify(None, "on_trial_error", trial)
        else:
            self._notify(None, "on_trial_complete", trial, result)
        if self._searcher is not None:
            with simulation.timed("searcher"):
                self._searcher.on_trial_complete(trial.trial_id, result=result, error=error)
        self._call("on_trial_error" if error else "on_trial_complete", trial)
        del self._running[trial.trial_id]
        self._ended += 1
        if self._ended % simulation.settle_every == 0:
            simulation.settle()

    def _notify(self, of_searcher: str | None, of_scheduler: str, trial: VirtualTrial, *result: Any) -> None:
        """Call the scheduler, and the searcher with the trial's name, where there are any."""
        if self._scheduler is not None:
            with self._simulation.timed("scheduler"):
                getattr(self._scheduler, of_scheduler)(None, trial, *result)
        if self._searcher is not None and of_searcher is not None:
            with self._simulation.timed("searcher"):
                getattr(self._searcher, of_searcher)(trial.trial_id, *result)

    def _call(self, name: str, trial: VirtualTrial, **more: Any) -> None:
        """Call the driver's callback, as Tune does."""
        self._simulation.counts["events"] += 1
        with self._simulation.timed("callback"):
            getattr(self._callback, name)(iteration=0, trials=[], trial=trial, **more)
