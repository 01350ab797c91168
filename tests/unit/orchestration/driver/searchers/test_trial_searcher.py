"""What Tune asks a search for: unfinished points first, no point twice, a budget that holds, values told."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcos.config.parse import parse
from fcos.errors import ConfigError
from orchestration.config.schema import ClusterConfig
from orchestration.config.search import Distribution, StrategyConfig
from orchestration.driver.searchers import trial_searcher
from orchestration.driver.searchers.trial_searcher import SearchTrials, TrialSearcher
from orchestration.search.samplers import make_searcher
from orchestration.search.space import Point
from orchestration.trial.task import TASK, Task
from tests.helpers.experiments.tasks import task_in

SPACE = {"x": parse(Distribution, {"choice": ["a", "refused", "c"]})}
FINISHED = TrialSearcher.FINISHED


class Results:
    """Begins trainings of the points 0 and 2; point 1 is no valid configuration."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.values: dict[int, float | None] = {}

    def begin(self, point: Point) -> dict[str, Any] | float | None:
        x = point["x"]
        if x == 1:
            raise ConfigError("x=refused: is refused")
        if x in self.begun:
            return self.values.get(x)
        self.begun.append(x)
        return {"x": x}

    def result_of(self, config: Mapping[str, Any]) -> float | None:
        return self.values.get(config["x"])


def searching(
    results: Results, *, left: int, waiting: Sequence[int] = (), known: Sequence[tuple[Point, float | None]] = ()
) -> tuple[TrialSearcher, Any]:
    inner = make_searcher(StrategyConfig(searcher="tpe"), SPACE, "max", known)
    return TrialSearcher(inner, results.begin, results.result_of, [({"x": x}, {"x": x}) for x in waiting], left), inner


def results_of(inner: Any) -> list[tuple[int, str, float | None]]:
    return [(trial.params["x"], trial.state.name, trial.value) for trial in inner._ot_study.get_trials()]


def test_refused_and_repeated_points_cost_no_budget() -> None:
    results = Results()
    search, inner = searching(results, left=5)
    first, second = search.suggest("a"), search.suggest("b")
    assert sorted([first["x"], second["x"]]) == [0, 2]
    results.values = {0: 0.25, 2: 0.5}
    search.on_trial_complete("a")
    search.on_trial_complete("b")
    assert search.suggest("c") == FINISHED
    assert search.exhausted is not None
    ends = results_of(inner)
    assert {(x, state) for x, state, _ in ends if x == 1} <= {(1, "FAIL")}
    assert {value for x, state, value in ends if state == "COMPLETE"} == {0.25, 0.5}


def test_the_budget_ends_the_search() -> None:
    search, _ = searching(Results(), left=1)
    assert isinstance(search.suggest("a"), dict)
    assert search.suggest("b") == FINISHED
    assert search.exhausted is None


def test_unfinished_points_come_first_and_their_values_are_reported() -> None:
    results = Results()
    results.begun = [2]
    search, inner = searching(results, left=0, waiting=[2])
    assert search.suggest("a") == {"x": 2}
    assert search.suggest("b") == FINISHED
    results.values = {2: 0.75}
    search.on_trial_complete("a")
    assert results_of(inner) == [(2, "COMPLETE", 0.75)]


def test_a_training_that_failed_is_reported_as_a_failure() -> None:
    search, inner = searching(Results(), left=1, waiting=[0])
    search.suggest("a")
    search.on_trial_complete("a", error=True)
    search.suggest("b")
    search.on_trial_complete("b", error=True)
    assert {state for _, state, _ in results_of(inner)} == {"FAIL"}


def test_the_searcher_knows_what_earlier_commands_found() -> None:
    _, inner = searching(Results(), left=1, known=[({"x": 0}, 0.5), ({"x": 2}, None)])
    assert results_of(inner) == [(0, "COMPLETE", 0.5), (2, "FAIL", None)]


def test_a_result_on_another_machine_is_fetched_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task(_: int) -> Task:
        return task_in(tmp_path)

    fetched: list[Path] = []
    monkeypatch.setattr(trial_searcher, "objective_value", lambda *_: float(len(fetched)))
    plan: Any = SimpleNamespace(trials=[None])
    trials = SearchTrials(plan, plan, 0, ClusterConfig(), task, fetched.append)
    assert trials.result_of({TASK: task(0)}) == 1.0
    assert fetched == [tmp_path]
