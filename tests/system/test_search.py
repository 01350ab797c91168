"""A search through the command line: points drawn, poor ones stopped, the rerun that goes on, nothing left in Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.experiments.sweeps import TINY, finished, runs, start, statuses, wait_for
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import wait_until

SEARCH = (
    "+experiment=search_fcos",
    "search=tpe_asha",
    *TINY,
    "schedule.eval_every=3",
    "experiment.search.trials=3",
)
NAME = "search_fcos"


def plan_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "outputs" / NAME / "plan.json").read_text())
    return values


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each training -> its summary."""
    found = {}
    for path in (folder / "outputs" / NAME / "trials").glob("*/summary.json"):
        summary = json.loads(path.read_text())["summary"]
        (name,) = summary["metrics"]
        found[name] = summary
    return found


def test_a_search_draws_trains_and_reports(tmp_path: Path) -> None:
    output = finished(tmp_path, *SEARCH)
    assert "each point drawn from what earlier trainings gave" in output
    assert "highest first" in output and "# best: t" in output
    before, drawn = summaries(tmp_path), plan_of(tmp_path)["search"]["drawn"]
    assert set(before) == set(drawn) == {"t000", "t001", "t002"}
    found = runs(tmp_path, NAME)
    for name, summary in before.items():
        one = found[f"{name} seed 0"]
        assert json.loads(one.data.tags["fcos.drawn"]) == drawn[name]["keys"]
        assert one.info.status == ("FINISHED" if summary["pruned"] is None else "KILLED")
        assert one.data.tags.get("fcos.pruned") == (None if summary["pruned"] is None else str(summary["pruned"]))


@pytest.mark.slow
def test_more_trials_go_on_from_those_before(tmp_path: Path) -> None:
    finished(tmp_path, *SEARCH, "report=false")
    before, drawn = summaries(tmp_path), plan_of(tmp_path)["search"]["drawn"]
    again = finished(tmp_path, *SEARCH, "experiment.search.trials=4", "report=false")
    assert "t003 · seed 0:  starts" in again
    assert not any(f"{name} · seed 0:  starts" in again for name in before)
    assert {name: summaries(tmp_path)[name] for name in before} == before
    assert plan_of(tmp_path)["search"]["drawn"].keys() == {*drawn, "t003"}


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_where_it_was(tmp_path: Path, hold: Hold) -> None:
    longer = (
        "schedule.steps=40",
        "schedule.eval_every=20",
        "schedule.checkpoint_every=10",
        "search=tpe",
        "report=false",
    )
    hold.at(20)
    with start(tmp_path, *SEARCH, *longer) as process:
        wait_for(hold.held, process)
        process.kill()
        process.communicate()
    # What it started has to notice by itself.
    wait_until(lambda: not hold.held())
    hold.release()
    drawn = plan_of(tmp_path)["search"]["drawn"]
    assert drawn
    finished(tmp_path, *SEARCH, *longer)
    after = plan_of(tmp_path)["search"]["drawn"]
    assert {name: after[name] for name in drawn} == drawn
    ended = summaries(tmp_path)
    assert ended.keys() == {"t000", "t001", "t002"}
    assert max(summary["resumed_from"] for summary in ended.values()) == 20
    assert set(statuses(tmp_path, NAME).values()) == {"FINISHED"}


@pytest.mark.slow
def test_stopped_trainings_on_workers_leave_nothing_in_ray(tmp_path: Path) -> None:
    script = Path(__file__).with_name("search_on_workers.py")
    more = (
        "search=asha",
        "cluster.ray_train=always",
        "cluster.workers=1",
        "experiment.search.trials=5",
        "report=false",
    )
    finished(tmp_path, str(tmp_path / "left.json"), *SEARCH, *more, entry=script)
    left = json.loads((tmp_path / "left.json").read_text())
    # One of Tune and one of Ray Train for each training.
    assert len(left["groups"]) == 10 and set(left["groups"]) == {"REMOVED"}
    assert left["free"] == left["total"] > 0
    ended = summaries(tmp_path)
    assert len(ended) == 5
    pruned = [summary for summary in ended.values() if summary["pruned"] is not None]
    assert pruned and all(3 <= summary["pruned"] < 12 for summary in pruned)


@pytest.mark.slow(minutes=2)
def test_a_search_over_seeds_that_was_killed_goes_on_and_confirms_its_winner(tmp_path: Path, hold: Hold) -> None:
    words = (
        *SEARCH,
        "search=tpe",
        "experiment.seeds=[0,1]",
        "experiment.search.trials=4",
        "search.confirm_seeds=1",
    )
    hold.at(8)
    with start(tmp_path, *words) as process:
        wait_for(hold.held, process)
        process.kill()
        process.communicate()
    wait_until(lambda: not hold.held())
    hold.release()
    drawn = plan_of(tmp_path)["search"]["drawn"]
    output = finished(tmp_path, *words)
    after = plan_of(tmp_path)
    assert drawn and {name: after["search"]["drawn"][name] for name in drawn} == drawn
    winner = runs(tmp_path, NAME)[NAME].data.tags["fcos.winner"]
    labels = {name for name in statuses(tmp_path, NAME) if name != NAME}
    assert {f"{winner} seed 2", "base seed 2"} < labels and len(labels) == 6
    assert "winner's curse" in output
    # Nothing is left to do, and nothing is trained again.
    assert "starts" not in finished(tmp_path, *words, "report=false")
