"""Every benchmark's own check of its results, at sizes that take no time; nothing is timed."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from fcos.evaluation.matches import match_detections
from fcos.exported.latency import Latency
from fcos.statistics.outcomes import DECIDED
from orchestration.experiment.provenance import Commit
from tests.helpers.detections.weighted_evaluations import tied_evaluation
from tests.helpers.experiments.seed_rounds import finish, plan_rounds

SIZE = (128, 160)


def check(case) -> None:
    assert case.same(case.peer(), case.ours())


def test_assignment(load) -> None:
    check(load("assignment").case(7, 2, SIZE))


def test_losses(load) -> None:
    check(load("losses").case("loss", 7, 2, SIZE, compiled=False, goal=None, memory_goal=1))


@pytest.mark.parametrize("maps", ["trained_maps", "untrained_maps"])
def test_postprocess(load, maps: str) -> None:
    module = load("postprocess")
    arguments = (2, SIZE, 3) if maps == "trained_maps" else (2, SIZE)
    with torch.inference_mode():
        for case in module.pair("some", getattr(module, maps)(*arguments), SIZE, (None, None)):
            check(case)


def test_evaluation(load) -> None:
    check(load("evaluation").case(12, None))


def test_data_pipeline(load, tmp_path: Path) -> None:
    module = load("data_pipeline")
    module.draw_jpegs(tmp_path, 2)
    for case in module.pair(tmp_path, 2, 96 * 6, None):
        check(case)


def test_augmentation(load, tmp_path: Path) -> None:
    module = load("augmentation")
    for dataset in module.datasets(tmp_path, 96).values():
        assert module.seconds_of(dataset, 0) > 0


@pytest.mark.parametrize("name", ["normal", "skewed values", "heavy-tailed values"])
@pytest.mark.parametrize("several", [False, True])
def test_simulated_verdicts_keep_their_error_rates(load, name: str, several: bool) -> None:
    module = load("verdicts")
    distribution = module.DISTRIBUTIONS[name]
    # Three standard errors of a share of 5 % in so many; the draws are always the same.
    sequences, slack = 600, 0.027
    assert module.measure_false_verdicts(distribution, sequences, 2, 8, several) <= 0.05
    coverage = module.measure_coverage(distribution, sequences, 8, 1.0, several)
    assert coverage.last >= 0.95 - slack and coverage.stopped >= 0.95 - slack
    # An interval without ends would hold the difference always.
    assert several or coverage.last <= 0.985
    weak, strong = (module.measure_power(distribution, sequences, 8, effect, several) for effect in (0.5, 2.0))
    assert weak.shown < 0.4 < 0.85 < strong.shown
    assert strong.pairs <= 8 * 0.9 if several else strong.pairs == 8


@pytest.mark.parametrize("several", [False, True])
def test_a_difference_of_the_margin_is_seldom_called_equal(load, several: bool) -> None:
    module = load("verdicts")
    normal = module.DISTRIBUTIONS["normal"]
    # Half of 5 % and three standard errors of that; the draws are always the same.
    assert module.measure_false_equality(normal, 600, 8, 2.0, several) <= 0.025 + 0.019
    noise = module.draw_differences(normal, 600, 1, 8)[:, 0]
    assert module.find_equal(noise, module.make_looks(8, several), 2.0).mean() > 0.5, "of no difference it is the rule"


@pytest.mark.parametrize("seed", range(4))
def test_simulated_rounds_are_those_of_a_sweep(load, tmp_path: Path, seed: int) -> None:
    """Three arms that train by themselves: one is better by far, one is equal, one is better by the margin."""
    simulate = load("verdict_rounds")
    # In fractions of AP, with the deviation and the margin of one point.
    effects = np.array([[4.0], [0.0], [1.0]])
    differences = 0.01 * (np.random.default_rng(seed).standard_normal((3, 12)) + effects)
    _, plan, rounds = plan_rounds(tmp_path, experiment="+experiment=ablation_radius")
    arms = [arm for arm in plan.arms if arm != "radius_1_5"]

    def value(arm: str, of_seed: int) -> float:
        return 0.3 + (float(differences[arms.index(arm), of_seed]) if arm in arms else 0.0)

    while not (needed := rounds.needed()).complete:
        finish(plan, needed.indices, value)
    simulated = simulate.run_rounds(differences, 0.01)
    assert (needed.looks, len(needed.outcomes)) == (simulated.looks, 3)
    called = [needed.outcomes[arm] for arm in arms]
    assert [outcome if outcome in DECIDED else "" for outcome in called] == list(simulated.last)
    trained = [[arm in plan.trials[index].arms for index in needed.indices].count(True) for arm in arms]
    assert trained == list(simulated.pairs) and min(trained) < max(trained), "a decided arm gets no more seeds"


def test_rounds_in_which_some_arms_differ_keep_their_error_rates(load) -> None:
    module = load("verdicts")
    rates = module.measure_rounds(module.DISTRIBUTIONS["normal"], 40, (3.0, 0.0), 1.0)
    # 5 % and three standard errors of that in so many.
    assert max(rates.false_direction, rates.false_equal) <= 0.05 + 0.104
    assert rates.found > 0.9 and rates.pairs < 12


@pytest.fixture
def resampled_ap(load) -> np.ndarray:
    """AP of changed copies of one evaluation on ten sets of its images and their resamples."""
    module = load("resampled_evaluations")
    annotations, results = tied_evaluation(0, num_images=30)
    rng = np.random.default_rng(0)
    copies = [module.change_results(results, module.Change(), rng) for _ in range(12)]
    trainings = module.Trainings(tuple(match_detections(annotations, copy) for copy in copies))
    sets = module.draw_sets(30, 10, 20)
    assert all((weights.sum(axis=0) == 30).all() for weights in sets), "as many images as there are"
    assert all((weights[weights[:, 0] == 0] == 0).all() for weights in sets), "resamples of the set alone"
    table: np.ndarray = module.compute_ap(trainings, sets, "drawn")
    return table


@pytest.mark.parametrize("several", [False, True])
def test_verdicts_on_resampled_evaluations_keep_their_error_rate(load, resampled_ap, several: bool) -> None:
    module = load("image_verdicts")
    ap = resampled_ap[..., 0]
    assert (np.ptp(ap, axis=1) > 0).all() and (np.ptp(ap, axis=0) > 0).all(), "trainings and sets differ"
    equal = module.draw_equal_arms(ap, 600, 2, 8)
    assert equal.shape == (600, 2, 8)
    # Three standard errors of a share of 5 % in so many.
    assert module.measure_any_direction(equal, several) <= 0.05 + 0.027
    assert module.measure_any_direction(equal + 4 * ap.std(axis=1).max(), several) > 0.5, "a real difference is shown"


def test_intervals_on_resampled_evaluations_hold_the_difference(load, resampled_ap) -> None:
    module = load("image_verdicts")
    coverage = module.measure_coverage(module.Pools(resampled_ap, resampled_ap, 30), 3, 10)
    # Four standard errors of a share of 5 % in 100.
    assert coverage["seeds and images"] >= 0.95 - 0.09


def test_evaluators_are_compared_with_pycocotools(load, tmp_path: Path) -> None:
    module = load("evaluators")
    for name, sets in module.list_cases(None):
        assert module.compare(module.REFERENCE, sets[:1], tmp_path) == "equal", name
    truth, results = module.draw_set(0)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    tables = module.REFERENCE.evaluate(path, results)
    assert tables.compare(module.REFERENCE.evaluate(path, results[:-50])) > 0
    assert module.Evaluator("no-such-package", ("a", "b"), ("a", "b")).version is None


@pytest.mark.parametrize("population", ["both", "seeds", "images"])
def test_simulated_intervals_for_other_images_hold_the_difference(load, population: str) -> None:
    module = load("bootstrap")
    simulation = module.Simulation(images=50, resamples=50, effects=module.POPULATIONS[population])
    sweeps = 100
    coverage = module.measure_coverage(3, sweeps, module.find_truth(sweeps * 5, simulation), simulation)
    # Four standard errors of a share of 5 % in so many.
    assert coverage["seeds and images"] >= 0.95 - 0.09
    assert coverage["seeds and images"] >= coverage["seeds alone"]


def test_intervals_for_other_images_are_timed(load, capsys: pytest.CaptureFixture[str]) -> None:
    assert load("bootstrap").time_intervals(3, images=10, resamples=20) > 0
    assert "9 arms, 3 seeds, 10 images of 3 classes, 20 resamples" in capsys.readouterr().out


@pytest.mark.slow
def test_training_step_and_inference(load) -> None:
    step = load("train_step")
    check(step.case(1, (64, 96), torch.device("cpu"), "fp32", False, None))
    check(step.case(1, (64, 96), torch.device("cpu"), "bf16", False, None))
    check(step.embedded_case())
    check(load("inference").case(1, (64, 96)))


def test_rows_of_exported_files_are_kept_for_their_own_measurement_alone(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("export")
    row = module.Row("torchvision", "eager", None, Latency(1.0, 2.0, 1, 1, (64, 64), 1, "cpu", "torch 2", ""), 1.0)
    monkeypatch.setattr(module, "train_preset", lambda *_: None)
    calls: list[str] = []

    def measure(name: str, *_: object) -> list:
        calls.append(name)
        return [row]

    monkeypatch.setattr(module, "rows_of", measure)
    # With whether it is measured again.
    for steps, runs, commit, dirty, measured in (
        (200, 40, "ab12", "false", True),
        (200, 40, "ab12", "false", False),
        (100, 40, "ab12", "false", True),
        (200, 20, "ab12", "false", True),
        (200, 40, "cd34", "false", True),
        (200, 40, "cd34", "true", True),
        (200, 40, "cd34", "true", True),
    ):
        before = len(calls)
        found = Commit(commit, dirty)
        monkeypatch.setattr(module, "git_commit", lambda _, found=found: found)
        rows = module.measured("torchvision", tmp_path, Namespace(steps=steps, runs=runs))
        assert module.table(rows) == module.table([row])
        assert (len(calls) > before) == measured, (steps, runs, commit, dirty)


def test_the_table_of_exported_files_names_its_conditions_and_the_goal(load) -> None:
    module = load("export")

    def row(detector: str, format: str, p50: float, runtime: str) -> object:
        latency = Latency(p50, 2 * p50, 40, 1, (128, 160), 1, "cpu", runtime, "ab")
        return module.Row(detector, format, None, latency, 1.0)

    eager, file = "torch 2.15", "onnxruntime 1.32"
    rows = [row("one", "eager", 2.6, eager), row("one", "ONNX", 2.0, file), row("one", "ONNX --raw", 9.0, file)]
    rows += [row("two", "eager", 2.5, eager), row("two", "ONNX", 2.0, file)]
    assert module.conditions(rows, "ab12") == (
        "Batch 1 of 160x128 pixels, threads: 1, device: cpu, torch 2.15 and onnxruntime 1.32, 40 warm runs, commit "
        "ab12. ONNX is at least 1.3 times as fast as eager (goal 1.3) for 1 of 2 detectors, not for two."
    )
    assert module.conditions(rows[:3], "ab12").endswith("for 1 of 1 detectors.")


def test_a_part_of_the_exported_files_is_not_written_as_the_table(
    load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("export")
    monkeypatch.setattr(sys, "argv", ["export.py", "--only", "torchvision", "--write"])
    with pytest.raises(SystemExit):
        module.main()
    assert "--write puts the whole table into the document; leave out --only" in capsys.readouterr().err


def test_a_difference_ends_the_benchmark(load) -> None:
    module = load("side_by_side")

    def same(peer: int, ours: int) -> str:
        module.require(peer == ours, f"{peer} and {ours}")
        return "equal"

    with pytest.raises(SystemExit, match="sums: the results differ: 1 and 2"):
        module.measure(module.Case("sums", lambda: 1, lambda: 2, same), budget=0, least=1)
    result = module.measure(module.Case("sums", lambda: 1, lambda: 1, same), budget=0, least=1)
    assert result.same == "equal" and result.rounds == 1
