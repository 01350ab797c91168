"""Benchmarks of searches and of shared first steps check their own results, at sizes that take no time."""

import sys
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fcos.config.run import Config
from fcos.runtime import LocalRuntime
from orchestration.config.search import StrategyConfig
from orchestration.search.space import Point

TPE_ASHA = StrategyConfig(searcher="tpe", early_stopping="asha")
TINY_DATA = ("data.synthetic.train_images=24", "data.synthetic.val_images=6")


def few_choices(module: ModuleType, noise: float) -> Any:
    """Return a surface of 81 points."""
    return module.SURFACES["few"](np.random.default_rng(0), noise)


def test_searches_of_a_surface_without_noise_know_what_their_choice_is_worth(load) -> None:
    module = load("search_noise")
    surface = few_choices(module, 0.0)
    raced = module.race(surface, TPE_ASHA, range(2), 10)
    steps = surface.steps_taken
    single = module.search_one_seed(surface, TPE_ASHA, steps)
    assert surface.steps_taken >= 2 * steps
    assert raced.gap == pytest.approx(0) and single.gap == pytest.approx(0)
    assert raced.points >= 6 and single.points >= 6


def test_a_search_trains_no_point_twice(load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("search_noise")
    monkeypatch.setattr(module, "MOST_MISSES", 5)
    trained: list[str] = []

    def train(point: Point, seed: int, should_stop: object) -> tuple[float, bool]:
        trained.append(str(point))
        return 0.5, False

    for search in (partial(module.search_one_seed, steps=10**6), partial(module.race, seeds=range(1), trials=10**6)):
        surface = few_choices(module, 2.0)
        monkeypatch.setattr(surface, "train", train)
        trained.clear()
        # Both end before their steps do, for want of points.
        assert search(surface, TPE_ASHA).points == len(trained) == len(set(trained)) <= 81


def test_a_surface_of_choices_has_one_best_point_and_one_with_ranges_has_none(load) -> None:
    module = load("search_noise")
    surface = few_choices(module, 2.0)
    points = [dict(zip(surface.space, values, strict=True)) for values in product(range(3), repeat=4)]
    choices = [module.Choice(surface.regret(point), 0.0, 1) for point in points]
    assert sum(each.is_best for each in choices) == 1 <= sum(each.is_good for each in choices) < 81
    assert surface.has_best_point
    assert not module.SURFACES["smooth"](np.random.default_rng(0), 2.0).has_best_point


def test_the_gain_of_a_race_is_paired_over_repetitions(load) -> None:
    module = load("search_noise")
    rarely, often = [True] * 20 + [False] * 80, [True] * 40 + [False] * 60
    assert module.measure_gain(often, often) == module.Gain(0.0, 0.0, 0.0)
    gain = module.measure_gain(rarely, often)
    assert gain.relative == 1.0 and 0.4 < gain.low < 1.0 < gain.high < 2.5
    # The same shares, in other repetitions.
    apart = module.measure_gain(rarely, often[::-1])
    assert apart.relative == 1.0 and apart.low < gain.low and gain.high < apart.high
    assert module.measure_gain([False] * 5, [True] * 5).relative == np.inf
    assert module.measure_gain([False] * 5, [False] * 5) == module.Gain(0.0, 0.0, 0.0)


def test_a_simulation_of_searches_names_the_steps_that_are_equal(
    load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("search_noise")
    words = ["search_noise.py", "--repetitions", "2", "--trials", "5", "--seeds", "2", "--confirming", "2"]
    monkeypatch.setattr(sys, "argv", words)
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert "equal steps: those of all trainings that choose, and of 2 more for one seed" in lines[0]
    first_words = [line.split()[0] for line in lines if line.split()]
    assert [word for word in first_words if word in module.SURFACES] == list(module.SURFACES)
    assert sum(" gain " in line for line in lines) == len(module.SURFACES)


def test_warm_and_cold_searches_are_compared_over_points_that_no_two_seeds_share(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("warm_start")
    base = module.compose_base(4, "coverage", *TINY_DATA, f"data.cache_dir={tmp_path}")
    real = module.evaluate
    evaluated: list[Config] = []

    def evaluate(config: Config, runtime: LocalRuntime) -> float:
        """Evaluate the first point as it is, and give each later one more."""
        evaluated.append(config)
        return float(real(config, runtime)) if len(evaluated) == 1 else len(evaluated) / 100

    monkeypatch.setattr(module, "evaluate", evaluate)
    ways = module.compare("coverage", base, num_earlier=3, trials=4, seeds=3)
    assert {way: [len(curve) for curve in curves] for way, curves in ways.items()} == {"cold": [4] * 3, "warm": [4] * 3}
    assert all(curve == sorted(curve) for curves in ways.values() for curve in curves)
    assert "coverage: 3 points given" in capsys.readouterr().out
    radii = [config.model.assignment.center_sampling_radius for config in evaluated[3:]]
    cold = [radius for number, radius in enumerate(radii) if number % 8 < 4]
    assert len(set(cold)) == len(cold) == 3 * 4


def test_a_warm_start_is_measured_beyond_the_points_that_are_drawn_at_random(
    load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("warm_start")
    monkeypatch.setattr(sys, "argv", ["warm_start.py", "--trials", "10"])
    with pytest.raises(SystemExit):
        module.main()
    assert "--trials 10: TPE draws 10 points at random" in capsys.readouterr().err


def test_first_steps_in_common_give_the_metrics_of_trainings_from_the_start(
    load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *load("warm_start").TINY,
        *TINY_DATA,
        f"data.cache_dir={tmp_path / 'cache'}",
        *("schedule.steps=6", "schedule.warmup_steps=2", "schedule.eval_every=6", "schedule.checkpoint_every=6"),
        *("~experiment.arms.none", "~experiment.arms.step_to_half", "experiment.arms.step.schedule.milestones=[4,5]"),
    ]
    assert load("first_steps").measure(words, tmp_path / "outputs")
    output = capsys.readouterr().out
    # The cosine has one step more than the warm-up in common with the other arm.
    assert "steps: 9 of 12, 75.0 %" in output and "metrics: equal" in output
