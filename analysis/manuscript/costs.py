"""Compute that trainings took, those that no report shows among them: failed, replaced, of other sweeps."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.reader.run_times import TimedRun
from analysis.reader.sweep import Sweep
from fcos.storage.store_conventions import RunKind, RunStatus

# reported: behind the numbers of the given sweeps. not reported: others of these sweeps, that failed, were stopped or
# were replaced. other sweeps: of the same experiments. other experiments: all else in the store.
Group = Literal["reported", "not reported", "other sweeps", "other experiments"]
GROUPS: tuple[Group, ...] = ("reported", "not reported", "other sweeps", "other experiments")
# timed: as the training measured it, in one go. scaled: by the steps of its last part to all of its steps. start to
# end: of its run, waiting included.
Basis = Literal["timed", "scaled", "start to end", "unknown"]
# As the writer describes the resources of one training: workers, processors and GPUs of each.
_RESOURCES = re.compile(r"(\d{1,6}) x (\d{1,6}) CPU (\d{1,6}(?:\.\d{1,6})?) GPU \w+")


@dataclass(frozen=True)
class TrainingCost:
    """Time of one training on what it reserved; NaN for what is not recorded. cpus, gpus: over all its workers."""

    run: TimedRun
    group: Group
    basis: Basis
    seconds: float
    cpus: float
    gpus: float

    @property
    def hours(self) -> float:
        """Hours that it took."""
        return self.seconds / 3600

    @property
    def cpu_hours(self) -> float:
        """Hours times the processors that it reserved."""
        return self.hours * self.cpus

    @property
    def gpu_hours(self) -> float:
        """Hours times the GPUs that it reserved."""
        return self.hours * self.gpus


@dataclass(frozen=True)
class CostSum:
    """Sum over trainings. without_time, without_resources: how many are not in the sums, as it is not recorded."""

    trainings: int
    hours: float
    cpu_hours: float
    gpu_hours: float
    without_time: int
    without_resources: int


def collect_costs(runs: Mapping[str, TimedRun], sweeps: Sequence[Sweep]) -> tuple[TrainingCost, ...]:
    """Return the cost of every training that a store holds, group by group.

    Runs that show another run's training cost nothing of their own; what was imported was trained elsewhere.
    """
    parents = {sweep.run_id for sweep in sweeps}
    experiments = {runs[run_id].experiment for run_id in parents if run_id in runs} - {""}
    behind = {trial.provenance.trained_by or trial.run_id for sweep in sweeps for trial in sweep.finished}
    costs = []
    for run in runs.values():
        if run.kind == RunKind.SWEEP or run.trained_by not in ("", run.run_id) or run.is_imported:
            continue
        group: Group = "other experiments"
        if run.run_id in behind:
            group = "reported"
        elif parents & {run.parent, run.run_id}:
            group = "not reported"
        elif run.experiment in experiments:
            group = "other sweeps"
        costs.append(_make_cost(run, group))
    return tuple(sorted(costs, key=lambda cost: (GROUPS.index(cost.group), cost.run.started, cost.run.run_id)))


def _make_cost(run: TimedRun, group: Group) -> TrainingCost:
    seconds, basis = _time_of(run)
    match = _RESOURCES.fullmatch(run.resources)
    cpus, gpus = (int(match[1]) * int(match[2]), int(match[1]) * float(match[3])) if match else (math.nan, math.nan)
    return TrainingCost(run, group, basis, seconds, cpus, gpus)


def _time_of(run: TimedRun) -> tuple[float, Basis]:
    if run.seconds is not None:
        steps, timed = run.steps, run.steps_timed
        if run.status != RunStatus.FINISHED or run.goes_on or not steps or not timed or timed >= steps:
            return run.seconds, "timed"
        return run.seconds * steps / timed, "scaled"
    if run.ended is None:
        return math.nan, "unknown"
    return (run.ended - run.started).total_seconds(), "start to end"


def sum_costs(costs: Sequence[TrainingCost]) -> CostSum:
    """Return the sum over trainings, of those whose time and resources are recorded."""
    timed = [cost for cost in costs if not math.isnan(cost.seconds)]
    known = [cost for cost in timed if not math.isnan(cost.cpus)]
    return CostSum(
        trainings=len(costs),
        hours=sum(cost.hours for cost in timed),
        cpu_hours=sum(cost.cpu_hours for cost in known),
        gpu_hours=sum(cost.gpu_hours for cost in known),
        without_time=len(costs) - len(timed),
        without_resources=len(timed) - len(known),
    )


def to_csv(costs: Sequence[TrainingCost]) -> str:
    """Return a table of all trainings: compute.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["run_id", "sweep", "arm", "seed", "status", "group", "basis", "seconds", "cpus", "gpus", "cpu_hours",
         "gpu_hours", "hardware"]
    )  # fmt: skip
    for cost in costs:
        run = cost.run
        numbers = (cost.seconds, cost.cpus, cost.gpus, cost.cpu_hours, cost.gpu_hours)
        cells = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
        writer.writerow(
            [run.run_id, run.sweep, run.arm, run.seed, run.status, cost.group, cost.basis, *cells, run.hardware]
        )
    return text.getvalue()
