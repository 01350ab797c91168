"""Trials are the same training where all that an identity counts is the same but for the seed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd

from analysis.combining.same_training import describe_differences, settings_by_arm, settings_of
from analysis.reader.sweep import Experiment, Provenance, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_trial(params: Mapping[str, object], seed: int = 0) -> Trial:
    return Trial("a", seed, "0" * 32, "FINISHED", START, {"seed": seed, **params}, provenance=Provenance(code="c"))


def test_trials_that_differ_in_seed_path_and_pace_are_the_same_training() -> None:
    here = make_trial({"data.root": "<data.root>", "data.num_workers": 2, "schedule.lr": 0.01})
    there = make_trial({"data.root": "/x/y", "data.num_workers": 0, "schedule.lr": 0.01}, seed=5)
    assert settings_of(here) == settings_of(there)


def test_differences_are_named_by_key() -> None:
    ours, theirs = settings_of(make_trial({"schedule.lr": 0.01})), settings_of(make_trial({"schedule.lr": 0.02}))
    assert describe_differences(ours, theirs) == "schedule.lr"
    assert describe_differences(ours, ours) == ""


def test_weights_count_by_their_content_where_it_is_known() -> None:
    digest = {"model.weights_sha256": "d" * 64}
    ours = make_trial({"model.weights": "<model.weights>", **digest})
    theirs = make_trial({"model.weights": "/other/place.pth", **digest})
    assert settings_of(ours) == settings_of(theirs)


def test_settings_of_an_arm_are_those_of_a_training_as_it_was_configured() -> None:
    """One that went on with smaller micro-batches for want of memory is not what the others are held to."""
    inexact = replace(make_trial({}, seed=0), provenance=Provenance(code="c", inexact="batch norm"))
    exact = make_trial({}, seed=1)
    experiment, points = Experiment(name="x"), pd.DataFrame()
    sweep = Sweep("x", "x", "sweep", "FINISHED", START, "sqlite://", experiment, (inexact, exact), points)
    assert settings_by_arm(sweep)["a"].inexact == ""
