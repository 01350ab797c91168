"""Seeds until it is decided: rounds follow from the results there are, and from nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.driver.progress import SweepProgress
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan, add_looks, read_plan, settle_plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.seed_rounds import SeedRounds, later_trainings
from orchestration.planning.table import plan_table
from orchestration.trial.files import write_summary
from tests.helpers.summaries import summary_of

# Arms none and from_regression share a training; branch has one of its own.
WORDS = ("+experiment=ablation_centerness", "experiment.until=decided", "experiment.seeds=[0,1,2]")


def planned(tmp_path: Path, *words: str) -> tuple[LabConfig, Plan, SeedRounds]:
    lab = compose(check_overrides([*WORDS, *words, f"output={tmp_path}"]))
    plan = make_plan(lab, lambda config: ("d", ()))
    rounds = SeedRounds.of(plan, lab.experiment)
    assert rounds is not None
    return lab, plan, rounds


def finish(plan: Plan, indices: tuple[int, ...], value: Callable[[str, int], float]) -> None:
    """Write the result of trainings: `value` of each arm and seed."""
    for index in indices:
        trial = plan.trials[index]
        folder = plan.folder_of(trial)
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {arm: {"val/AP": value(arm, trial.seed)} for arm in trial.arms}
        write_summary(folder, trial.identity, summary_of(metrics))


def run_rounds(plan: Plan, rounds: SeedRounds, value: Callable[[str, int], float]) -> tuple[int, ...]:
    """Train what is needed until nothing is; return the looks."""
    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, value)
    return needed.looks


def clear(arm: str, seed: int) -> float:
    """Branch is better by far, from_regression worse by far, each by another amount with each seed."""
    effect = {"none": 0.0, "branch": 0.08, "from_regression": -0.03}[arm]
    return 0.3 + 0.01 * (seed % 4) + effect * (1 + 0.1 * (seed % 3))


def noisy(arm: str, seed: int) -> float:
    """No arm is better: the sign of its difference changes with the seed."""
    sign = 1 if seed % 2 == 0 else -1
    return 0.3 + (0.05 + 0.001 * seed) * sign * (arm != "none")


def test_the_first_round_is_needed_alone_until_it_has_ended(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)
    assert len(plan.trials) == 24
    needed = rounds.needed()
    assert (needed.looks, needed.complete) == ((), False)
    assert {plan.trials[index].seed for index in needed.indices} == {0, 1, 2}
    finish(plan, needed.indices[:-1], clear)
    assert rounds.needed() == needed


def test_three_pairs_decide_nothing_and_one_seed_follows(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)
    finish(plan, rounds.needed().indices, clear)
    needed = rounds.needed()
    assert (needed.looks, needed.undecided) == ((3,), ("from_regression", "branch"))
    assert [plan.trials[index].seed for index in needed.indices[6:]] == [3, 3]


def test_clear_effects_end_before_the_last_seed(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)
    looks = run_rounds(plan, rounds, clear)
    assert looks[0] == 3 and 6 <= looks[-1] <= 8
    assert dict(rounds.needed().outcomes) == {"from_regression": "lower", "branch": "higher"}


def test_what_is_not_decided_has_the_most_seeds(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path, "experiment.most_seeds=9")
    assert run_rounds(plan, rounds, noisy) == (3, 4, 5, 6, 7, 8, 9)
    assert rounds.needed().undecided == ("from_regression", "branch")


def test_a_decided_arm_is_left_out_unless_it_shares_a_training(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)

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


def test_a_later_command_comes_to_the_same_decisions(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)
    run_rounds(plan, rounds, clear)
    assert planned(tmp_path)[2].needed() == rounds.needed()


def test_a_training_that_gives_no_result_costs_its_pairs_alone(tmp_path: Path) -> None:
    _, plan, rounds = planned(tmp_path)
    needed = rounds.needed()
    finish(plan, needed.indices[1:], clear)
    failed = plan.trials[needed.indices[0]]
    after = rounds.needed(lambda trial: trial is failed or plan.summary_of(trial) is not None)
    assert after.looks == (3,)
    assert not after.complete


def test_the_plan_tells_later_trainings_from_those_of_the_first_round(tmp_path: Path) -> None:
    lab, plan, rounds = planned(tmp_path, "experiment.most_seeds=4")
    later = later_trainings(plan, lab.experiment)
    title, _, rows = plan_table(plan, ReusableRuns(None), later=later)
    assert title == "ablation_centerness: at most 8 trainings, 12 results"
    assert [row[5] for row in rows] == ["new"] * 6 + ["if not decided before"] * 2
    progress = SweepProgress.of(plan, rounds.needed().indices)
    assert len(progress.trials) == 6
    progress.include(plan, range(8))
    assert [each.state for each in progress.trials] == ["waiting"] * 8


def test_looks_of_all_commands_are_kept(tmp_path: Path) -> None:
    _, plan, _ = planned(tmp_path)
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
    ],
)
def test_rounds_that_cannot_be_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(tmp_path, *words)


def test_seeds_are_the_numbers_after_the_first_ones(tmp_path: Path) -> None:
    lab, _, _ = planned(tmp_path, "experiment.seeds=[5,7]", "experiment.most_seeds=4")
    assert lab.experiment is not None
    assert lab.experiment.all_seeds == (5, 7, 8, 9)


FACTORS = ("+experiment=factorial_centerness_sampling", "experiment.until=decided", "experiment.seeds=[0,1,2]")


def planned_factors(tmp_path: Path, *words: str) -> tuple[Plan, SeedRounds]:
    lab = compose(check_overrides([*FACTORS, *words, f"output={tmp_path}"]))
    plan = make_plan(lab, lambda config: ("d", ()))
    rounds = SeedRounds.of(plan, lab.experiment)
    assert rounds is not None
    return plan, rounds


def interacting(arm: str, seed: int) -> float:
    """Center-ness adds 8 points where positives are everywhere and 2 near the center; more with some seeds."""
    gain = {"branch+everywhere": 0.08, "branch+center": 0.02, "none+center": 0.03}.get(arm, 0.0)
    return 0.3 + 0.01 * (seed % 4) + gain * (1 + 0.1 * (seed % 3))


def test_with_factors_the_effects_decide_and_every_round_is_of_all_cells(tmp_path: Path) -> None:
    plan, rounds = planned_factors(tmp_path)
    looks = run_rounds(plan, rounds, interacting)
    needed = rounds.needed()
    assert dict(needed.outcomes) == {"centerness": "higher", "sampling": "lower", "centerness*sampling": "lower"}
    assert needed.undecided == ()
    assert 6 <= looks[-1] <= 12
    assert len(needed.indices) == 4 * looks[-1]


def test_with_claimed_effects_they_alone_are_waited_for(tmp_path: Path) -> None:
    plan, rounds = planned_factors(tmp_path, "experiment.claimed_effects=[centerness*sampling]")
    run_rounds(plan, rounds, interacting)
    assert dict(rounds.needed().outcomes) == {"centerness*sampling": "lower"}
