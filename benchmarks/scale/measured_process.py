"""One command in a process of its own, measured; it is forked from one that has imported the libraries."""

import cProfile
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

from scale.ray_tune import run_ray_tune
from scale.simulated_command import SIMULATED, Request, run_sweep

ROOT = Path(__file__).resolve().parents[2]
# What commands import when they need it.
LIBRARIES: Final = (
    "ray.tune", "optuna", "mlflow.store.tracking.sqlalchemy_store", "orchestration.sweep", "orchestration.status",
    "orchestration.driver.callback", "orchestration.driver.sweep_run", "orchestration.search.samplers",
    "orchestration.driver.searchers.plan_searcher", "orchestration.driver.searchers.race_searcher",
    "orchestration.driver.searchers.trial_searcher", "orchestration.driver.early_stopping",
    "orchestration.monitor.view", "scale.made_results", "scale.direct_store", "fcos.training_run", "analysis.report",
    "analysis.explorer.page", "analysis.report_json.build", "analysis.sections.document", "matplotlib.figure",
)  # fmt: skip


@dataclass
class Measurement:
    """Seconds of the processor and bytes that a command takes, without its imports and its simulated trainings."""

    code: int = 0
    cpu: float = 0.0
    # Of the thread that the command runs in; the rest is that of the tracking store and of the report's processes.
    main_cpu: float = 0.0
    wall: float = 0.0
    # Resident when it begins, and at its peak.
    rss_before: int = 0
    rss_peak: int = 0
    # See Simulation.
    parts: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def run_status(request: Request) -> int:
    """Show a sweep as orchestration/status.py does."""
    from orchestration import status
    from orchestration.cli.event_stream import SILENT

    return status.main(request.words, SILENT)


def run_report(request: Request) -> int:
    """Write a report as analysis/report.py does."""
    from analysis import report

    return report.main(list(request.words))


def run_tune(request: Request) -> int:
    """Run trainings that only report with Ray Tune and real actors, and nothing else."""
    # From which the processes of Ray import it too.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    count = int(request.words[0])
    return 0 if run_ray_tune(count, Path(request.result).with_suffix(".ray")) == count else 1


RUN: Final[Mapping[str, Callable[[Request], int]]] = {"status": run_status, "report": run_report, "tune": run_tune}


def run(request: Request, measurement: Measurement) -> None:
    """Run what is requested, and note its exit code and its parts."""
    if request.kind != "sweep":
        measurement.code = RUN[request.kind](request)
        return
    measurement.code, simulation = run_sweep(request)
    measurement.parts, measurement.counts = dict(simulation.seconds), dict(simulation.counts)


def measure(request: Request) -> Measurement:
    """Run what is requested and measure it; the libraries are imported."""
    measurement = Measurement(rss_before=status_bytes("VmRSS"))
    # Peaks of the imports do not count.
    Path("/proc/self/clear_refs").write_text("5")
    profile = cProfile.Profile() if request.profiled else nullcontext()
    clocks = time.perf_counter(), time.process_time(), time.thread_time()
    with profile:
        run(request, measurement)
    if isinstance(profile, cProfile.Profile):
        profile.dump_stats(Path(request.result).with_suffix(".pstats"))
    simulated = sum(measurement.parts.get(part, 0.0) for part in SIMULATED)
    measurement.wall = time.perf_counter() - clocks[0]
    measurement.cpu = time.process_time() - clocks[1] - simulated
    measurement.main_cpu = time.thread_time() - clocks[2] - simulated
    measurement.rss_peak = status_bytes("VmHWM")
    return measurement


def status_bytes(name: str) -> int:
    """Return a value of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@cache
def import_libraries() -> None:
    """Import what commands need, once."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    # Later collections would copy the pages that processes share.
    gc.freeze()


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
