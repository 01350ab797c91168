"""What Tune is given in a search over several seeds, with made-up results: the same whether or not it was stopped."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fcos.errors import ConfigError
from orchestration.driver.searchers import race_searcher
from orchestration.driver.searchers.race_searcher import PointSampler, RaceSearcher
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, settle_plan
from orchestration.planning.search_race import SearchRace
from orchestration.search import samplers
from orchestration.trial.failures import BudgetUsedUp, write_failure
from orchestration.trial.files import write_summary
from orchestration.trial.task import TASK
from tests.helpers.counted_calls import count_calls
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.summaries import summary_of

WORDS = (
    "+experiment=search_fcos",
    "experiment.seeds=[0,1,2]",
    "experiment.search.trials=12",
    "search.confirm_seeds=2",
)
FINISHED = RaceSearcher.FINISHED


class Command:
    """One command on a sweep's folder: its plan, and the searcher that Tune would be given."""

    def __init__(self, folder: Path, *words: str) -> None:
        lab = composed_into(folder, *WORDS, *words)
        self.plan: Plan = make_plan(lab, lambda config: ("d", ()))
        settle_plan(self.plan)
        race = SearchRace.of(self.plan)
        assert race is not None
        self.race = race
        pending = [index for index, trial in enumerate(self.plan.trials) if self.plan.summary_of(trial) is None]
        self.added: list[int] = []
        sampler = PointSampler(self.plan, race.search, lab.cluster)
        # Results on another machine, by the folder of the training: they are here only once they are fetched.
        self.left: dict[Path, Callable[[], None]] = {}
        self.searcher = RaceSearcher(
            race,
            sampler,
            pending,
            lambda index: index,  # type: ignore[arg-type, return-value]
            self.added.append,
            self.fetch,
        )
        self.count = 0

    def suggest(self) -> Any:
        """Return Tune's name of a training and its trial, or what else the searcher answers."""
        self.count += 1
        config = self.searcher.suggest(str(self.count))
        return (str(self.count), self.plan.trials[config[TASK]]) if isinstance(config, dict) else config

    def fetch(self, folder: Path) -> None:
        self.left.pop(folder, lambda: None)()

    def train(self, most: int = 100) -> list[str]:
        """Train one after another until the searcher ends, or so many; return their labels."""
        labels: list[str] = []
        while len(labels) < most and (suggested := self.suggest()) != FINISHED:
            name, trial = suggested
            self.left[self.plan.folder_of(trial)] = partial(finish, self.plan, trial)
            self.searcher.on_trial_complete(name)
            labels.append(trial.label)
        return labels


def finish(plan: Plan, trial: Trial) -> None:
    """Write a result: better with a rate near 0.01, and different with every seed."""
    plan.folder_of(trial).mkdir(parents=True, exist_ok=True)
    rate = trial.config.schedule.lr_per_16_images
    value = 0.4 - abs(rate - 0.01) + 0.01 * ((trial.seed * 7 + int(1000 * rate)) % 3)
    write_summary(plan.folder_of(trial), trial.identity, summary_of({arm: {"val/AP": value} for arm in trial.arms}))


@pytest.mark.parametrize("searcher", ["search=random", "search=tpe"])
def test_a_search_goes_on_as_if_it_had_never_been_stopped(tmp_path: Path, searcher: str) -> None:
    at_once = Command(tmp_path / "a", searcher)
    labels = at_once.train()
    again: list[str] = []
    for most in (1, 4, 5, 100):
        command = Command(tmp_path / "b", searcher)
        again += command.train(most)
    assert again == labels
    assert command.race.winner() == at_once.race.winner()
    assert command.race.search.drawn == at_once.race.search.drawn


def test_points_that_an_earlier_version_drew_otherwise_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(samplers, "generator_seed", lambda seed, turn: seed + turn)
        earlier = Command(tmp_path, "search=tpe")
        labels = earlier.train(4)
    drawn = dict(earlier.race.search.drawn)
    later = Command(tmp_path, "search=tpe")
    labels += later.train()
    assert len(drawn) == 4 and {name: later.race.search.drawn[name] for name in drawn} == drawn
    assert len(set(labels)) == len(labels) == 12 + 4


def test_seeds_go_to_the_best_and_the_winner_is_confirmed(tmp_path: Path) -> None:
    command = Command(tmp_path, "search=random")
    labels = command.train()
    winner = command.race.winner()
    assert len(labels) == 12 + 4
    assert labels[12:] == [f"{arm} · seed {seed}" for seed in (3, 4) for arm in (winner, "base")]
    assert f"{winner} · seed 1" in labels[:12]
    assert Command(tmp_path, "search=random").suggest() == FINISHED
    assert command.added == list(range(16))


def test_confirmation_waits_for_trainings_that_run(tmp_path: Path) -> None:
    command = Command(tmp_path, "search=random", "experiment.search.trials=2", "experiment.seeds=[0]")
    first, second = command.suggest(), command.suggest()
    assert command.suggest() is None
    for name, trial in (first, second):
        finish(command.plan, trial)
        command.searcher.on_trial_complete(name)
    name, trial = command.suggest()
    assert trial.seed == 1


def test_what_another_sweep_has_is_not_trained(tmp_path: Path) -> None:
    command = Command(tmp_path, "search=random")
    plan = command.plan

    def take_first_seeds(index: int) -> None:
        trial = plan.trials[index]
        if trial.seed == 0:
            finish(plan, trial)

    command.searcher._add = take_first_seeds
    assert all("seed 0" not in label for label in command.train())


def test_an_unfinished_training_comes_first(tmp_path: Path) -> None:
    command = Command(tmp_path, "search=random")
    command.train(2)
    _, trial = command.suggest()
    assert Command(tmp_path, "search=random").suggest()[1].identity == trial.identity


def test_none_begins_after_one_that_was_stopped_for_the_budget(tmp_path: Path) -> None:
    command = Command(tmp_path, "search=random")
    name, trial = command.suggest()
    write_failure(command.plan.folder_of(trial), BudgetUsedUp("budget.wall_hours=1"), retryable=True)
    command.searcher.on_trial_complete(name, error=True)
    assert command.suggest() == FINISHED


SMALL_SPACE = (
    *(
        f"experiment.search.space.{key}=null"
        for key in (
            "model.assignment.ranges",
            "model.assignment.center_sampling_radius",
            "model.head.norm",
            "model.head.gn_groups",
            "model.loss.regression_weight",
            "model.loss.quality_weight",
        )
    ),
    "++experiment.search.space.schedule.lr_per_16_images.choice=[0.01,0.02]",
)


@pytest.mark.parametrize("searcher", ["search=grid", "search=random"])
def test_a_small_space_is_drawn_once_and_then_raced_to_its_end(tmp_path: Path, searcher: str) -> None:
    command = Command(tmp_path, searcher, *SMALL_SPACE)
    labels = command.train()
    assert sorted(label for label in labels if "base" not in label)[:2] == ["t000 · seed 0", "t000 · seed 1"]
    assert len(labels) == 6 + 4
    several = "experiment.search.objectives=[val/AP,val/AP50]"
    with pytest.raises(ConfigError, match=r"the grid has 2 points.* all 3 seeds; raise it to 6, give fewer"):
        Command(
            tmp_path / "b", "search=grid", *SMALL_SPACE, several, "search.confirm_seeds=0", "experiment.search.trials=5"
        )
    assert command.searcher.exhausted == "every point has been drawn before"


def test_each_result_is_read_once_and_nothing_is_decided_while_nothing_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(tmp_path, "search=random")
    read: list[str] = []
    summary_of_trial = Plan.summary_of

    def count_read(plan: Plan, trial: Trial) -> Any:
        summary = summary_of_trial(plan, trial)
        read.extend([] if summary is None else [trial.label])
        return summary

    monkeypatch.setattr(Plan, "summary_of", count_read)
    decided = count_calls(monkeypatch, SearchRace, "decide")
    running = []
    while (suggested := command.suggest()) is not None:
        running.append(suggested)
    decided.clear()
    assert [command.suggest() for _ in range(5)] == [None] * 5 and decided == []
    for name, trial in running:
        finish(command.plan, trial)
        command.searcher.on_trial_complete(name)
    read.clear()
    command.suggest()
    assert sorted(read) == sorted(2 * [trial.label for _, trial in running]), "its value is read with it"
    read.clear()
    command.suggest()
    assert read == []


def test_points_that_do_not_depend_on_results_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    planned = getattr(race_searcher, "planned_points")  # noqa: B009  # not exported

    def counted(*arguments: Any) -> Any:
        for point in planned(*arguments):
            drawn.append(point)
            yield point

    monkeypatch.setattr(race_searcher, "planned_points", counted)
    Command(tmp_path, "search=random", "experiment.search.trials=60").train(36)
    assert len(drawn) == 36, "those that were drawn before are not gone through again for each"
