"""The seeds of a sweep in their recorded order, and without one in that in which they were begun."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from analysis.reader.sweep import Experiment, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_trial(seed: int, minutes: int, arm: str = "a", *, superseded: bool = False) -> Trial:
    started = START + timedelta(minutes=minutes)
    return Trial(arm, seed, f"{arm}{seed}{minutes}", "FINISHED", started, superseded=superseded)


def make_sweep(seeds: Sequence[int], *trials: Trial) -> Sweep:
    experiment = Experiment(name="x", seeds=list(seeds))
    return Sweep("x", "run", "sweep", "FINISHED", START, "sqlite://", experiment, trials, pd.DataFrame())


def test_seeds_come_by_the_earliest_start_of_any_of_their_trials() -> None:
    sweep = make_sweep((0, 1, 2), make_trial(0, 9), make_trial(1, 5), make_trial(0, 3, "b"), make_trial(2, 4))
    assert sweep.seeds == (0, 2, 1)


def test_a_seed_added_later_comes_last_whatever_its_number() -> None:
    sweep = make_sweep((3, 4, 5), make_trial(3, 0), make_trial(4, 0), make_trial(5, 0), make_trial(1, 60))
    assert sweep.seeds == (3, 4, 5, 1)


def test_a_repeated_training_keeps_the_time_at_which_it_began_first() -> None:
    sweep = make_sweep((0, 1), make_trial(0, 1, superseded=True), make_trial(0, 90), make_trial(1, 2))
    assert sweep.seeds == (0, 1)


def test_of_equal_starts_and_without_a_trial_the_order_is_that_of_the_experiment() -> None:
    assert make_sweep((7, 2, 5), make_trial(2, 0), make_trial(7, 0)).seeds == (7, 2, 5)
    assert make_sweep((7, 2, 5), make_trial(5, 0)).seeds == (5, 7, 2)


def test_a_recorded_order_counts_whenever_runs_began() -> None:
    sweep = make_sweep((0, 1, 2), make_trial(0, 9), make_trial(1, 8), make_trial(2, 3), make_trial(3, 1))
    assert in_order(sweep, 0, 1, 2, 3).seeds == (0, 1, 2, 3)
    assert in_order(sweep, 1, 2).seeds == (1, 2, 3, 0), "what is not in it comes behind it, by start"


def test_rounds_that_were_not_needed_are_left_out_of_a_recorded_order_and_missing_runs_are_not() -> None:
    sweep = make_sweep((0, 1), make_trial(0, 9), make_trial(1, 8), make_trial(4, 3))
    assert in_order(sweep, *range(12)).seeds == (0, 1, 2, 3, 4)


def in_order(sweep: Sweep, *seeds: int) -> Sweep:
    return replace(sweep, experiment=sweep.experiment.model_copy(update={"seed_order": list(seeds)}))
