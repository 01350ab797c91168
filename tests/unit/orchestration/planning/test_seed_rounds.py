"""Seeds until it is decided: rounds follow from the results there are, and from nothing else."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.run_folder import MetricPoint
from orchestration.config.compose import compose
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.overrides import check_overrides
from orchestration.driver.progress import SweepProgress
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, add_looks, read_plan, settle_plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.seed_rounds import SeedRounds, find_looks, later_trainings
from orchestration.planning.table import plan_table
from orchestration.trial.files import append_points
from tests.helpers.experiments.seed_rounds import EXPERIMENT, Values, clear, finish, noisy, plan_rounds


def run_rounds(plan: Plan, rounds: SeedRounds, value: Values) -> tuple[int, ...]:
    """Train what is needed until nothing is; return the looks."""
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, value)
    return needed.looks


def run_rounds_with_failures(plan: Plan, rounds: SeedRounds, value: Values) -> tuple[int, ...]:
    """Train what is needed, each training once, whether it gives a result or not; return the looks."""
    ended: set[str] = set()

    def has_ended(trial: Trial) -> bool:
        return trial.identity in ended

    while not (needed := rounds.needed(has_ended)).complete:
        finish(plan, needed.indices, value)
        ended.update(plan.trials[index].identity for index in needed.indices)
    return needed.looks


def test_the_first_round_is_needed_alone_until_it_has_ended(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    assert len(plan.trials) == 24
    needed = rounds.needed()
    assert (needed.looks, needed.complete) == ((), False)
    assert {plan.trials[index].seed for index in needed.indices} == {0, 1, 2}
    finish(plan, needed.indices[:-1], clear)
    assert rounds.needed() == needed


def test_three_pairs_decide_nothing_and_one_seed_follows(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    finish(plan, rounds.needed().indices, clear)
    needed = rounds.needed()
    assert (needed.looks, needed.undecided) == ((3,), ("from_regression", "branch"))
    assert [plan.trials[index].seed for index in needed.indices[6:]] == [3, 3]


def test_clear_effects_end_before_the_last_seed(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    looks = run_rounds(plan, rounds, clear)
    assert looks[0] == 3 and 6 <= looks[-1] <= 8
    assert dict(rounds.needed().outcomes) == {"from_regression": "lower", "branch": "higher"}


def test_what_is_not_decided_has_the_most_seeds(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, "experiment.most_seeds=9")
    assert run_rounds(plan, rounds, noisy) == (3, 4, 5, 6, 7, 8, 9)
    assert rounds.needed().undecided == ("from_regression", "branch")


def test_a_decided_arm_is_left_out_unless_it_shares_a_training(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)

    def branch_alone(arm: str, seed: int) -> float:
        return noisy(arm, seed) if arm == "from_regression" else clear(arm, seed)

    run_rounds(plan, rounds, branch_alone)
    needed = rounds.needed()
    seeds_of = {
        arm: [plan.trials[index].seed for index in needed.indices if arm in plan.trials[index].arms]
        for arm in ("none", "branch")
    }
    assert seeds_of["none"] == list(range(12))
    assert len(seeds_of["branch"]) < 12
    assert needed.outcomes["branch"] == "higher"


def test_a_later_command_with_more_seeds_goes_on_where_this_one_ended(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, "experiment.most_seeds=5")
    assert run_rounds(plan, rounds, clear) == (3, 4, 5)
    later = plan_rounds(tmp_path)[2].needed()
    assert (later.looks, later.complete) == ((3, 4, 5), False)
    assert {plan_rounds(tmp_path)[1].trials[index].seed for index in later.indices} == set(range(6))


def test_a_training_that_gives_no_result_costs_its_pair_alone(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)

    def two_of_branch_fail(arm: str, seed: int) -> float | None:
        return None if arm == "branch" and seed < 2 else clear(arm, seed)

    whole = run_rounds(*plan_rounds(tmp_path / "whole")[1:], clear)
    looks = run_rounds_with_failures(plan, rounds, two_of_branch_fail)
    assert (whole[-1], looks) == (7, (3, 4, 5, 6, 7, 8)), "with two pairs less it has six of them at eight seeds"


def test_an_arm_that_never_gives_a_result_is_left_out(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)

    def branch_fails(arm: str, seed: int) -> float | None:
        return None if arm == "branch" else clear(arm, seed)

    run_rounds_with_failures(plan, rounds, branch_fails)
    needed = rounds.needed(lambda trial: trial.seed < 3 or "branch" not in trial.arms)
    branch = [plan.trials[index].seed for index in needed.indices if "branch" in plan.trials[index].arms]
    assert branch == [0, 1, 2]
    assert needed.without_pairs == ("branch",)
    assert needed.outcomes["from_regression"] == "lower"


def test_no_round_follows_one_without_any_result(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)
    assert run_rounds_with_failures(plan, rounds, lambda arm, seed: None) == (3,)


def test_what_a_later_look_takes_back_is_trained_again(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path)

    def turns(arm: str, seed: int) -> float:
        # It shares the training of the baseline, so that it has pairs in every round.
        return clear(arm, seed) if seed < 7 or arm != "from_regression" else 0.9

    def branch_is_open(arm: str, seed: int) -> float:
        return noisy(arm, seed) if arm == "branch" else turns(arm, seed)

    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 7], branch_is_open)
    assert rounds.needed().undecided == ("branch",)
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed == 7], branch_is_open)
    assert rounds.needed().undecided == ("from_regression", "branch")


def test_looks_of_earlier_commands_count(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, "experiment.seeds=[0,1,2,3,4,5,6,7]")
    settle_plan(plan)

    def all_but_one_higher(arm: str, seed: int) -> float:
        if arm != "branch":
            return noisy(arm, seed)
        return noisy("none", seed) + (-0.001 if seed == 6 else 0.05 + 0.001 * seed)

    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 8], all_but_one_higher)
    assert rounds.needed().outcomes["branch"] == "higher"
    # At seven pairs one pattern can be rejected, and this one is not it; that leaves nothing for eight.
    add_looks(plan, (7,))
    assert rounds.needed().outcomes["branch"] == "not shown"


def looks_of(
    plan: Plan, experiment: ExperimentConfig | None, *, stopped: bool, reported: bool = True
) -> tuple[int, ...]:
    assert experiment is not None
    return find_looks(plan, experiment, stopped=stopped, reported=reported)


def test_the_report_of_a_command_that_was_stopped_amid_a_round_is_a_look_at_the_pairs_there_are(tmp_path: Path) -> None:
    lab, plan, rounds = plan_rounds(tmp_path, "experiment.seeds=[0,1,2,3,4,5,6,7]")
    settle_plan(plan)
    # from_regression, which shares the baseline's training, has seven pairs and branch six.
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 6 + ("none" in trial.arms)], clear)
    assert rounds.needed().looks == ()
    assert looks_of(plan, lab.experiment, stopped=True) == (6, 7)
    assert looks_of(plan, lab.experiment, stopped=True, reported=False) == (), "nobody has seen a verdict"
    assert looks_of(plan, lab.experiment, stopped=False) == (), "the round is not over"


def test_a_stop_amid_a_later_round_counts_no_look_twice_and_none_that_was_not(tmp_path: Path) -> None:
    lab, plan, _ = plan_rounds(tmp_path)
    settle_plan(plan)
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 4], clear)
    assert looks_of(plan, lab.experiment, stopped=True) == (3, 4)
    branch = [index for index, trial in enumerate(plan.trials) if trial.seed == 4 and "branch" in trial.arms]
    finish(plan, branch, clear)
    assert looks_of(plan, lab.experiment, stopped=True) == (3, 4), "without the baseline it is no pair"


def test_a_look_of_a_report_amid_a_round_costs_what_it_spent(tmp_path: Path) -> None:
    """Six of eight seeds can decide: whoever has seen them cannot look at eight as if that were the first time."""
    lab, plan, rounds = plan_rounds(tmp_path, "experiment.seeds=[0,1,2,3,4,5,6,7]")
    settle_plan(plan)

    def all_but_one_higher(arm: str, seed: int) -> float:
        if arm != "branch":
            return noisy(arm, seed)
        return noisy("none", seed) + (-0.001 if seed == 6 else 0.05 + 0.001 * seed)

    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 7], all_but_one_higher)
    add_looks(plan, looks_of(plan, lab.experiment, stopped=True))
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed == 7], all_but_one_higher)
    assert rounds.needed().outcomes["branch"] == "not shown"
    other, unstopped = plan_rounds(tmp_path / "other", "experiment.seeds=[0,1,2,3,4,5,6,7]")[1:]
    finish(other, [index for index, trial in enumerate(other.trials) if trial.seed < 8], all_but_one_higher)
    assert unstopped.needed().outcomes["branch"] == "higher"


def test_given_seeds_are_one_look_unless_a_report_came_before_the_last_of_them(tmp_path: Path) -> None:
    lab = compose(check_overrides([EXPERIMENT, "experiment.seeds=[0,1,2,3]", f"output={tmp_path}"]))
    plan = make_plan(lab, lambda config: ("d", ()))
    settle_plan(plan)
    assert looks_of(plan, lab.experiment, stopped=False) == (), "nothing has a result"
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 3], clear)
    assert looks_of(plan, lab.experiment, stopped=True) == (3,)
    assert looks_of(plan, lab.experiment, stopped=True, reported=False) == ()
    assert looks_of(plan, lab.experiment, stopped=False) == (4,), "the last seed has failed"


def test_a_loss_decides_as_its_last_points_do(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, "experiment.metrics=[train/loss,val/AP]", "experiment.effect=null")
    for index, trial in enumerate(plan.trials):
        loss = 2.0 - (0.5 + 0.01 * trial.seed) * ("branch" in trial.arms)
        finish(plan, [index], clear)
        points = [MetricPoint(None, "train/loss", step, value) for step, value in ((20, 9.0), (40, loss))]
        append_points(plan.folder_of(trial), points)
    needed = rounds.needed()
    assert needed.outcomes["branch"] == "lower"
    assert needed.outcomes["from_regression"] == "identical"


def test_the_plan_separates_later_trainings_from_those_of_the_first_round(tmp_path: Path) -> None:
    lab, plan, rounds = plan_rounds(tmp_path, "experiment.most_seeds=4")
    later = later_trainings(plan, lab.experiment)
    title, _, rows = plan_table(plan, ReusableRuns(None), later=later)
    assert title == "ablation_centerness: at most 8 trainings, 12 results"
    assert [row[5] for row in rows] == ["new"] * 6 + ["if not decided before"] * 2
    progress = SweepProgress.of(plan, rounds.needed().indices)
    assert len(progress.trials) == 6
    progress.include(plan, range(8))
    assert [each.state for each in progress.trials] == ["waiting"] * 8


def test_looks_of_all_commands_are_kept(tmp_path: Path) -> None:
    _, plan, _ = plan_rounds(tmp_path)
    settle_plan(plan)
    assert add_looks(plan, (3,)) == [3]
    assert add_looks(plan, (3, 5)) == [3, 5]
    settle_plan(plan)
    stored = read_plan(plan.folder)
    assert stored is not None
    assert stored.looks == [3, 5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment.most_seeds=2"], r"most_seeds=2: must not be below the 3 seeds given"),
        (["experiment.until=sure"], r"experiment.until='sure': input should be 'seeds' or 'decided'"),
        (["experiment.seeds=[1,1]"], r"seeds=\[1, 1\]: must be different"),
        (["experiment.until=seeds", "experiment.most_seeds=5"], r"most_seeds=5: has no effect without until=decided"),
        (["experiment.most_seeds=101"], r"most_seeds.*less than or equal to 100"),
        (
            ["experiment.kind=noise_floor"],
            r"until=decided: compares arms with experiment.baseline seed by seed, not kind=noise_floor",
        ),
        (["task=coverage"], r"experiment.until=decided: has no effect with task=coverage"),
    ],
)
def test_rounds_that_cannot_be_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_rounds(tmp_path, *words)


def test_seeds_are_the_numbers_after_the_first_ones(tmp_path: Path) -> None:
    lab, _, _ = plan_rounds(tmp_path, "experiment.seeds=[5,7]", "experiment.most_seeds=4")
    assert lab.experiment is not None
    assert lab.experiment.all_seeds == (5, 7, 8, 9)


FACTORS = "+experiment=factorial_centerness_sampling"


def interacting(arm: str, seed: int) -> float:
    """Center-ness adds 8 points where positives are everywhere and 2 near the center; more with some seeds."""
    gain = {"branch+everywhere": 0.08, "branch+center": 0.02, "none+center": 0.03}.get(arm, 0.0)
    return 0.3 + 0.01 * (seed % 4) + gain * (1 + 0.1 * (seed % 3))


def test_with_factors_the_effects_decide_and_every_round_is_of_all_cells(tmp_path: Path) -> None:
    _, plan, rounds = plan_rounds(tmp_path, experiment=FACTORS)
    looks = run_rounds(plan, rounds, interacting)
    needed = rounds.needed()
    assert dict(needed.outcomes) == {"centerness": "higher", "sampling": "lower", "centerness*sampling": "lower"}
    assert needed.undecided == ()
    assert 6 <= looks[-1] <= 12
    assert len(needed.indices) == 4 * looks[-1]


def test_with_claimed_effects_they_alone_are_waited_for(tmp_path: Path) -> None:
    words = "experiment.claimed_effects=[centerness*sampling]"
    _, plan, rounds = plan_rounds(tmp_path, words, experiment=FACTORS)
    run_rounds(plan, rounds, interacting)
    assert dict(rounds.needed().outcomes) == {"centerness*sampling": "lower"}
