"""Seeds count in one order over all commands of a sweep: those with results first, none that was planned alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.config.experiment import ExperimentConfig
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, add_looks, find_seed_order, read_plan, settle_plan
from orchestration.planning.repeats.earlier_looks import find_earlier_looks
from orchestration.planning.seed_order import SeedOrder
from orchestration.planning.seed_rounds import find_looks
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.seed_rounds import EXPERIMENT, clear, finish, noisy, plan_rounds


def plan_given(tmp_path: Path, seeds: str) -> tuple[ExperimentConfig, Plan]:
    """Plan a command of the sweep of plan_rounds that gives its seeds."""
    lab = composed_into(tmp_path, EXPERIMENT, "experiment.until=seeds", f"experiment.seeds={seeds}")
    assert lab.experiment is not None
    return lab.experiment, make_plan(lab, lambda config: ("d", ()))


def train(plan: Plan, is_done: Callable[[int], bool] = lambda seed: True) -> None:
    """Give results to the trainings of some seeds."""
    finish(plan, [index for index, trial in enumerate(plan.trials) if is_done(trial.seed)], clear)


def end_rounds(tmp_path: Path) -> None:
    """Train rounds until all is decided, after seven of twelve seeds."""
    _, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan)
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, clear)
    assert add_looks(plan, needed.looks) == [3, 4, 5, 6, 7]


def end_given(tmp_path: Path, seeds: str) -> tuple[int, ...]:
    """Train given seeds; return the look at them."""
    experiment, plan = plan_given(tmp_path, seeds)
    settle_plan(plan, find_earlier_looks(plan, experiment, None).seeds)
    train(plan)
    looks = find_looks(plan, experiment, stopped=False, reported=True)
    add_looks(plan, looks)
    return looks


def stored_looks(plan: Plan) -> list[int]:
    stored = read_plan(plan.folder)
    assert stored is not None
    return stored.looks


def test_a_look_counts_no_seed_that_rounds_planned_and_did_not_need(tmp_path: Path) -> None:
    end_rounds(tmp_path)
    assert end_given(tmp_path, "[0,1,2,3,4,5,6,7,8]") == (9,)
    assert end_given(tmp_path, "[0,1,2,3,4,5,6,7,8,9,10,11]") == (12,)
    assert stored_looks(plan_given(tmp_path, "[0]")[1]) == [3, 4, 5, 6, 7, 9, 12]


@pytest.mark.parametrize("planned_before", ["[0,1,2,3,4,5,6,7,8]", None])
def test_seeds_that_are_added_after_a_killed_command_are_a_look_although_rounds_planned_them(
    tmp_path: Path, planned_before: str | None
) -> None:
    if planned_before is None:
        _, begun, _ = plan_rounds(tmp_path)
    else:
        end_rounds(tmp_path)
        _, begun = plan_given(tmp_path, planned_before)
    settle_plan(begun)
    train(begun, lambda seed: seed < 8)
    experiment, more = plan_given(tmp_path, "[0,1,2,3,4,5,6,7,8,9,10]")
    assert [each.seeds for each in find_earlier_looks(more, experiment, None).found] == [(8,)]


def test_the_seeds_of_a_first_round_that_was_killed_amid_it_are_none_that_are_added(tmp_path: Path) -> None:
    _, plan, _ = plan_rounds(tmp_path)
    settle_plan(plan)
    train(plan, lambda seed: seed < 2)
    for seeds, looks in (("[0,1,2]", ()), ("[2,0]", ()), ("[0,1,2,3]", (2,)), ("[0,1,3]", (2,))):
        experiment, given = plan_given(tmp_path, seeds)
        assert find_earlier_looks(given, experiment, None).seeds == looks
    assert end_given(tmp_path, "[0,1,2]") == (3,)
    assert stored_looks(plan) == [3]


def test_the_same_rounds_after_a_killed_driver_are_no_look_at_what_is_there(tmp_path: Path) -> None:
    lab, plan, _ = plan_rounds(tmp_path)
    settle_plan(plan)
    train(plan, lambda seed: seed < 4)
    order = find_seed_order(plan, read_plan(plan.folder))
    assert find_earlier_looks(plan, lab.experiment, None).found == ()
    settle_plan(plan)
    assert find_seed_order(plan, read_plan(plan.folder)) == order == SeedOrder(tuple(range(12)), 0)


def test_seeds_that_are_looked_at_come_before_those_that_were_planned_before_them(tmp_path: Path) -> None:
    """Trainings side by side end in any order: the look at two seeds has seen 0 and 2."""
    _, plan = plan_given(tmp_path, "[0,1,2]")
    settle_plan(plan)
    train(plan, lambda seed: seed != 1)
    experiment, more = plan_given(tmp_path, "[0,1,2,3]")
    assert find_earlier_looks(more, experiment, None).seeds == (2,)
    settle_plan(more)
    assert find_seed_order(more, read_plan(more.folder)).seeds == (0, 2, 1, 3)


def test_rounds_after_seeds_by_hand_begin_with_all_of_these(tmp_path: Path) -> None:
    assert end_given(tmp_path, "[0,1,2,3,4,5,6,7]") == (8,)
    _, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan)
    needed = rounds.needed()
    assert (needed.looks, needed.complete) == ((8,), True)
    # A later command comes to the same.
    assert plan_rounds(tmp_path)[2].needed() == needed


@pytest.mark.parametrize("seeds", ["[0,1,2]", "[0,1,2,20]"])
def test_rounds_that_ended_stay_decided_after_a_command_whose_seeds_added_no_result(tmp_path: Path, seeds: str) -> None:
    """Branch is decided before the others, and its later seeds are not trained; seed 20 was planned and killed."""

    def branch_is_clear(arm: str, seed: int) -> float:
        return noisy(arm, seed) if arm == "from_regression" else clear(arm, seed)

    _, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan)
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, branch_is_clear)
    assert add_looks(plan, needed.looks)[-1] == 12 and len(needed.indices) < len(plan.trials)
    experiment, given = plan_given(tmp_path, seeds)
    assert find_earlier_looks(given, experiment, None).seeds == ()
    settle_plan(given)
    _, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan)
    assert rounds.needed() == needed


def test_rounds_count_seeds_by_hand_that_are_none_of_theirs(tmp_path: Path) -> None:
    assert end_given(tmp_path, "[20,21]") == (2,)
    _, plan, rounds = plan_rounds(tmp_path)
    settle_plan(plan)
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, clear)
    assert needed.looks == (5, 6, 7), "with the two by hand, seven pairs decide as they do without"
    assert {plan.trials[index].seed for index in needed.indices} == set(range(5))


def test_rounds_with_most_seeds_below_those_by_hand_look_at_all_of_these(tmp_path: Path) -> None:
    assert end_given(tmp_path, "[0,1,2,3,4,5,6,7]") == (8,)
    _, plan, rounds = plan_rounds(tmp_path, "experiment.most_seeds=4")
    settle_plan(plan)
    assert rounds.needed().looks == (8,)


def test_the_last_look_is_at_all_seeds_with_a_result_also_where_fewer_would_decide_now(tmp_path: Path) -> None:
    """Two arms need seven pairs and one needs six, but the sweep has seven, which a report shows."""
    end_rounds(tmp_path)
    fewer = ("~experiment.arms.from_regression", "~experiment.paper.from_regression")
    _, plan, rounds = plan_rounds(tmp_path, *fewer)
    settle_plan(plan)
    assert rounds.needed().looks == (3, 4, 5, 6, 7)


def test_a_plan_of_an_older_version_counts_its_seeds_as_they_were_planned(tmp_path: Path) -> None:
    end_rounds(tmp_path)
    _, plan, rounds = plan_rounds(tmp_path)
    path = plan.folder / "plan.json"
    values = json.loads(path.read_text())
    del values["seeds"], values["rounds_from"]
    path.write_text(json.dumps(values))
    stored = read_plan(plan.folder)
    assert stored is not None and (stored.seeds, stored.rounds_from) == ([], None)
    assert rounds.needed().looks == (3, 4, 5, 6, 7)
    assert end_given(tmp_path, "[0,1,2,3,4,5,6,7,8]") == (9,)


def test_an_order_stays_as_long_as_no_seed_comes_or_goes() -> None:
    order = SeedOrder((3, 1, 2))
    assert order.follow([1, 2, 3], [2], has_rounds=False) is order
    assert order.follow([3], [1, 2], has_rounds=False) is order
    assert order.follow([3], [2], has_rounds=False) == SeedOrder((2, 3))
    assert order.follow([1, 2, 3], [2], has_rounds=True) == SeedOrder((2, 3, 1), 1)
    assert SeedOrder((3, 1, 2), 2).follow([1, 2, 3, 4], [3, 1], has_rounds=True) == SeedOrder((3, 1, 2, 4), 2)


def test_rounds_begin_anew_where_a_seed_was_added_by_hand_after_them() -> None:
    rounds = SeedOrder((0, 1, 2, 3), 0)
    given = rounds.follow([0, 1], [0, 1, 2], has_rounds=False)
    assert given == SeedOrder((0, 1, 2), 0, 3) and not given.has_rounds
    assert given.follow([0, 1, 2, 3], [0, 1, 2], has_rounds=True) == rounds
    more = given.follow([0, 1, 9], [0, 1, 2], has_rounds=False)
    assert more == SeedOrder((0, 1, 2, 9), 0, 3)
    assert more.follow([0, 1, 2, 3], [0, 1, 2, 9], has_rounds=True) == SeedOrder((0, 1, 2, 9, 3), 4)
    assert more.follow([0, 1, 2, 3], [0, 1, 2], has_rounds=True) == rounds
