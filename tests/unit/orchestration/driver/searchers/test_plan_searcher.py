"""Rounds of seeds under Tune: which training comes next, after results, failures, and a budget that is used up."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestration.driver.searchers.plan_searcher import PlanSearcher
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.planning.plan import Plan
from orchestration.planning.seed_rounds import LaterRounds, Needed, SeedRounds
from orchestration.trial.failures import BudgetUsedUp, write_failure
from orchestration.trial.files import hold_back, release
from orchestration.trial.task import TASK
from tests.helpers.experiments.seed_rounds import Values, clear, finish, plan_rounds

End = Callable[[int], None]


def make_searcher(rounds: SeedRounds, pending: Sequence[int], begin: Callable[[Needed], None]) -> PlanSearcher:
    """Return a searcher whose tasks are the indices of the trainings."""

    def index_alone(index: int, forks: tuple[int, ...], lease: object) -> Any:
        return index

    return PlanSearcher(rounds.plan, pending, TrainingQueue(rounds.plan, {}), index_alone, LaterRounds(rounds, begin))


class Driver:
    """Runs what a searcher suggests; `end` leaves what a training leaves, by default its result."""

    def __init__(self, plan: Plan, rounds: SeedRounds, *, value: Values = clear) -> None:
        self.plan = plan
        self.begun: list[Needed] = []
        self.trained: list[int] = []
        self.value = value
        pending = [index for index in rounds.needed().indices if plan.summary_of(plan.trials[index]) is None]
        self.searcher = make_searcher(rounds, pending, self.begun.append)

    def suggest(self, name: str) -> int | str | None:
        """Return the index of the next training, or what else is said."""
        suggested = self.searcher.suggest(name)
        index: int | str | None = suggested[TASK] if isinstance(suggested, dict) else suggested
        return index

    def run(self, end: End | None = None) -> None:
        """Train one at a time until nothing follows."""
        while isinstance(index := self.suggest("one"), int):
            self.trained.append(index)
            (end or (lambda index: finish(self.plan, [index], self.value)))(index)
            self.searcher.on_trial_complete("one")
        assert index == PlanSearcher.FINISHED


def test_a_round_follows_when_all_of_the_one_before_have_ended(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, "experiment.seeds=[0]")
    driver = Driver(plan, rounds)
    assert (driver.suggest("a"), driver.suggest("b"), driver.suggest("c")) == (0, 1, None)
    finish(plan, [0], clear)
    driver.searcher.on_trial_complete("a")
    assert driver.suggest("c") is None
    finish(plan, [1], clear)
    driver.searcher.on_trial_complete("b")
    assert driver.suggest("c") == 2
    assert [needed.looks for needed in driver.begun] == [(1,)]


def test_rounds_end_when_all_is_decided_and_the_last_look_is_passed_on(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    driver = Driver(plan, rounds)
    driver.run()
    assert driver.begun[-1].complete
    assert driver.begun[-1].looks == rounds.needed().looks
    assert len(driver.trained) == 2 * driver.begun[-1].looks[-1]


def test_a_failed_training_loses_no_look_and_no_later_round(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    driver = Driver(plan, rounds, value=lambda arm, seed: None if (arm, seed) == ("branch", 0) else clear(arm, seed))
    driver.run()
    looks = driver.begun[-1].looks
    assert looks == tuple(range(3, looks[-1] + 1)) and looks[-1] > 6
    # A later command tries the failed one again, and has all finished trainings of later rounds in view.
    again = Driver(plan, rounds, value=driver.value)
    again.run()
    assert [plan.trials[index].label for index in again.trained] == ["branch · seed 0"]
    assert set(again.begun[-1].indices) == set(driver.begun[-1].indices)


def test_no_round_begins_after_the_budget_is_used_up(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    driver = Driver(plan, rounds)

    def end(index: int) -> None:
        if index < 5:
            finish(plan, [index], clear)
        else:
            write_failure(plan.folder_of(plan.trials[index]), BudgetUsedUp("stopped at step 3"), retryable=False)

    driver.run(end)
    assert driver.trained == [0, 1, 2, 3, 4, 5]
    assert not driver.begun
    more = Driver(plan, rounds)
    more.run()
    assert more.trained[:2] == [5, 6]


def test_results_that_a_round_finds_elsewhere_are_not_trained(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    driver = Driver(plan, rounds)

    def take_over(needed: Needed) -> None:
        finish(plan, [index for index in needed.indices if plan.trials[index].seed == 3], clear)

    driver.searcher = make_searcher(rounds, range(6), take_over)
    driver.run()
    assert {plan.trials[index].seed for index in driver.trained} >= {0, 1, 2, 4}
    assert 3 not in {plan.trials[index].seed for index in driver.trained}


def test_a_budget_that_ends_between_two_rounds_leaves_the_next_one_for_a_later_command(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    whole, alone = plan_rounds(tmp_path / "whole")[1:]
    undisturbed = Driver(whole, alone)
    undisturbed.run()
    driver = Driver(plan, rounds)

    def end(index: int) -> None:
        if plan.trials[index].seed < 3:
            finish(plan, [index], clear)
        # With the last training of the round the hours are used up: those of the next one return at once.
        if index == 5:
            hold_back(plan.folder)

    driver.run(end)
    assert [needed.looks for needed in driver.begun] == [(3,)]
    assert [plan.trials[index].seed for index in driver.trained[6:]] == [3, 3]
    release(plan.folder)
    more = Driver(plan, rounds)
    more.run()
    assert more.trained == undisturbed.trained[6:]
    assert more.begun[-1] == undisturbed.begun[-1]


def test_a_budget_that_is_used_up_again_and_again_comes_to_the_same_decisions(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    whole, alone = plan_rounds(tmp_path / "whole")[1:]
    undisturbed = Driver(whole, alone)
    undisturbed.run()
    trained: list[int] = []
    for _ in range(len(undisturbed.trained)):
        command = Driver(plan, rounds)

        def end(index: int, command: Driver = command) -> None:
            if len(command.trained) == 1:
                finish(plan, [index], clear)
            else:
                write_failure(plan.folder_of(plan.trials[index]), BudgetUsedUp("stopped"), retryable=False)

        command.run(end)
        trained += command.trained[:1]
    assert trained == undisturbed.trained
    assert rounds.needed() == alone.needed()
    assert rounds.needed().complete
