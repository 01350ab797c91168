"""Joined seeds come after one's own, and every look at either sweep counts at the seeds that it was taken at."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from analysis.combining.joining import join_sweeps
from analysis.combining.laboratories import compare_laboratories
from analysis.reader.client import StoreError
from analysis.reader.sweep import Experiment, Provenance, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)
ARMS = ("none", "branch")
CONFIGURED = Provenance()


def make_sweep(
    name: str,
    seeds: Sequence[int],
    looks: Sequence[int] = (),
    failed: Collection[int] = (),
    provenance: Provenance = CONFIGURED,
) -> Sweep:
    """Return a sweep whose seeds were begun one minute after the other."""
    trials = tuple(
        Trial(
            arm,
            seed,
            f"{name} {arm} {seed}",
            "FAILED" if seed in failed else "FINISHED",
            START + timedelta(minutes=minute),
            {"seed": seed},
            {} if seed in failed else {"val/AP": 0.5},
            provenance,
        )
        for minute, seed in enumerate(seeds)
        for arm in ARMS
    )
    experiment = Experiment(
        name=name, baseline="none", arms={arm: {} for arm in ARMS}, seeds=list(seeds), metrics=["val/AP"]
    )
    points = pd.DataFrame(columns=["run_id", "key", "step", "value"])
    return Sweep(name, name, "sweep", "FINISHED", START, "sqlite://", experiment, trials, points, looks=tuple(looks))


def test_joined_seeds_come_after_ones_own_in_the_order_in_which_they_were_begun() -> None:
    joined = join_sweeps(make_sweep("mine", (2, 0)), [make_sweep("theirs", (9, 7, 8))])
    assert joined.seeds == (2, 0, 9, 7, 8)
    assert joined.looks == (2,)


def test_a_failed_seed_of_ones_own_keeps_its_index_among_the_looks() -> None:
    """After 6 seeds, of which one failed, 5 pairs were looked at."""
    joined = join_sweeps(make_sweep("mine", range(6), (6,), failed={1}), [make_sweep("theirs", (6, 7))])
    assert joined.seeds == (0, 1, 2, 3, 4, 5, 6, 7)
    assert joined.looks == (6,)


def test_a_look_counts_without_the_failed_seed_that_another_sweep_fills() -> None:
    joined = join_sweeps(make_sweep("mine", range(6), (3, 6), failed={1}), [make_sweep("theirs", (1, 6))])
    assert joined.seeds == (0, 2, 3, 4, 5, 1, 6)
    assert joined.looks == (2, 5)


def test_looks_of_the_sweep_that_joins_count_behind_ones_own() -> None:
    """Its number of seeds was chosen by what they showed."""
    theirs = make_sweep("theirs", (2, 6, 7, 8), (1, 3, 4))
    joined = join_sweeps(make_sweep("mine", (0, 1, 2), (3,)), [theirs])
    assert joined.seeds == (0, 1, 2, 6, 7, 8)
    # Seed 2 is here already: after 1, 3 and 4 of theirs there were 0, 2 and 3 of those that join.
    assert joined.looks == (3, 5, 6)


def test_of_two_sweeps_that_join_the_second_counts_after_the_first_whenever_it_was_begun() -> None:
    first, second = make_sweep("first", (5, 6), (1,)), make_sweep("second", (3, 4), (1, 2))
    joined = join_sweeps(make_sweep("mine", (0, 1), (2,)), [first, second])
    assert joined.seeds == (0, 1, 5, 6, 3, 4)
    assert joined.looks == (2, 3, 4, 5, 6)


def test_a_recorded_order_is_that_of_ones_own_seeds_alone() -> None:
    """Of ten seeds that rounds planned four were needed; another sweep has two of the others."""
    own = make_sweep("mine", (3, 0, 1, 2), (3, 4))
    recorded = own.experiment.model_copy(update={"seeds": [0, 1, 2], "seed_order": list(range(10))})
    mine, theirs = replace(own, experiment=recorded), make_sweep("theirs", (9, 7))
    joined = join_sweeps(mine, [theirs])
    assert (joined.seeds, joined.looks) == ((0, 1, 2, 3, 9, 7), (3, 4))
    compared = compare_laboratories(mine, make_sweep("theirs", (0, 1)))
    assert compared.seeds == (0, 1)


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        (Provenance(extends="e" * 64), "the checkpoint that it went on from"),
        (Provenance(inexact="micro-batches, 4 a step"), "for want of memory .micro-batches, 4 a step"),
    ],
)
def test_what_is_another_training_for_other_reasons_than_its_settings_does_not_join(
    theirs: Provenance, text: str
) -> None:
    other = make_sweep("theirs", (6, 7), provenance=theirs)
    for combine in (lambda: join_sweeps(make_sweep("mine", (0, 1)), [other]), lambda: compare(other)):
        with pytest.raises(StoreError, match=text):
            combine()
    # Of the same checkpoint both are the same training.
    own = make_sweep("mine", (0, 1), provenance=theirs)
    assert join_sweeps(own, [other]).seeds == (0, 1, 6, 7)


def compare(other: Sweep) -> Sweep:
    return compare_laboratories(make_sweep("mine", (0, 1)), other)


def test_looks_of_both_laboratories_count_at_the_pairs_in_the_order_of_ones_own() -> None:
    own, other = make_sweep("mine", (4, 0, 1, 2), (1, 3)), make_sweep("theirs", (2, 1, 0), (2,))
    compared = compare_laboratories(own, other)
    assert compared.experiment.seeds == [0, 1, 2] and compared.seeds == (0, 1, 2)
    # Seed 4 has no partner: after 1 and 3 seeds of one's own there were 0 and 2 pairs, and 2 of theirs after 2.
    assert compared.looks == (2,)
    fewer = compare_laboratories(make_sweep("mine", (1, 0, 2), (1,)), make_sweep("theirs", (0, 1, 2), (2,)))
    assert fewer.seeds == (1, 0, 2)
    assert fewer.looks == (1, 2)


def test_a_seed_of_a_laboratory_that_was_extended_is_left_out_of_the_comparison_with_a_note() -> None:
    other = make_sweep("theirs", (0, 1))
    extended = make_sweep("theirs", (2,), provenance=Provenance(extends="e" * 64))
    both = Sweep(**{**vars(other), "trials": (*other.trials, *extended.trials)})
    compared = compare_laboratories(make_sweep("mine", (0, 1, 2)), both)
    assert compared.seeds == (0, 1)
    labels = "none seed 2 and branch seed 2"
    assert f"{labels} of theirs left out: another training than the rest of the arm." in compared.notes
