"""One command of a sweep, or one report, in a process of its own, measured.

It is forked from one that has imported the libraries, which is measured apart. A sweep runs as
orchestration/sweep.py does, with three stand-ins: nodes of a cluster for Ray, scale_tune.py for Tune, and where nothing
is to be stored a delivery that drops what it is given.
"""

import cProfile
import gc
import importlib
import json
import os
import pstats
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NoReturn
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = (
    "ray.tune", "optuna", "mlflow.store.tracking.sqlalchemy_store", "orchestration.sweep",
    "orchestration.driver.callback", "orchestration.driver.sweep_run", "orchestration.search.samplers",
    "orchestration.driver.searchers.plan_searcher", "orchestration.driver.searchers.race_searcher",
    "orchestration.driver.searchers.trial_searcher", "orchestration.driver.early_stopping", "fcos.train",
    "scale_results", "scale_tune",
)  # fmt: skip
REPORT_LIBRARIES = (
    "analysis.report", "analysis.explorer.page", "analysis.report_json.build", "analysis.sections.document",
    "matplotlib.figure", "mlflow.store.tracking.sqlalchemy_store",
)  # fmt: skip
TUNE_LIBRARIES = ("scale_ray",)
# Of the parts what no command does, or does at another time.
LOOK: Final = "a look of the watchdog"
NOT_OURS: Final = ("trainings", LOOK)
# Seconds by the clock for which a command waits at its end until the store has all.
FLUSH: Final = "waiting for the store"
# Functions that a profile lists.
LISTED: Final = 25
# How long the tracking store may take for what is buffered.
SETTLE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Request:
    """What a process does.

    kind: sweep, report, or tune (see scale_ray.py). words: its command line. slots: of the cluster. stores: whether
    runs are recorded.
    """

    kind: str
    words: tuple[str, ...]
    result: str
    slots: int = 1000
    stores: bool = True
    fails: bool = True
    profiled: bool = False
    # Whether runs are recorded by scale_store.py in place of MLflow's client.
    bulk: bool = False


@dataclass
class Measurement:
    """Seconds and bytes of a command, without its imports; where it trains by part (see Simulation)."""

    code: int = 0
    # Of the processor, of all threads; trainings that are simulated are not in it.
    cpu: float = 0.0
    # Of it the thread that the command runs in; the rest is that of the tracking store and the watchdogs.
    main_cpu: float = 0.0
    wall: float = 0.0
    # Resident when it begins, and at its peak.
    rss_before: int = 0
    rss_peak: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    profile: list[str] = field(default_factory=list)
    # Whether MLflow's client did not write the store, so that what other threads took is not its time.
    bulk: bool = False


def status_bytes(name: str) -> int:
    """Return a value of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def run_report(request: Request, measurement: Measurement) -> int:
    """Write a report as analysis/report.py does."""
    from analysis import report

    return report.main(list(request.words))


def run_sweep(request: Request, measurement: Measurement) -> int:
    """Run a command of a sweep, whose trainings are simulated."""
    from scale_results import make_bank
    from scale_trainings import NO_FAILURES, FailureRates
    from scale_tune import Simulation

    from orchestration import sweep
    from orchestration.cli.event_stream import SILENT

    # Made by the first training: a command that only shows a plan has none.
    folder = Path(request.result).with_suffix(".bank")
    shutil.rmtree(folder, ignore_errors=True)
    bank = cache(lambda: make_bank(folder))
    simulation = Simulation(bank, FailureRates() if request.fails else NO_FAILURES)
    simulation.on_full = partial(measure_watchdog, simulation)
    with simulated(simulation, request):
        code = sweep.main(request.words, SILENT)
    measurement.parts, measurement.counts = dict(simulation.seconds), dict(simulation.counts)
    measurement.counts["virtual seconds"] = int(simulation.end)
    return code


def run_tune(request: Request, measurement: Measurement) -> int:
    """Run trainings that only report with Ray Tune and real actors, and nothing else."""
    import scale_ray

    # From which the processes of Ray import it too.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    count = int(request.words[0])
    ended = scale_ray.run_tune(count, Path(request.result).with_suffix(".ray"))
    return 0 if ended == count else 1


def measure_watchdog(simulation: Any, folders: list[Path]) -> None:
    """Measure a look of the watchdog at all trainings that run, which it has looked at before."""
    from orchestration.driver.watchdogs import StallDetector

    detector = StallDetector(1800.0)
    with simulation.timed("trainings"):
        detector.check(folders, 1.0)
    with simulation.timed(LOOK):
        detector.check(folders, 1.0)
    simulation.counts["running at once"] = len(folders)


@contextmanager
def simulated(simulation: Any, request: Request) -> Iterator[None]:
    """Let trainings be simulated while the block runs, on a cluster of so many slots as requested."""
    import ray.tune
    from scale_tune import VirtualTuner

    from orchestration.cluster.resources import Node
    from orchestration.driver import sweep_run
    from orchestration.planning import prepare

    nodes = [Node(cpus=10.0) for _ in range(max(1, request.slots // 10))]

    @contextmanager
    def connected(*_: Any, **__: Any) -> Iterator[list[Node]]:
        yield nodes

    with ExitStack() as stack:
        stack.enter_context(patch.object(ray.tune, "Tuner", partial(VirtualTuner, simulation)))
        stack.enter_context(patch.object(sweep_run, "connected", connected))
        for module in (sweep_run, prepare):
            stack.enter_context(patch.object(module, "checked_local_nodes", lambda _: nodes))
        # What is not stored by then would be left to a later command.
        stack.enter_context(patch.object(sweep_run, "SETTLE_SECONDS", SETTLE_SECONDS))
        stack.enter_context(watched_tracker(simulation, request))
        yield


@contextmanager
def watched_tracker(simulation: Any, request: Request) -> Iterator[None]:
    """Let the simulation wait for the tracker of the command, and time how long the command waits for it."""
    from orchestration.driver import sweep_run
    from orchestration.tracking.tracker import Tracker

    flush, trackers = Tracker.flush, list[Tracker]()

    def make_tracker(*arguments: Any, **options: Any) -> Tracker:
        trackers.append(Tracker(*arguments, **options))
        return trackers[-1]

    def timed_flush(tracker: Tracker, timeout: float) -> bool:
        began = time.perf_counter()
        is_done = flush(tracker, timeout) if request.stores else True
        # That of the command itself is the last.
        simulation.seconds[FLUSH] = time.perf_counter() - began
        return is_done

    simulation.settle = lambda: settle(trackers[-1])
    with ExitStack() as stack:
        stack.enter_context(patch.object(sweep_run, "Tracker", make_tracker))
        stack.enter_context(patch.object(Tracker, "flush", timed_flush))
        if not request.stores:
            stack.enter_context(patch("orchestration.tracking.tracker.Delivery", NoDelivery))
        elif request.bulk:
            stack.enter_context(bulk_store())
        yield


@contextmanager
def bulk_store() -> Iterator[None]:
    """Let trackers write by scale_store.py while the block runs."""
    from scale_store import BulkStore

    from orchestration.tracking import tracker

    open_store, opened = tracker.open_store, list[BulkStore]()

    def open_bulk(uri: str, experiment: str, artifacts: Path | None) -> BulkStore:
        opened.append(BulkStore.of(open_store(uri, experiment, artifacts)))
        return opened[-1]

    def log_datasets(client: object, uri: str, run_id: str, datasets: Sequence[Any]) -> None:
        opened[-1].log_inputs(run_id, datasets)

    with patch.object(tracker, "open_store", open_bulk), patch.object(tracker, "log_datasets", log_datasets):
        yield


def settle(tracker: Any) -> None:
    """Wait until the store has all that was recorded."""
    if not tracker.flush(SETTLE_SECONDS):
        raise SystemExit(f"the store did not take what was recorded: {tracker.outage}")


class NoDelivery:
    """Stand-in for orchestration.tracking.delivery.Delivery that drops all calls."""

    outage = None

    def __init__(self, uri: str, calls: object, *, required: bool) -> None:
        """Create it without a thread."""

    def begin(self) -> None:
        """Do nothing."""

    def push(self, call: Callable[[], None]) -> None:
        """Drop a call."""

    def wait_open(self) -> None:
        """Do nothing: there is no store."""

    def close(self, timeout: float) -> bool:
        """Return that nothing is left."""
        return True


def measure(request: Request) -> Measurement:
    """Run and measure; the libraries are imported."""
    measurement = Measurement(bulk=request.bulk)
    measurement.rss_before = status_bytes("VmRSS")
    # Peaks of the imports do not count.
    Path("/proc/self/clear_refs").write_text("5")
    profile = cProfile.Profile() if request.profiled else None
    clocks = time.perf_counter(), time.process_time(), time.thread_time()
    run = {"sweep": run_sweep, "report": run_report, "tune": run_tune}[request.kind]
    measurement.code = profile.runcall(run, request, measurement) if profile else run(request, measurement)
    simulated_seconds = sum(measurement.parts.get(part, 0.0) for part in NOT_OURS)
    measurement.wall = time.perf_counter() - clocks[0]
    measurement.cpu = time.process_time() - clocks[1] - simulated_seconds
    measurement.main_cpu = time.thread_time() - clocks[2] - simulated_seconds
    measurement.rss_peak = status_bytes("VmHWM")
    if profile is not None:
        measurement.profile = list_functions(profile)
    return measurement


def list_functions(profile: cProfile.Profile) -> list[str]:
    """Return the project's functions of a profile in which most time passes, with that of what they call."""
    stats: Any = pstats.Stats(profile)
    rows = []
    for (file, line, name), (_, calls, own, cumulative, _) in stats.stats.items():
        path = Path(file)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts and path.parent.name != "benchmarks":
            rows.append(
                (cumulative, f"{cumulative:9.2f} s {own:9.2f} s {calls:>10} {path.relative_to(ROOT)}:{line} {name}")
            )
    rows.sort(reverse=True)
    return ["in all       by itself      calls", *(text for _, text in rows[:LISTED])]


@cache
def import_libraries() -> float:
    """Import what commands need, once; return the processor seconds that it takes."""
    began = time.process_time()
    for name in (*LIBRARIES, *REPORT_LIBRARIES, *TUNE_LIBRARIES):
        importlib.import_module(name)
    gc.collect()
    # Later collections would copy the pages that processes share.
    gc.freeze()
    return time.process_time() - began


def run_forked(request: Request, log: Path, limit: float) -> int | None:
    """Do what is requested in a process of its own; return its exit code, None where it took longer than the limit.

    The measurement is then in the file that the request names. log: the file of what it prints.
    """
    import_libraries()
    sys.stdout.flush()
    if not (child := os.fork()):
        _run_child(request, log)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run_child(request: Request, log: Path) -> NoReturn:
    """Do what is requested, and end this process, whatever happens."""
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(log.parent)
        os.environ["COLUMNS"] = "200"
        Path(request.result).write_text(json.dumps(asdict(measure(request)), indent=1))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
