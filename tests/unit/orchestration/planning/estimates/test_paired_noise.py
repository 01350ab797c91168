"""Paired differences of finished sweeps: which of them say how much a planned training differs by chance."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestration.experiment.extension import Extension
from orchestration.planning.estimates.paired_noise import PairedNoise, find_paired_noise
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.tracking.history import PastRun
from tests.helpers.experiments import finished_trials
from tests.helpers.experiments.composed import composed
from tests.helpers.experiments.stored_runs import StoredRuns

# Of branch to none, which train themselves; from_regression is evaluated on the training of none.
DIFFERENCES = (0.05, 0.02, 0.09, 0.04)
SEEDS = "experiment.seeds=[0,1,2,3]"
SHARED_ALONE = ("~experiment.arms.branch", "~experiment.paper.branch")


def plan_seeds(*arguments: str, name: str = "ablation_centerness", digest: str = "d") -> Plan:
    return make_plan(composed(f"+experiment={name}", *(arguments or (SEEDS,))), lambda config: (digest, ()))


def value_of(arm: str, seed: int) -> float:
    """Return an AP: the baseline differs by much from seed to seed, which the pairs do not see."""
    gain = {"none": 0.0, "from_regression": -0.01 * (1 + seed % 2)}
    return 0.3 + 0.05 * seed + (DIFFERENCES[seed] if arm not in gain else gain[arm])


def runs_of(
    plan: Plan, value: Callable[[str, int], float] = value_of, sweep: str = "before", **tags: str
) -> list[PastRun]:
    """Return the finished trials of a plan."""
    return finished_trials.runs_of(plan, value, sweep, **tags)


def find(plan: Plan, *runs: PastRun, baseline: str = "none") -> PairedNoise | None:
    return find_paired_noise(StoredRuns(*runs), plan, baseline, "val/AP")


def deviation(*by_arm: tuple[float, ...]) -> float:
    """Return the root of the mean variance of arms with equally many pairs."""
    return float(np.sqrt(np.mean([np.var(pairs, ddof=1) for pairs in by_arm])))


def assert_noise(found: PairedNoise | None, deviation: float, *, pairs: int, arms: int) -> None:
    assert found is not None
    assert (found.sweep, found.pairs, found.arms) == ("before", pairs, arms)
    assert found.deviation == pytest.approx(deviation)


def test_the_spread_of_an_arm_that_trains_itself_is_taken_and_not_that_of_one_that_shares_the_training() -> None:
    plan = plan_seeds()
    assert_noise(find(plan, *runs_of(plan)), deviation(DIFFERENCES), pairs=4, arms=1)


def test_where_all_planned_arms_share_the_training_those_pairs_count() -> None:
    found = find(plan_seeds(*SHARED_ALONE, SEEDS), *runs_of(plan_seeds()))
    shared = (-0.01, -0.02, -0.01, -0.02)
    assert_noise(found, deviation(shared), pairs=4, arms=1)


def test_variances_of_several_arms_are_pooled_and_means_of_arms_do_not_count() -> None:
    plan = plan_seeds(SEEDS, name="ablation_radius")
    half = tuple(value / 2 for value in DIFFERENCES)

    def value(arm: str, seed: int) -> float:
        gain = {"none": 5 + half[seed], "radius_1_0": DIFFERENCES[seed], "radius_2_0": 0.0}
        return 0.05 * seed + gain.get(arm, 0.0)

    found = find(plan, *runs_of(plan, value), baseline="radius_1_5")
    # radius_2_0 equals the baseline in each pair, and says nothing of chance.
    assert_noise(found, deviation(DIFFERENCES, half), pairs=8, arms=2)


def test_two_pairs_are_too_few_and_a_value_that_is_not_finite_makes_none() -> None:
    plan = plan_seeds()
    assert find(plan, *runs_of(plan_seeds("experiment.seeds=[0,1]"))) is None

    def nan_twice(arm: str, seed: int) -> float:
        return float("nan") if arm == "branch" and seed < 2 else value_of(arm, seed)

    assert find(plan, *runs_of(plan, nan_twice)) is None
    assert find(plan) is None


@pytest.mark.parametrize(
    "changed", ["schedule.steps=500", "model.fpn.channels=16", "model.loss.regression=iou", "seeds.order=0"]
)
def test_sweeps_with_another_configuration_do_not_count(changed: str) -> None:
    plan = plan_seeds()
    assert find(plan, *runs_of(plan_seeds(SEEDS, changed))) is None


def test_other_data_do_not_count_and_what_decides_nothing_may_differ() -> None:
    plan = plan_seeds()
    assert find(plan, *runs_of(plan_seeds(SEEDS, digest="other"))) is None
    assert find(plan, *runs_of(plan_seeds(SEEDS, "schedule.log_every=7", "data.num_workers=1"))) is not None


def test_the_arms_of_a_noise_floor_are_no_pairs() -> None:
    plan = plan_seeds(SEEDS, name="ablation_radius")
    floor = plan_seeds(SEEDS, name="noise_floor")
    assert floor.arms["all"] == plan.arms["radius_1_5"], "the baseline is trained in both"
    runs = runs_of(floor, lambda arm, seed: 0.1 * seed * len(arm))
    assert find(plan, *runs, baseline="radius_1_5") is None


def test_a_run_whose_seed_was_edited_makes_no_pair() -> None:
    plan = plan_seeds()
    runs = [
        replace(run, tags={**run.tags, "fcos.seed": "three"}) if run.tags["fcos.seed"] == "3" else run
        for run in runs_of(plan)
    ]
    assert_noise(find(plan, *runs), deviation(DIFFERENCES[:3]), pairs=3, arms=1)


def test_points_of_a_search_and_inexact_trainings_are_left_out() -> None:
    plan = plan_seeds()
    for tag in ("fcos.drawn", "fcos.inexact"):
        assert find(plan, *runs_of(plan, value_of, "before", **{tag: "x"})) is None


def test_pairs_are_within_a_sweep_and_the_one_with_most_of_them_is_taken() -> None:
    plan, three = plan_seeds(), plan_seeds("experiment.seeds=[0,1,2]")
    few, many = runs_of(three, sweep="few"), runs_of(plan, sweep="many")
    for runs in ([*few, *many], [*many, *few]):
        found = find(plan, *runs)
        assert found is not None and (found.sweep, found.pairs) == ("many", 4)
    newest = find(plan, *runs_of(plan, sweep="newer"), *many)
    assert newest is not None and newest.sweep == "newer"
    baseline = [run for run in few if run.tags["fcos.arm"] == "none"]
    branch = [run for run in many if run.tags["fcos.arm"] == "branch"]
    assert find(plan, *baseline, *branch) is None


def test_the_baseline_may_have_been_any_arm_of_the_earlier_sweep() -> None:
    plan = plan_seeds()
    earlier = plan_seeds(SEEDS, "experiment.baseline=branch")
    found = find(plan, *runs_of(earlier))
    assert found is not None and found.pairs == 4


def test_trainings_that_went_on_from_a_checkpoint_vary_otherwise_than_those_from_step_0() -> None:
    plan = plan_seeds()
    checkpoint = Extension(Path("/first/step_00000100"), 100, "e" * 64)
    extended = replace(plan, extension=checkpoint)
    assert find(plan, *runs_of(plan, value_of, "before", **{"fcos.extends": "e" * 64})) is None
    # Of an older version, without the tag: a trunk that is itself.
    of_older = [replace(run, tags={**run.tags, "fcos.trunk": run.tags["fcos.train_identity"]}) for run in runs_of(plan)]
    assert find(plan, *of_older) is None
    assert find(extended, *runs_of(plan)) is None
    assert find(extended, *runs_of(plan, value_of, "before", **{"fcos.extends": "f" * 64})) is None
    assert find(extended, *runs_of(plan, value_of, "before", **{"fcos.extends": "e" * 64})) is not None
