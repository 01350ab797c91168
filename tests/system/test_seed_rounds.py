"""Seeds until it is decided, as whole sweeps: rounds, looks in plan and store, a killed driver, results of others."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers.sweeps import SHARED, client, finished, runs, start, started, statuses, trials_of, wait_for

# One training a seed, of the two arms none and from_regression.
ROUNDS = (*SHARED, "experiment.seeds=[0,1]", "experiment.until=decided", "experiment.most_seeds=3", "report=false")
NAMES = [f"{arm} seed {seed}" for seed in (0, 1, 2) for arm in ("none", "from_regression")]


def looks_of(folder: Path) -> tuple[list[int], str]:
    """Return the looks of the sweep's plan, and those that its run in the store has."""
    plan = json.loads((folder / "outputs" / "ablation_centerness" / "plan.json").read_text())
    return plan["looks"], runs(folder)["ablation_centerness"].data.tags["fcos.looks"]


@pytest.mark.slow
def test_a_driver_killed_in_a_later_round_comes_to_the_same_looks(tmp_path: Path) -> None:
    process = start(tmp_path, *ROUNDS)
    wait_for(lambda: len(started(tmp_path)) == 3, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished(tmp_path, *ROUNDS)
    assert len(trials_of(tmp_path)) == 3
    assert statuses(tmp_path) == dict.fromkeys(["ablation_centerness", *NAMES], "FINISHED")
    assert looks_of(tmp_path) == ([2, 3], "[2, 3]")


@pytest.mark.slow
def test_rounds_take_over_what_other_sweeps_have_and_seeds_by_hand_are_a_look(tmp_path: Path) -> None:
    by_hand = (*SHARED, "report=false", "name=by_hand")
    finished(tmp_path, *by_hand, "experiment.seeds=[0,1]")
    finished(tmp_path, *by_hand, "experiment.seeds=[0,1,2]")
    assert runs(tmp_path, "by_hand")["by_hand"].data.tags["fcos.looks"] == "[2, 3]"
    finished(tmp_path, *ROUNDS)
    assert not started(tmp_path), "every result is taken over"
    assert looks_of(tmp_path) == ([2, 3], "[2, 3]")
    store = client(tmp_path)
    assert {one.data.tags["fcos.trained_in"] for name, one in runs(tmp_path, store=store).items() if name in NAMES} == {
        "by_hand"
    }
