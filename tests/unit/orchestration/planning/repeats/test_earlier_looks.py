"""Looks count for the trainings that were looked at, whatever the sweep is called and wherever its record is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, add_looks, read_plan, settle_plan
from orchestration.planning.repeats.earlier_looks import find_earlier_looks
from orchestration.tracking.history import PastRun
from tests.helpers.experiments.seed_rounds import clear, finish, plan_rounds
from tests.helpers.experiments.stored_runs import StoredRuns


def looked_at(tmp_path: Path, name: str, seeds: str, *words: str) -> Plan:
    """A sweep whose trainings are finished and that was looked at."""
    _, plan = plan_given(tmp_path, name, seeds, *words)
    settle_plan(plan)
    finish(plan, range(len(plan.trials)), clear)
    add_looks(plan, [len({trial.seed for trial in plan.trials})])
    return plan


def plan_given(tmp_path: Path, name: str, seeds: str, *words: str) -> tuple[LabConfig, Plan]:
    given = ("+experiment=ablation_centerness", "experiment.until=seeds", f"experiment.seeds={seeds}", f"name={name}")
    lab = compose(check_overrides([*given, *words, f"output={tmp_path}"]))
    return lab, make_plan(lab, lambda config: ("d", ()))


def earlier(
    tmp_path: Path, name: str, seeds: str, *words: str, store: StoredRuns | None = None
) -> list[tuple[int, ...]]:
    lab, plan = plan_given(tmp_path, name, seeds, *words)
    return [each.seeds for each in find_earlier_looks(plan, lab.experiment, store).found]


def past_runs(plan: Plan, parent: str, key: str = "key") -> list[PastRun]:
    return [
        PastRun(
            f"{arm}{trial.seed}",
            {
                "fcos.train_identity": trial.identity,
                "fcos.identity": trial.identity_of(arm),
                "fcos.sweep": "gone",
                "fcos.sweep_key": key,
                "mlflow.parentRunId": parent,
            },
            {},
            {},
        )
        for trial in plan.trials
        for arm in trial.arms
    ]


def test_another_name_over_the_same_trainings_has_their_look(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1,2]")
    assert earlier(tmp_path, "second", "[0,1,2,3,4,5]") == [(3,)]
    lab, plan = plan_given(tmp_path, "second", "[0,1,2,3,4,5]")
    record = find_earlier_looks(plan, lab.experiment, None)
    (look,) = record.found
    assert look.text == "sweep first was looked at after 3 of these seeds, which counts here too"
    assert record.notes == (look.text,)


def test_a_look_at_other_trainings_does_not_count(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1,2]", "schedule.steps=600")
    looked_at(tmp_path, "other_seeds", "[7,8]")
    assert earlier(tmp_path, "second", "[0,1,2,3,4,5]") == []


def test_the_same_seeds_are_looked_at_once_anyway(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1,2]")
    assert earlier(tmp_path, "second", "[0,1,2]") == []


def test_results_of_a_killed_command_count_as_a_look(tmp_path: Path) -> None:
    _, plan = plan_given(tmp_path, "first", "[0,1,2]")
    settle_plan(plan)
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 2], clear)
    assert earlier(tmp_path, "second", "[0,1,2,3,4,5]") == [(2,)]


def test_seeds_that_are_added_after_results_are_a_look_without_a_recorded_one(tmp_path: Path) -> None:
    _, plan = plan_given(tmp_path, "first", "[0,1,2]")
    settle_plan(plan)
    assert earlier(tmp_path, "first", "[0,1,2,3]") == [], "nothing is trained yet"
    finish(plan, range(len(plan.trials)), clear)
    assert earlier(tmp_path, "first", "[0,1,2]") == []
    assert earlier(tmp_path, "first", "[0,1,2,3]") == [(3,)]
    add_looks(plan, [3])
    assert earlier(tmp_path, "first", "[0,1,2,3]") == [], "it is recorded"


def test_removing_the_folder_leaves_the_looks_that_the_store_has(tmp_path: Path) -> None:
    plan = looked_at(tmp_path, "first", "[0,1,2]")
    runs = past_runs(plan, "parent")
    shutil.rmtree(plan.folder)
    assert earlier(tmp_path, "first", "[0,1,2,3,4,5]") == []
    assert earlier(tmp_path, "first", "[0,1,2,3,4,5]", store=StoredRuns(*runs, looks={"parent": (2, 3)})) == [(2, 3)]
    # The sweep's own run is gone: its trials are not.
    assert earlier(tmp_path, "first", "[0,1,2,3,4,5]", store=StoredRuns(*runs)) == [(3,)]


def test_the_runs_of_the_sweep_itself_are_no_other_look(tmp_path: Path) -> None:
    _, plan = plan_given(tmp_path, "first", "[0,1,2]")
    key = settle_plan(plan)
    store = StoredRuns(*past_runs(plan, "parent", key), looks={"parent": (2,)})
    assert earlier(tmp_path, "first", "[0,1,2]", store=store) == []


def test_two_sweeps_of_one_name_that_are_gone_both_have_their_looks(tmp_path: Path) -> None:
    _, first = plan_given(tmp_path, "first", "[0,1]")
    _, again = plan_given(tmp_path, "first", "[0,1,2,3]")
    runs = [*past_runs(first, "one", "key"), *past_runs(again, "two", "another key")]
    seeds, looks = "[0,1,2,3,4,5]", {"one": (2,), "two": (4,)}
    assert earlier(tmp_path, "second", seeds, store=StoredRuns(*runs, looks=looks)) == [(2, 4)]
    assert earlier(tmp_path, "second", seeds, store=StoredRuns(*runs[::-1], looks=looks)) == [(2, 4)]


def test_a_sweep_that_is_gone_has_its_look_beside_the_newer_one_of_that_name_in_the_folder(tmp_path: Path) -> None:
    plan = looked_at(tmp_path, "first", "[0,1,2]")
    stored = read_plan(plan.folder)
    assert stored is not None
    seeds, gone, own = "[0,1,2,3,4,5]", past_runs(plan, "gone", "key"), past_runs(plan, "own", stored.key)
    gone = [replace(run, tags={**run.tags, "fcos.sweep": "first"}) for run in gone]
    store = StoredRuns(*gone, *own, looks={"gone": (2,), "own": (1,)})
    assert earlier(tmp_path, "second", seeds, store=store) == [(2, 3)]


def test_a_failed_seed_does_not_make_one_look_two(tmp_path: Path) -> None:
    _, plan = plan_given(tmp_path, "first", "[0,1,2]")
    settle_plan(plan)
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed > 0], clear)
    assert earlier(tmp_path, "first", "[0,1,2,3]") == [(2,)], "nothing recorded: what has a result could be seen"
    add_looks(plan, [3])
    assert earlier(tmp_path, "first", "[0,1,2,3]") == []


def test_another_store_does_not_hide_the_looks_of_the_output_folder(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1,2]")
    seeds = "[0,1,2,3,4,5]"
    assert earlier(tmp_path, "second", seeds, store=StoredRuns()) == [(3,)]


def test_looks_that_a_store_does_not_give_are_reported_as_not_known(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1,2]")
    lab, plan = plan_given(tmp_path, "second", "[0,1,2,3,4,5]")
    silent = StoredRuns(problem="does not answer")
    for record in (
        find_earlier_looks(plan, lab.experiment, silent),
        find_earlier_looks(plan, lab.experiment, None, "does not answer"),
    ):
        assert record.seeds == (3,)
        assert record.notes[-1] == (
            "looks at these trainings that the store has are not known and not counted: does not answer"
        )
    assert find_earlier_looks(plan, None, silent).notes == (), "nothing is compared"


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"looks": [1]})])
def test_a_broken_plan_beside_it_is_left_to_its_own_commands(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plan.json").write_text(content)
    assert earlier(tmp_path, "second", "[0,1]") == []


def test_rounds_count_the_look_that_another_sweep_took(tmp_path: Path) -> None:
    looked_at(tmp_path, "first", "[0,1]")
    lab, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan, find_earlier_looks(plan, lab.experiment, None).seeds)
    stored = read_plan(plan.folder)
    assert stored is not None and stored.looks == [2]
    finish(plan, rounds.needed().indices, clear)
    assert rounds.needed().looks == (3,)
