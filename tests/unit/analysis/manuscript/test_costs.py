"""Every training of a store is counted once, in the group that it belongs to, with how its time is known."""

import csv
import io
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from analysis.manuscript.costs import Basis, Group, collect_costs, sum_costs, to_csv
from analysis.manuscript.sentences.compute import format_amount, format_sum
from analysis.reader.run_times import TimedRun
from analysis.reader.sweep import Experiment, Provenance, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = TimedRun(
    run_id="r",
    kind="trial",
    sweep="mine",
    parent="parent",
    experiment="question",
    arm="none",
    seed="0",
    status="FINISHED",
    started=START,
    ended=START + timedelta(hours=2),
    is_superseded=False,
    is_imported=False,
    trained_by="",
    hardware="2 CPU",
    resources="1 x 2 CPU 0 GPU cpu",
    seconds=3600.0,
    steps_timed=100,
    steps=100,
    goes_on=False,
    spent=None,
)


def make_sweep(*trials: Trial) -> Sweep:
    points = pd.DataFrame(columns=["run_id", "key", "step", "value"])
    return Sweep("mine", "parent", "sweep", "FINISHED", START, "", Experiment(name="question"), trials, points)


def make_trial(run_id: str, trained_by: str = "") -> Trial:
    return Trial("none", 0, run_id, "FINISHED", START, provenance=Provenance(trained_by=trained_by or run_id))


def groups_of(*runs: TimedRun, sweep: Sweep) -> dict[str, Group]:
    known = {run.run_id: run for run in (replace(RUN, run_id="parent", kind="sweep", parent=""), *runs)}
    return {cost.run.run_id: cost.group for cost in collect_costs(known, [sweep])}


def test_each_training_is_in_one_group_and_counted_once() -> None:
    groups = groups_of(
        replace(RUN, run_id="mine"),
        # Another arm on the same weights.
        replace(RUN, run_id="shared", trained_by="mine"),
        replace(RUN, run_id="failed", status="FAILED"),
        replace(RUN, run_id="replaced", is_superseded=True),
        replace(RUN, run_id="taken over", parent="before", sweep="before"),
        replace(RUN, run_id="preliminary", parent="before", sweep="before"),
        replace(RUN, run_id="other", parent="x", sweep="x", experiment="another question"),
        replace(RUN, run_id="single", kind="run", parent="", experiment=""),
        replace(RUN, run_id="imported", parent="x", is_imported=True),
        sweep=make_sweep(make_trial("mine"), make_trial("shared", "mine"), make_trial("copy", "taken over")),
    )
    assert groups == {
        "mine": "reported",
        "taken over": "reported",
        "failed": "not reported",
        "replaced": "not reported",
        "preliminary": "other sweeps",
        "other": "other experiments",
        "single": "other experiments",
    }


@pytest.mark.parametrize(
    ("run", "seconds", "basis"),
    [
        (RUN, 3600.0, "timed"),
        (replace(RUN, steps_timed=25), 14400.0, "scaled"),
        # The other steps are those of another training.
        (replace(RUN, steps_timed=25, goes_on=True), 3600.0, "timed"),
        (replace(RUN, steps_timed=25, status="KILLED"), 3600.0, "timed"),
        (replace(RUN, steps=None), 3600.0, "timed"),
        (replace(RUN, seconds=None), 7200.0, "start to end"),
        (replace(RUN, seconds=None, ended=None, status="RUNNING"), math.nan, "unknown"),
    ],
)
def test_time_is_measured_or_else_from_start_to_end(run: TimedRun, seconds: float, basis: Basis) -> None:
    (cost,) = collect_costs({"r": run}, [make_sweep()])
    assert cost.seconds == pytest.approx(seconds, nan_ok=True)
    assert cost.basis == basis


def test_hours_are_those_of_all_workers() -> None:
    run = replace(RUN, resources="4 x 3 CPU 0.5 GPU cuda")
    (cost,) = collect_costs({"r": run}, [make_sweep()])
    assert (cost.hours, cost.cpu_hours, cost.gpu_hours) == (1.0, 12.0, 2.0)


def test_what_is_not_recorded_is_in_no_sum_and_counted() -> None:
    runs = [
        RUN,
        replace(RUN, run_id="s", resources="unknown"),
        replace(RUN, run_id="t", seconds=None, ended=None),
    ]
    costs = collect_costs({run.run_id: run for run in runs}, [make_sweep()])
    total = sum_costs(costs)
    assert (total.trainings, total.hours, total.cpu_hours) == (3, 2.0, 2.0)
    assert format_sum(total) == (
        "3 trainings, 2.00 hours, 2.00 CPU-hours, 0 GPU-hours, 1 of them without a recorded time, 1 of them without "
        "recorded resources, so in no CPU- or GPU-hours"
    )
    assert format_sum(sum_costs([])) == "none"


def test_the_table_has_every_training_and_leaves_unknown_numbers_empty() -> None:
    runs = {"r": RUN, "t": replace(RUN, run_id="t", seconds=None, ended=None, resources="")}
    rows = list(csv.DictReader(io.StringIO(to_csv(collect_costs(runs, [make_sweep()])))))
    assert [(row["run_id"], row["seconds"], row["cpu_hours"]) for row in rows] == [("r", "3600", "2"), ("t", "", "")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.0, "1234"), (1e-6, "below 0.0001")],
)
def test_amounts_have_three_digits(value: float, text: str) -> None:
    assert format_amount(value) == text
