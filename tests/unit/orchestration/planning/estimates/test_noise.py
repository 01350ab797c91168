"""A dry run says which difference the planned seeds can show, from the noise that earlier sweeps measured."""

from pathlib import Path

from fcos.config.parse import flatten
from fcos.storage.noise_floor import MetricNoise, NoiseFloor
from orchestration.config.experiment import ExperimentConfig
from orchestration.planning.estimates.cost import SeedCost
from orchestration.planning.estimates.noise import power_lines
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from tests.helpers.experiments.composed import composed, composed_into, plan_of
from tests.helpers.experiments.finished_trials import runs_of
from tests.helpers.experiments.stored_runs import StoredRuns

NONE = "no noise known for this model, data and schedule: +experiment=noise_floor measures it"


def experiment_and_plan(
    output: Path, *arguments: str, name: str = "ablation_centerness"
) -> tuple[ExperimentConfig, Plan]:
    words = (f"+experiment={name}", *arguments)
    experiment = composed_into(output, *words).experiment
    assert experiment is not None
    return experiment, plan_of(output, *words)


def write_floor(
    output: Path,
    plan: Plan,
    arm: str = "none",
    sweep: str = "noise_floor",
    extends: str = "",
    metric: str = "val/AP",
    **changes: object,
) -> None:
    """Write the noise floor of an arm's training, with an sd of 2.0 AP over 6 seeds unless changed."""
    values = {"seeds": 6, "deviation": 0.02, "low": 0.0125, "high": 0.049, "mean": 0.3}
    floor = NoiseFloor(
        sweep=sweep,
        run_id="r",
        metrics={metric: MetricNoise.model_validate(values | changes)},
        settings=flatten(plan.arms[arm].model_dump(mode="json")),
        data_digest="d",
        extends=extends,
    )
    path = output / sweep / "report" / "noise.json"
    path.parent.mkdir(parents=True)
    path.write_text(floor.to_json())


def lines(output: Path, *arguments: str, cost: SeedCost | None = None) -> list[str]:
    return power_lines(*experiment_and_plan(output, "experiment.effect=null", *arguments), output, cost, None)


EIGHT = "experiment.seeds=[0,1,2,3,4,5,6,7]"


def test_without_a_noise_floor_the_way_to_one_is_named(tmp_path: Path) -> None:
    assert lines(tmp_path) == [NONE]


def test_the_noise_of_the_same_training_bounds_what_the_seeds_can_show(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1])
    assert lines(tmp_path, EIGHT) == [
        "8 seeds can show a difference of about 4.3 AP (noise: sd 2.0 AP from noise_floor, 6 seeds)"
    ]


def test_fewer_seeds_than_two_arms_need_show_nothing_and_the_fewest_are_named(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1])
    (line,) = lines(tmp_path, "experiment.seeds=[0,1,2,3,4,5]")
    assert line.startswith("6 seeds can show no difference by an exact test, however large; 7 are the least, and can ")
    assert "show one of about 5.3 AP" in line
    assert lines(tmp_path, "experiment.seeds=[0]")[0].startswith("1 seed can show no difference")


def test_a_similar_model_stands_in_and_its_differences_are_named(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1], arm="branch")
    (line,) = lines(tmp_path, EIGHT)
    assert line.endswith(
        "from noise_floor, 6 seeds, of a model that differs in model.head.quality, model.postprocess.quality)"
    )


def test_the_same_training_is_taken_before_a_similar_one_and_more_seeds_before_fewer(tmp_path: Path) -> None:
    plan = experiment_and_plan(tmp_path)[1]
    write_floor(tmp_path, plan, arm="branch", sweep="a_similar", seeds=20)
    write_floor(tmp_path, plan, sweep="b_three", seeds=3)
    write_floor(tmp_path, plan, sweep="c_eight", seeds=8)
    assert "from c_eight, 8 seeds)" in lines(tmp_path, EIGHT)[0]


def test_a_noise_floor_of_another_schedule_backbone_or_data_does_not_count(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1])
    assert lines(tmp_path, "schedule.steps=500") == [NONE]
    assert lines(tmp_path, "model.backbone.widths=[16,16,16,16,16]") == [NONE]
    experiment, plan = experiment_and_plan(tmp_path)
    others = make_plan(composed("+experiment=ablation_centerness"), lambda config: ("other", ()))
    assert power_lines(experiment, plan, tmp_path, None, None) != [NONE]
    assert power_lines(experiment, others, tmp_path, None, None) == [NONE]


def test_settings_that_decide_nothing_do_not_count(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path, "schedule.log_every=7", "data.num_workers=1")[1])
    assert "from noise_floor, 6 seeds)" in lines(tmp_path, EIGHT)[0]


def test_the_claims_effect_needs_a_number_of_seeds_and_its_hours(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1])
    cost = SeedCost(0.5, "GPU-hours")
    assert lines(tmp_path, EIGHT, "experiment.effect=3.6", cost=cost)[1] == (
        "the claim's effect of 3.6 AP needs about 10 seeds, 5 GPU-hours in all"
    )
    assert lines(tmp_path, EIGHT, "experiment.effect=3.6")[1] == "the claim's effect of 3.6 AP needs about 10 seeds"
    assert "is lost in this noise" in lines(tmp_path, EIGHT, "experiment.effect=0.1")[1]


def test_a_file_that_is_no_noise_floor_gives_a_note(tmp_path: Path) -> None:
    path = tmp_path / "broken" / "report" / "noise.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    note, none = lines(tmp_path)
    assert note.startswith(f"noise floor left out: {path}: is no noise floor (sweep: ") and none == NONE


def test_noise_floors_and_counts_have_no_such_line(tmp_path: Path) -> None:
    for name in ("noise_floor", "table1_bpr"):
        assert power_lines(*experiment_and_plan(tmp_path, name=name), tmp_path, None, None) == []


def test_with_factors_the_sizes_are_those_of_main_effects_and_interactions(tmp_path: Path) -> None:
    """Four cells: the sd of a main effect is that of one training, the interaction's is twice as large."""
    name = "factorial_centerness_sampling"
    write_floor(tmp_path, experiment_and_plan(tmp_path, name=name)[1], arm="none+everywhere")
    found = power_lines(*experiment_and_plan(tmp_path, EIGHT, name=name), tmp_path, None, None)
    assert found == [
        "8 seeds can show a main effect of about 3.8 AP (noise: sd 2.0 AP from noise_floor, 6 seeds)",
        "8 seeds can show an interaction of about 7.6 AP (noise: sd 2.0 AP from noise_floor, 6 seeds)",
    ]


def rising(arm: str, seed: int) -> float:
    """Return an AP whose difference to the baseline's rises by 2.0 with every seed: over four, an sd of 2.6."""
    return 0.1 + 0.05 * seed + 0.02 * seed * (arm not in ("none", "from_regression", "none+everywhere"))


def with_store(
    output: Path, *arguments: str, store: StoredRuns | None = None, name: str = "ablation_centerness"
) -> list[str]:
    """Return the lines where a store has four seeds of the experiment in the sweep `earlier`."""
    four = experiment_and_plan(output, "experiment.seeds=[0,1,2,3]", name=name)[1]
    history = store or StoredRuns(*runs_of(four, rising, "earlier"))
    planned = experiment_and_plan(output, "experiment.effect=null", *arguments, name=name)
    return power_lines(*planned, output, None, history)


def test_without_a_noise_floor_the_paired_differences_of_an_earlier_sweep_stand_in(tmp_path: Path) -> None:
    assert with_store(tmp_path, EIGHT) == [
        "8 seeds can show a difference of about 4.0 AP (noise: sd 2.6 AP of 4 paired differences in earlier)"
    ]


def test_a_noise_floor_of_the_same_training_comes_before_pairs_and_these_before_one_of_a_similar_model(
    tmp_path: Path,
) -> None:
    plan = experiment_and_plan(tmp_path)[1]
    write_floor(tmp_path, plan, arm="branch", sweep="a_similar", seeds=20)
    assert "of 4 paired differences in earlier" in with_store(tmp_path, EIGHT)[0]
    write_floor(tmp_path, plan, sweep="b_same")
    assert "from b_same, 6 seeds)" in with_store(tmp_path, EIGHT)[0]


def test_with_factors_pairs_give_the_noise_of_a_cell(tmp_path: Path) -> None:
    """Half of the variance of a difference is that of one cell; the seed's own part leaves every effect."""
    lines_of_factors = with_store(tmp_path, EIGHT, name="factorial_centerness_sampling")
    noise = "(noise: sd 2.6 AP of 12 paired differences in earlier over 3 arms)"
    assert lines_of_factors == [
        f"8 seeds can show a main effect of about 3.5 AP {noise}",
        f"8 seeds can show an interaction of about 7.0 AP {noise}",
    ]


def test_a_store_that_does_not_answer_gives_a_note(tmp_path: Path) -> None:
    silent = StoredRuns(problem="tracking.uri=http://store: no answer")
    note, none = with_store(tmp_path, EIGHT, store=silent)
    assert note == "noise of earlier sweeps left out: tracking.uri=http://store: no answer"
    assert none == NONE


def test_the_noise_of_trainings_that_went_on_from_a_checkpoint_is_none_of_those_from_step_0(tmp_path: Path) -> None:
    write_floor(tmp_path, experiment_and_plan(tmp_path)[1], extends="e" * 64)
    assert lines(tmp_path, EIGHT) == [NONE]


def test_what_is_no_fraction_keeps_its_unit_and_has_no_effect_in_percent_points(tmp_path: Path) -> None:
    words = ("experiment.metrics=[val/cost/latency_ms,val/AP]", "model.postprocess.analyses=[cost]")
    plan = experiment_and_plan(tmp_path, *words)[1]
    write_floor(tmp_path, plan, metric="val/cost/latency_ms", deviation=0.2)
    planned = experiment_and_plan(tmp_path, EIGHT, *words, "experiment.effect=3.6")
    (line,) = power_lines(*planned, tmp_path, None, None)
    assert line.startswith("8 seeds can show a difference of about 0.4")
    assert line.endswith(" cost/latency_ms (noise: sd 0.2 cost/latency_ms from noise_floor, 6 seeds)")
