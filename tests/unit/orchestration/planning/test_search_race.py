"""A search over several seeds: found again from its plan and results, and confirmed by other seeds."""

import json
from pathlib import Path

import pytest

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.driver.progress import SweepProgress
from orchestration.experiment.trials import Trial, plan_trials
from orchestration.planning.plan import PLAN, Plan, add_looks, settle_plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.search_race import SearchRace, count_to_come
from orchestration.planning.table import plan_table, search_text
from orchestration.search.points import SampledPoint
from orchestration.search.race import TrainSeed
from orchestration.trial.failures import write_failure
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import plan_of
from tests.helpers.experiments.summaries import summary_of

RATE = "schedule.lr_per_16_images"
WORDS = (
    "+experiment=search_fcos",
    "search=tpe",
    "experiment.seeds=[0,1]",
    "experiment.search.trials=6",
    "search.confirm_seeds=2",
)


def race_of(plan: Plan) -> SearchRace:
    race = SearchRace.of(plan)
    assert race is not None
    return race


def train(plan: Plan, arm: str, seed: int, value: float | None, pruned: int | None = None) -> Trial:
    """Add a training to a plan as the searcher does, with its result; None leaves it unfinished."""
    assert plan.search is not None
    rate = 0.01 + 0.001 * int(arm[1:]) if arm != "base" else None
    config = plan.search.base if rate is None else plan.arms.get(arm) or with_rate(plan, rate)
    (trial,) = plan_trials({arm: config}, (seed,), plan.provenance, {arm: "d"})
    if arm != "base":
        plan.search.drawn[arm] = SampledPoint(point={RATE: rate}, keys={RATE: rate})
    plan.grow(arm, config, trial)
    plan.folder_of(trial).mkdir(parents=True)
    if value is not None:
        write_summary(plan.folder_of(trial), trial.identity, summary_of({arm: {"val/AP": value}}, pruned=pruned))
    settle_plan(plan)
    return trial


def finish(plan: Plan, arm: str, seed: int, value: float) -> None:
    """End a training that an earlier command left open."""
    (trial,) = (each for each in plan.trials if each.seed == seed and arm in each.arms)
    write_summary(plan.folder_of(trial), trial.identity, summary_of({arm: {"val/AP": value}}))


def with_rate(plan: Plan, rate: float) -> Config:
    assert plan.search is not None
    return with_keys(plan.search.base, {RATE: rate})


def test_one_seed_without_confirmation_is_no_race(tmp_path: Path) -> None:
    assert SearchRace.of(plan_of(tmp_path, *WORDS, "experiment.seeds=[0]", "search.confirm_seeds=null")) is None


def test_several_seeds_are_confirmed_by_six_others_by_default(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS, "search.confirm_seeds=null")
    assert plan.search is not None
    assert plan.search.confirm_seeds == (2, 3, 4, 5, 6, 7)
    assert "with seeds 2, 3, 4, 5, 6, 7" in search_text(plan)


def test_a_later_command_finds_points_seeds_and_leader_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS)
    train(plan, "t000", 0, 0.30)
    train(plan, "t001", 0, 0.40)
    train(plan, "t001", 1, 0.42)
    again = plan_of(tmp_path, *WORDS)
    assert [(trial.label, trial.identity) for trial in again.trials] == [
        (trial.label, trial.identity) for trial in plan.trials
    ]
    contenders = race_of(again).contenders()
    assert [(each.name, dict(each.values)) for each in contenders] == [
        ("t000", {0: 0.30}),
        ("t001", {0: 0.40, 1: 0.42}),
    ]
    assert race_of(again).winner() == "t001"


def test_an_unfinished_training_is_open_and_a_diverged_one_is_out(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS)
    train(plan, "t000", 0, 0.30)
    diverged = train(plan, "t001", 0, None)
    write_failure(plan.folder_of(diverged), Diverged("not finite at step 7"), retryable=False)
    train(plan, "t002", 0, None)
    first, second, third = race_of(plan_of(tmp_path, *WORDS)).contenders()
    assert (first.running, dict(second.values), third.running) == (False, {0: None}, True)
    assert race_of(plan_of(tmp_path, *WORDS)).winner() is None


class Diverged(RuntimeError):
    """As fcos.training.step's."""


def ended(tmp_path: Path) -> Plan:
    """A search whose six trainings have ended; t001 leads."""
    plan = plan_of(tmp_path, *WORDS)
    for number, value in enumerate((0.30, 0.40, 0.20, 0.10)):
        train(plan, f"t00{number}", 0, value)
    train(plan, "t001", 1, 0.40)
    train(plan, "t000", 1, 0.30)
    return plan


def test_at_the_end_the_winner_and_the_starting_point_get_the_confirming_seeds(tmp_path: Path) -> None:
    plan = ended(tmp_path)
    for expected in (("t001", 2), ("base", 2), ("t001", 3), ("base", 3)):
        assert race_of(plan).decide() == TrainSeed(*expected)
        train(plan, *expected, 0.35)
    assert race_of(plan).decide() == "end"
    assert race_of(plan).count_confirmed() == 2
    again = plan_of(tmp_path, *WORDS)
    assert race_of(again).count_confirmed() == 2 and race_of(again).most_to_come == 0
    assert plan_table(again, ReusableRuns(None))[0] == "search_fcos: 6 of 6 trainings begun, 4 that confirm"


def test_a_training_that_failed_in_this_command_takes_neither_winner_nor_confirmation_away(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS)
    for number, value in enumerate((0.30, 0.40, 0.20, 0.10, 0.10)):
        train(plan, f"t00{number}", 0, value)
    failed = {train(plan, "t005", 0, None).identity}
    for arm, seed in (("t001", 2), ("base", 2), ("t001", 3), ("base", 3)):
        train(plan, arm, seed, 0.35)
    race = race_of(plan)
    assert (race.winner(failed), race.decide(failed), race.count_confirmed(failed)) == ("t001", "end", 2)
    # Without it, the training may still give a result, and nothing is decided.
    assert (race.winner(), race.count_confirmed()) == (None, 0)


def test_a_confirming_training_that_failed_or_is_open_does_not_hide_a_look_at_the_others(tmp_path: Path) -> None:
    plan = ended(tmp_path)
    train(plan, "t001", 2, 0.35)
    base = train(plan, "base", 2, None)
    assert race_of(plan).count_confirmed() == 0, "no pair has ended"
    assert race_of(plan).count_confirmed({base.identity}) == 0, "no pair has a result"
    train(plan, "t001", 3, 0.35)
    train(plan, "base", 3, 0.35)
    assert race_of(plan).count_confirmed() == 1, "a report shows the pair of seed 3"
    assert race_of(plan).count_confirmed({base.identity}) == 2


def test_seeds_that_are_added_after_a_stopped_confirmation_are_another_look(tmp_path: Path) -> None:
    plan = ended(tmp_path)
    for seed in (2, 3):
        train(plan, "t001", seed, 0.35)
        train(plan, "base", seed, 0.30 if seed == 2 else None)
    assert add_looks(plan, [race_of(plan).count_confirmed()]) == [1]
    more = plan_of(tmp_path, *WORDS, "search.confirm_seeds=4")
    assert race_of(more).decide() == TrainSeed("t001", 4)
    finish(more, "base", 3, 0.30)
    for seed in (4, 5):
        train(more, "t001", seed, 0.35)
        train(more, "base", seed, 0.30)
    assert add_looks(more, [race_of(more).count_confirmed()]) == [1, 4]


def test_what_a_search_may_still_add_is_bounded(tmp_path: Path) -> None:
    assert count_to_come(plan_of(tmp_path, *WORDS)) == 6 + 2 * 2
    assert count_to_come(ended(tmp_path)) == 2 * 2
    assert count_to_come(plan_of(tmp_path / "b", *WORDS, "experiment.seeds=[0]", "search.confirm_seeds=0")) == 6
    assert (
        count_to_come(
            plan_of(tmp_path / "c", *WORDS, "search=random", "experiment.seeds=[0]", "search.confirm_seeds=0")
        )
        == 0
    )


def test_confirming_trainings_do_not_choose_the_winner(tmp_path: Path) -> None:
    plan = ended(tmp_path)
    train(plan, "t001", 2, 0.01)
    assert race_of(plan).winner() == "t001"
    assert race_of(plan).num_searched == 6


def test_progress_has_room_for_what_may_come(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS)
    train(plan, "t000", 0, 0.30)
    progress = SweepProgress.of(plan)
    assert [each.state for each in progress.trials] == ["kept", *["waiting"] * 9]
    assert progress.trials[1].label == "training 1 · to be chosen"
    train(plan, "t001", 0, None)
    progress.add(plan, 1)
    progress.leave_out_rest()
    assert [each.label for each in progress.trials] == ["t000 · seed 0", "t001 · seed 0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.confirm_seeds=[1,2]"], r"confirm_seeds=\[1, 2\]: \[1\] are among experiment.seeds"),
        (["search.confirm_seeds=[2,2]"], r"confirm_seeds=\[2, 2\]: each may be given once"),
        (["search.confirm_seeds=-1"], "search.confirm_seeds"),
        (["search=grid"], "has no grid"),
        (["experiment.search.space.model.postprocess.nms_threshold.uniform=[0.4,0.7]"], "with one seed"),
    ],
)
def test_a_race_that_cannot_be_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(tmp_path, *WORDS, *words)


def test_seeds_that_an_earlier_command_searched_with_confirm_nothing(tmp_path: Path) -> None:
    train(plan_of(tmp_path, *WORDS, "experiment.seeds=[0,1,2]"), "t000", 2, 0.30)
    with pytest.raises(ConfigError, match=r"confirm_seeds=\[2, 7\]: \[2\] were among experiment\.seeds of an earlier"):
        plan_of(tmp_path, *WORDS, "search.confirm_seeds=[2,7]")
    fewer = plan_of(tmp_path, *WORDS)
    assert fewer.search is not None
    assert (fewer.search.seeds, fewer.search.confirm_seeds) == ((0, 1), (3, 4))
    settle_plan(fewer)
    # The seed of the first command stays among those that chose.
    again = plan_of(tmp_path, *WORDS).search
    assert again is not None and again.all_seeds == [0, 1, 2]


def test_the_plan_of_an_older_version_names_no_seeds_of_its_search(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *WORDS)
    settle_plan(plan)
    values = json.loads((plan.folder / PLAN).read_text())
    del values["search"]["seeds"]
    (plan.folder / PLAN).write_text(json.dumps(values))
    again = plan_of(tmp_path, *WORDS).search
    assert again is not None and again.confirm_seeds == (2, 3)


def test_confirming_seeds_without_a_search_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"search\.confirm_seeds=3: has no effect without experiment\.search"):
        compose(check_overrides(["+experiment=ablation_centerness", "search.confirm_seeds=3"]))
