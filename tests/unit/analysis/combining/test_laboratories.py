"""Two laboratories as levels of a factor: what cannot be one is refused."""

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest

from analysis.combining.laboratories import compare_laboratories
from analysis.reader.client import StoreError
from analysis.reader.sweep import Experiment, Provenance, Sweep, Trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_sweep(name: str, num_arms: int) -> Sweep:
    arms = [f"arm{number}" for number in range(num_arms)]
    trials = tuple(
        Trial(arm, 0, f"{name} {arm}", "FINISHED", START, {"seed": 0}, {"val/AP": 0.5}, Provenance(laboratory=name))
        for arm in arms
    )
    experiment = Experiment(name=name, baseline=arms[0], arms={arm: {} for arm in arms}, seeds=[0], metrics=["val/AP"])
    points = pd.DataFrame(columns=["run_id", "key", "step", "value"])
    return Sweep(name, name, "sweep", "FINISHED", START, "sqlite://", experiment, trials, points)


def test_arms_of_two_laboratories_are_cells() -> None:
    compared = compare_laboratories(make_sweep("a", 2), make_sweep("b", 2))
    assert list(compared.experiment.arms) == ["arm0+a", "arm0+b", "arm1+a", "arm1+b"]


def test_more_cells_than_a_design_may_have_are_refused() -> None:
    with pytest.raises(StoreError, match=r"--laboratories: factors: have 66 cells"):
        compare_laboratories(make_sweep("a", 33), make_sweep("b", 33))


def test_sweeps_of_one_name_and_laboratory_are_refused() -> None:
    sweep = make_sweep("a", 2)
    with pytest.raises(StoreError, match="each needs a name of its own"):
        compare_laboratories(sweep, replace(sweep, run_id="other"))
