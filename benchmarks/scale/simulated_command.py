"""A command of a sweep as orchestration/sweep.py runs it, with stand-ins for what would take real time.

Nodes of a cluster stand in for Ray and virtual_tune.py for Tune, calls in virtual time for threads that repeat
something every few seconds, and where nothing is to be stored a delivery that drops what it is given.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from scale.made_results import make_bank
from scale.simulated_training import NO_FAILURES, FailureRates
from scale.virtual_tune import PERIODIC, TRAININGS, Periodic, Simulation, VirtualTuner

# Parts that no command does, or does at another time.
SIMULATED: Final = (TRAININGS, PERIODIC)
# How long the tracking store may take for what is buffered.
SETTLE_SECONDS: Final = 3600.0
# Of so many trainings one is leased by a command that has died.
LEASED_BY_DEAD: Final = 100


@dataclass(frozen=True)
class Request:
    """What a process does; see Command."""

    kind: str
    words: tuple[str, ...]
    # The file that gets the measurement.
    result: str
    slots: int = 1000
    stores: bool = True
    fails: bool = True
    # Whether runs are recorded by direct_store.py in place of MLflow's client.
    direct: bool = False
    profiled: bool = False


def run_sweep(request: Request) -> tuple[int, Simulation]:
    """Run a command of a sweep, whose trainings are simulated; return its exit code and what it took."""
    from orchestration import sweep
    from orchestration.cli.event_stream import SILENT

    folder = Path(request.result).with_suffix(".bank")
    shutil.rmtree(folder, ignore_errors=True)
    # Made by the first training: a command that only shows a plan has none.
    bank = cache(partial(make_bank, folder))
    simulation = Simulation(bank, FailureRates() if request.fails else NO_FAILURES)
    with simulated(simulation, request):
        return sweep.main(request.words, SILENT), simulation


@contextmanager
def simulated(simulation: Simulation, request: Request) -> Iterator[None]:
    """Let trainings be simulated while the block runs, on a cluster of so many slots as requested."""
    import ray.tune

    from orchestration.cluster.resources import Node
    from orchestration.driver import budget, sweep_run, watchdogs
    from orchestration.driver.monitoring import command_monitor
    from orchestration.driver.sharing import begin_sharing, shared_trainings
    from orchestration.planning import prepare

    nodes = [Node(cpus=10.0) for _ in range(max(1, request.slots // 10))]

    @contextmanager
    def connected(*_: Any, **__: Any) -> Iterator[list[Node]]:
        yield nodes

    @contextmanager
    def repeating(name: str, seconds: float, call: Callable[[], None]) -> Iterator[None]:
        periodic = Periodic(name, seconds, call)
        simulation.periodic.append(periodic)
        try:
            yield
        finally:
            simulation.periodic.remove(periodic)

    began = time.monotonic()
    with ExitStack() as stack:
        replace = stack.enter_context
        replace(patch.object(ray.tune, "Tuner", partial(VirtualTuner, simulation)))
        replace(patch.object(sweep_run, "connected", connected))
        for module in (sweep_run, prepare):
            replace(patch.object(module, "checked_local_nodes", lambda _: nodes))
        for module in (budget, watchdogs, command_monitor, begin_sharing):
            replace(patch.object(module, "repeating", repeating))
        clock = SimpleNamespace(monotonic=lambda: began + simulation.now)
        replace(patch.object(shared_trainings, "time", clock))
        replace(patch.object(sweep_run, "share_trainings", share_with_dead))
        # Waiting for a disk takes no processor time, and of ten thousand trainings an hour.
        replace(patch.object(os, "fsync", lambda _: None))
        # What is not stored by then would be left to a later command.
        replace(patch.object(sweep_run, "SETTLE_SECONDS", SETTLE_SECONDS))
        replace(watched_tracker(simulation, request))
        yield


@contextmanager
def share_with_dead(lab: Any, plan: Any, progress: Any, bucket: Any = None) -> Iterator[Any]:
    """Share trainings, of which a command that gives no heartbeat any more has leased some."""
    from orchestration.driver.sharing.begin_sharing import LEASES, share_trainings
    from orchestration.leases.lease import Claim, claim_next, read_state
    from orchestration.leases.objects import FolderObjects

    objects = FolderObjects(lab.folder / LEASES)
    for trial in plan.trials[::LEASED_BY_DEAD]:
        state = read_state(objects, trial.identity)
        if state.generation == 0:
            claim_next(objects, trial.identity, state, Claim(holder="dead", sweep="other", host="gone"))
    with share_trainings(lab, plan, progress, bucket) as shared:
        yield shared


@contextmanager
def watched_tracker(simulation: Simulation, request: Request) -> Iterator[None]:
    """Let the simulation wait for the tracker of the command, as the store keeps up while real trainings run."""
    from orchestration.driver import sweep_run
    from orchestration.tracking.tracker import Tracker

    def make_tracker(*arguments: Any, **options: Any) -> Tracker:
        made = Tracker(*arguments, **options)
        simulation.settle = partial(settle, made)
        return made

    with ExitStack() as stack:
        stack.enter_context(patch.object(sweep_run, "Tracker", make_tracker))
        if not request.stores:
            stack.enter_context(patch("orchestration.tracking.tracker.Delivery", NoDelivery))
            stack.enter_context(patch.object(Tracker, "flush", lambda *_: True))
        elif request.direct:
            stack.enter_context(direct_store())
        yield


def settle(tracker: Any) -> None:
    """Wait until the store has all that was recorded."""
    if not tracker.flush(SETTLE_SECONDS):
        raise SystemExit(f"the store did not take what was recorded: {tracker.outage}")


@contextmanager
def direct_store() -> Iterator[None]:
    """Let trackers write by direct_store.py while the block runs."""
    from scale.direct_store import DirectStore

    from orchestration.tracking import tracker
    from orchestration.tracking.store import open_store

    opened = list[DirectStore]()

    def open_direct(uri: str, experiment: str, artifacts: Path | None) -> DirectStore:
        opened.append(DirectStore.of(open_store(uri, experiment, artifacts)))
        return opened[-1]

    def log_datasets(client: object, uri: str, run_id: str, datasets: Sequence[Any]) -> None:
        opened[-1].log_inputs(run_id, datasets)

    with patch.object(tracker, "open_store", open_direct), patch.object(tracker, "log_datasets", log_datasets):
        yield


class NoDelivery:
    """Stand-in for orchestration.tracking.delivery.Delivery that drops all calls."""

    outage = None
    lag_seconds = 0.0

    def __init__(self, uri: str, calls: object, *, required: bool, delay: float = 0.0) -> None:
        """Create it without a thread."""

    def open_now(self) -> None:
        """Open nothing."""

    def begin(self) -> None:
        """Do nothing."""

    def push(self, call: Callable[[], None]) -> None:
        """Drop a call."""

    def wait_open(self) -> None:
        """Do nothing: there is no store."""

    def close(self, timeout: float) -> bool:
        """Return that nothing is left."""
        return True
