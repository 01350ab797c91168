"""Sentences on the compute of an experiment: each training, all that is reported, and all that is not."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

from analysis.formatting import format_count, join_words
from analysis.manuscript.collect import ManuscriptFacts, SweepFacts
from analysis.manuscript.costs import Basis, CostSum, Group, TrainingCost, sum_costs
from analysis.manuscript.statements import Statement
from analysis.reader.run_times import TimedRun

# The least amount that is printed as a number.
LEAST = 0.0001
# What a group of trainings is, in words.
GROUP_TEXTS: dict[Group, str] = {
    "reported": "Trainings behind the reported numbers",
    "not reported": "Trainings of the same sweeps that are not reported (failed, stopped, unfinished or replaced)",
    "other sweeps": "Trainings of other sweeps of the same experiments, preliminary or later",
    "other experiments": "All other trainings in the store, of other experiments and single runs",
}
BASIS_TEXTS: dict[Basis, str] = {
    "timed": "timed by the training itself",
    "scaled": "scaled from the part that was timed in one go",
    "start to end": "from start to end of the run in the store, waiting included",
    "unknown": "without a time",
}


def describe_costs(facts: ManuscriptFacts) -> Iterator[Statement]:
    """Yield what single trainings took, the sum of each group, and of the given sweeps by their own count."""
    reported = [cost for cost in facts.costs if cost.group == "reported"]
    yield from _describe_each(reported)
    for group, text in GROUP_TEXTS.items():
        yield from _describe_group(text, [cost for cost in facts.costs if cost.group == group])
    for sweep in facts.sweeps:
        yield from _describe_spent(sweep)
        yield from _describe_elsewhere(sweep, facts)


def _describe_each(costs: Sequence[TrainingCost]) -> Iterator[Statement]:
    """Yield what the trainings took that are reported, and how that was measured."""
    timed = [cost for cost in costs if not math.isnan(cost.seconds)]
    if not timed:
        return
    minutes = sorted(cost.seconds / 60 for cost in timed)
    spread = f"{format_amount(minutes[0])} to {format_amount(minutes[-1])}, median {format_amount(median(minutes))}"
    runs = tuple(cost.run.run_id for cost in timed)
    yield Statement(f"Each of {format_count(len(timed), 'training')} took {spread} minutes.", runs)
    for basis, text in BASIS_TEXTS.items():
        of_basis = tuple(cost.run.run_id for cost in costs if cost.basis == basis)
        if of_basis:
            yield Statement(f"{format_count(len(of_basis), 'time')}: {text}.", of_basis)


def _describe_group(text: str, costs: Sequence[TrainingCost]) -> Iterator[Statement]:
    runs = tuple(cost.run.run_id for cost in costs)
    yield Statement(f"{text}: {format_sum(sum_costs(costs))}.", runs)


def format_sum(total: CostSum) -> str:
    """Return a sum in words: `8 trainings, 1.2 hours, 1.2 CPU-hours, 0 GPU-hours`."""
    if not total.trainings:
        return "none"
    parts = [format_count(total.trainings, "training"), f"{format_amount(total.hours)} hours"]
    if total.without_resources < total.trainings - total.without_time:
        parts += [f"{format_amount(total.cpu_hours)} CPU-hours", f"{format_amount(total.gpu_hours)} GPU-hours"]
    if total.without_time:
        parts.append(f"{total.without_time} of them without a recorded time")
    if total.without_resources:
        parts.append(f"{total.without_resources} of them without recorded resources, so in no CPU- or GPU-hours")
    return ", ".join(parts)


def _describe_spent(facts: SweepFacts) -> Iterator[Statement]:
    """Yield the hours that a sweep counted itself, with attempts that failed and steps that were done twice."""
    own = facts.runs.get(facts.sweep.run_id)
    if own is None or own.spent is None:
        text = f"How long all commands of {facts.sweep.name} took, repeated attempts included, is not recorded."
        yield Statement(text, (facts.sweep.run_id,))
        return
    spent = own.spent
    yield Statement(
        f"By its own count over all commands {facts.sweep.name} took {format_amount(spent.wall)} hours of wall time, "
        f"{format_amount(spent.cpu)} CPU-hours and {format_amount(spent.gpu)} GPU-hours, repeated attempts included.",
        (facts.sweep.run_id,),
    )


def _describe_elsewhere(sweep: SweepFacts, facts: ManuscriptFacts) -> Iterator[Statement]:
    """Yield which trainings behind the numbers cost nothing here: imported ones, and those that the store lacks."""
    laboratories = sorted({trial.provenance.laboratory for trial in sweep.finished if trial.provenance.archive})
    if laboratories:
        imported = tuple(trial.run_id for trial in sweep.finished if trial.provenance.archive)
        count = format_count(len(imported), "run")
        text = f"{count} of {sweep.sweep.name} trained by {join_words(laboratories)}: their time is in no sum."
        yield Statement(text, imported)
    behind = {trial.provenance.trained_by or trial.run_id: trial.run_id for trial in sweep.finished}
    lost = tuple(run for trainer, run in behind.items() if trainer not in facts.runs)
    if lost:
        count = format_count(len(lost), "training")
        text = f"{count} behind {sweep.sweep.name} not in this store: their time is in no sum."
        yield Statement(text, lost)


def describe_machines(runs: Sequence[TimedRun]) -> Iterator[Statement]:
    """Yield what trainings ran on and what each reserved."""
    machines: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        machines.setdefault((run.hardware or "not recorded", run.resources or "not recorded"), []).append(run.run_id)
    for (hardware, resources), ids in sorted(machines.items()):
        text = f"{format_count(len(ids), 'run')} on {hardware}; reserved (workers x CPUs, GPUs, device): {resources}."
        yield Statement(text, tuple(ids))


def format_amount(value: float) -> str:
    """Return an amount, zero or more, with three significant digits: 0.0123, 1.23, 123."""
    if value == 0:
        return "0"
    if value < LEAST:
        return f"below {LEAST}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{round(value, digits):.{min(digits, 4)}f}"
