"""A factorial experiment as a whole sweep: rounds of all cells, effects from the runs of the store."""

import json
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import TINY, finished, runs, trials_of

NAME = "factorial_centerness_sampling"
ROUNDS = ("experiment.seeds=[0,1]", "experiment.until=decided", "experiment.most_seeds=3")
CELLS = ("none+everywhere", "none+center", "branch+everywhere", "branch+center")


@pytest.mark.slow
def test_effects_are_those_of_the_runs_and_a_second_command_trains_nothing(tmp_path: Path) -> None:
    finished(tmp_path, f"+experiment={NAME}", *ROUNDS, *TINY)
    assert len(trials_of(tmp_path, NAME)) == 12
    found = {name: run.data.metrics for name, run in runs(tmp_path, NAME).items()}
    report = json.loads((tmp_path / "outputs" / NAME / "report" / "report.json").read_text())
    effects = {
        effect["effect"]: effect["sizes"] for effect in report["factorial"]["effects"] if effect["metric"] == "val/AP"
    }
    assert list(effects) == ["centerness", "sampling", "centerness*sampling"]
    for seed in range(3):
        first, second, third, fourth = (found[f"{arm} seed {seed}"]["val/AP"] for arm in CELLS)
        assert effects["centerness*sampling"][str(seed)] == pytest.approx((fourth - third) - (second - first))
        assert effects["centerness"][str(seed)] == pytest.approx((fourth + third - second - first) / 2)
    # Of so short trainings the loss alone differs from arm to arm.
    loss = ("experiment.metrics=[train/loss]", "dry_run=true")
    again = finished(tmp_path, f"+experiment={NAME}", *ROUNDS, *TINY, *loss)
    assert "nothing is left to train" in again
    assert f"of 9 paired differences in {NAME} over 3 arms" in again, "the plan rests on what the store has"
