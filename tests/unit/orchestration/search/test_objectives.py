"""A search with several objectives: what is refused, and which end of each is looked for."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.planning.search_race import SearchRace
from orchestration.planning.table import search_text
from orchestration.search.race import Contender, RaceRules, TrainSeed, decide, judge
from orchestration.search.samplers import propose
from tests.helpers.experiments.composed import plan_of

WORDS = ("+experiment=search_fcos", "search=tpe", "model.postprocess.analyses=[cost]")
TWO = "experiment.search.objectives=[val/AP,val/cost/parameters]"

COVERAGE = (
    "experiment.metrics=[coverage/bpr]",
    "experiment.search.metric=coverage/bpr",
    "experiment.search.objectives=[coverage/bpr,coverage/ambiguous]",
)


def test_each_objective_goes_to_its_better_end(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS, TWO)
    assert plan.search is not None
    assert (plan.search.config.metrics, plan.search.modes) == (("val/AP", "val/cost/parameters"), ("max", "min"))
    assert "the maximum of val/AP and the minimum of val/cost/parameters" in search_text(plan)


def test_points_of_a_grid_do_not_follow_from_results_in_the_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "+experiment=search_size", "search=grid")
    text, drawn = search_text(plan), "drawn from what earlier trainings gave"
    assert drawn not in text and "each is trained with 3 seeds" in text
    assert drawn in search_text(plan_of(tmp_path / "b", *WORDS, TWO))


def test_one_seed_is_drawn_from_results_and_nothing_is_confirmed(tmp_path: Path) -> None:
    race = SearchRace.of(plan_of(tmp_path, *WORDS, TWO, "experiment.seeds=[0,1]"))
    assert race is not None and race.search.confirm_seeds == ()
    assert SearchRace.of(plan_of(tmp_path / "b", *WORDS, TWO)) is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment.search.objectives=[val/AP]"], "give two or more"),
        (["experiment.search.objectives=[val/AP,val/AP]"], "each once"),
        (["experiment.search.objectives=[val/AP50,val/AP75]"], "metric=val/AP: is not among objectives"),
        (["experiment.search.objectives=[val/AP,val/cost/parameter]"], "did you mean val/cost/parameters"),
        ([TWO, "model.postprocess.analyses=[]"], "add cost to model.postprocess.analyses"),
        ([TWO, "search=tpe_asha"], "may be worse in one and on the front all the same"),
        ([TWO, "search.confirm_seeds=3"], "no single winner"),
        (["experiment.search.objectives=[val/AP,train/memory_gb]"], "the memory of a GPU is measured"),
        (["experiment.search.objectives=[val/AP,train/loss]"], "must begin with val/"),
        (["experiment.search.objectives=[val/AP,AP50]"], r"=AP50: must begin with val/.*did you mean val/AP50"),
        ([*COVERAGE, "task=coverage", "search=random"], "task=coverage has one objective"),
    ],
)
def test_objectives_that_cannot_be_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(tmp_path, *WORDS, *words)


def test_every_point_gets_every_seed_and_none_leads() -> None:
    rules = RaceRules((0, 1), "max", trials=6, points=6, all_seeds=True)
    first, second = Contender("a", {0: 0.4}), Contender("b", {0: None})
    assert decide([first, second], rules) == TrainSeed("a", 1)
    assert decide([Contender("a", {0: 0.4, 1: 0.1}), second], rules) == "sample"
    assert judge([first, second], rules).leader is None


def test_tpe_takes_several_metrics(tmp_path: Path) -> None:
    search = plan_of(tmp_path, *WORDS, TWO).search
    assert search is not None
    first = propose(search.strategy, search.config.space, search.modes, [], sampled=0)
    known = [(first, [0.3, 1e6]), (first, None)]
    assert propose(search.strategy, search.config.space, search.modes, known, sampled=1).keys() == first.keys()
