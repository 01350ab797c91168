"""How often a search finds settings near the best under noise, simulated: python benchmarks/search_noise.py [--quick]

Searches on drawn surfaces instead of trainings, decided by the code that sweeps use: Optuna's TPE, Tune's ASHA and the
race over seeds. Each repetition draws a surface, searches it with a race, and with one seed for as many steps as the
race took. A choice is good where its true AP is within 1.0 of the best (the default of experiment.margin).

- choices: six keys of three choices with drawn effects of each and of each pair: neighbours predict little of a point.
- smooth: three ranges and two choices with losses of their own: the model of TPE itself averages over neighbours.

Surfaces are in percent points of AP. A training adds to its true AP what its seed does to all points alike, and what
the seed does to this point alone; --noise is the deviation of both together. No surface has a shape that trainings were
seen to have: they show what noise does to a choice.
"""

import argparse
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from fcos.config.parse import parse
from orchestration.config.search import Distribution, StrategyConfig
from orchestration.search.race import Contender, RaceRules, TrainSeed, decide, judge
from orchestration.search.samplers import METRIC, STEP, make_scheduler, make_searcher, propose
from orchestration.search.space import Point

SMOOTH: Mapping[str, Distribution] = {
    "norm": parse(Distribution, {"choice": ["gn", "bn"]}),
    "radius": parse(Distribution, {"choice": [None, 1.0, 1.5, 2.0]}),
    "rate": parse(Distribution, {"loguniform": [0.002, 0.05]}),
    "regression_weight": parse(Distribution, {"loguniform": [0.5, 4.0]}),
    "quality_weight": parse(Distribution, {"loguniform": [0.25, 2.0]}),
}
CHOICES: Mapping[str, Distribution] = {f"key{n}": parse(Distribution, {"choice": [0, 1, 2]}) for n in range(6)}
# AP that is lost by each choice, and at the far end of a range of which the optimum is in the middle.
CHOICE_LOSSES = {"norm": (0.0, 2.5), "radius": (3.0, 0.4, 0.0, 0.8)}
RANGE_LOSSES = {"rate": 10.0, "regression_weight": 2.5, "quality_weight": 1.0}
# Of a surface of choices: deviation of the effect of a choice, and of that of two together.
MAIN_EFFECT, PAIR_EFFECT = 1.5, 0.75
BEST_AP = 36.0
# Share of the noise's variance that a seed does to all points alike.
SHARED = 0.25
STEPS, EVAL_EVERY = 400, 50
GOOD_REGRET = 1.0


@dataclass
class Surface(ABC):
    """A surface of true APs, and the noise of the trainings on it."""

    generator: np.random.Generator
    noise: float
    steps_taken: int = 0
    _noise_of: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    @abstractmethod
    def space(self) -> Mapping[str, Distribution]:
        """The space of its points."""

    @abstractmethod
    def regret(self, point: Point) -> float:
        """Return how much AP a point loses against the best."""

    def value(self, point: Point, seed: int, step: int) -> float:
        """Return the AP of a training at a step."""
        ap = (BEST_AP - self.regret(point)) * (1 - math.exp(-5 * step / STEPS))
        return ap + self._draw("", seed, SHARED) + self._draw(str(sorted(point.items())), seed, 1 - SHARED)

    def _draw(self, name: str, seed: int, share: float) -> float:
        """Return a part of a training's noise, the same whenever it is looked at."""
        if (name, seed) not in self._noise_of:
            self._noise_of[name, seed] = float(self.generator.normal(0, self.noise * math.sqrt(share)))
        return self._noise_of[name, seed]

    def train(self, point: Point, seed: int, should_stop: Callable[[int, float], bool]) -> tuple[float, bool]:
        """Return the last AP of a training, and whether it was stopped early; counts its steps."""
        for step in range(EVAL_EVERY, STEPS + 1, EVAL_EVERY):
            self.steps_taken += EVAL_EVERY
            value = self.value(point, seed, step)
            if should_stop(step, value) and step < STEPS:
                return value, True
        return value, False


@dataclass
class SmoothSurface(Surface):
    """Three ranges and two choices, each with a loss of its own; the optimum of the ranges is drawn."""

    space = SMOOTH

    def __post_init__(self) -> None:
        self._optimum = {key: self.generator.uniform(0.25, 0.75) for key in RANGE_LOSSES}

    def regret(self, point: Point) -> float:
        """Return the sum of the losses."""
        lost = sum(losses[point[key]] for key, losses in CHOICE_LOSSES.items())
        for key, loss in RANGE_LOSSES.items():
            low, high = SMOOTH[key].loguniform or (1.0, 1.0)
            position = math.log(point[key] / low) / math.log(high / low)
            lost += 4 * loss * (position - self._optimum[key]) ** 2
        return lost


@dataclass
class ChoiceSurface(Surface):
    """Six keys of three choices, 729 points, with drawn effects of each choice and of each pair."""

    space = CHOICES

    def __post_init__(self) -> None:
        num = len(CHOICES)
        main = self.generator.normal(0, MAIN_EFFECT, (num, 3))
        pairs = self.generator.normal(0, PAIR_EFFECT, (num, num, 3, 3))
        ap: np.ndarray = np.zeros((3,) * num)
        for points in np.ndindex(ap.shape):
            ap[points] = sum(main[key, choice] for key, choice in enumerate(points))
            ap[points] += sum(pairs[i, j, points[i], points[j]] for j in range(num) for i in range(j))
        self._regret = ap.max() - ap

    def regret(self, point: Point) -> float:
        """Return the distance to the best of all points."""
        return float(self._regret[tuple(point[key] for key in CHOICES)])


SURFACES: Mapping[str, type[Surface]] = {"choices": ChoiceSurface, "smooth": SmoothSurface}


class EarlyStopping:
    """Tune's ASHA, as a sweep sets it up; never stops with another strategy."""

    def __init__(self, strategy: StrategyConfig) -> None:
        # It reads the name of a trial alone.
        self._scheduler: Any = make_scheduler(strategy, "max", STEPS)

    def of(self, name: str) -> Callable[[int, float], bool]:
        """Return what judges the evaluations of one training."""
        trial = SimpleNamespace(trial_id=name)
        self._scheduler.on_trial_add(None, trial)

        def should_stop(step: int, value: float) -> bool:
            action = self._scheduler.on_trial_result(None, trial, {METRIC: value, STEP: step})
            return bool(action == TrialScheduler.STOP)

        return should_stop


@dataclass(frozen=True)
class Choice:
    """The point that a search chose: what it lost against the best, and by how much its own value was too high."""

    regret: float
    gap: float
    points: int


def never(step: int, value: float) -> bool:
    """Judge a training that runs to its end."""
    return False


def race(surface: Surface, strategy: StrategyConfig, seeds: Sequence[int], trials: int) -> Choice:
    """Search with several seeds, as a sweep does."""
    rules, stopping = RaceRules.of(tuple(seeds), "max", trials), EarlyStopping(strategy)
    points: dict[str, Point] = {}
    results: dict[str, dict[int, float | None]] = {}
    pruned: set[str] = set()
    while (decision := decide(list_contenders(results, pruned), rules)) != "end":
        if isinstance(decision, TrainSeed):
            value, _ = surface.train(points[decision.name], decision.seed, never)
            results[decision.name][decision.seed] = value
            continue
        known = [(points[each.name], [each.mean or 0.0]) for each in list_contenders(results, pruned)]
        name = f"t{len(points):03d}"
        points[name] = propose(strategy, surface.space, ["max"], known, sampled=len(points))
        value, was_pruned = surface.train(points[name], seeds[0], stopping.of(name))
        results[name] = {seeds[0]: value}
        pruned |= {name} if was_pruned else set()
    contenders = list_contenders(results, pruned)
    leader = judge(contenders, rules).leader
    assert leader is not None
    mean = next(each.mean for each in contenders if each.name == leader) or 0.0
    return make_choice(surface, points[leader], mean, len(points))


def list_contenders(results: Mapping[str, Mapping[int, float | None]], pruned: set[str]) -> list[Contender]:
    """Return the points as the race takes them."""
    return [Contender(name, values, pruned=name in pruned) for name, values in results.items()]


def search_one_seed(surface: Surface, strategy: StrategyConfig, steps: int) -> Choice:
    """Search with one seed until so many steps are taken, and choose the best that was trained to its end."""
    inner, stopping = make_searcher(strategy, surface.space, "max", []), EarlyStopping(strategy)
    ended: list[tuple[float, Point]] = []
    first, count = surface.steps_taken, 0
    while surface.steps_taken - first < steps:
        point, count = inner.suggest(str(count)) or {}, count + 1
        value, was_pruned = surface.train(point, 0, stopping.of(str(count - 1)))
        inner.on_trial_complete(str(count - 1), {METRIC: value})
        if not was_pruned:
            ended.append((value, point))
    value, point = max(ended, key=lambda each: each[0])
    return make_choice(surface, point, value, count)


def make_choice(surface: Surface, point: Point, value: float, points: int) -> Choice:
    """Return a choice with its regret and the part of its value that was luck."""
    regret = surface.regret(point)
    return Choice(regret, value - (BEST_AP - regret) * (1 - math.exp(-5)), points)


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description="How often a noisy search finds settings near the best, simulated.")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--trials", type=int, nargs="+", default=[48], help="trainings of a race")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3], help="most seeds of a point")
    parser.add_argument("--noise", type=float, nargs="+", default=[2.0], help="deviation in points of AP")
    parser.add_argument("--quick", action="store_true", help="20 repetitions")
    options = parser.parse_args()
    repetitions, start = 20 if options.quick else options.repetitions, time.process_time()
    print(
        f"share of good choices (regret at most {GOOD_REGRET}), mean regret, gap of the chosen value; in points of AP"
    )
    print(f"{repetitions} repetitions, equal steps, tpe_asha\n")
    print(f"{'surface':>8}{'noise':>6}{'trials':>8}{'seeds':>7}{'one seed':>26}{'race':>26}{'good, relative':>16}")
    cells = product(SURFACES, options.noise, options.trials, options.seeds)
    for name, noise, trials, seeds in cells:
        line = compare(partial(SURFACES[name], noise=noise), trials, seeds, repetitions)
        print(f"{name:>8}{noise:>6.1f}{trials:>8}{seeds:>7}{line}", flush=True)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


def compare(make_surface: Callable[[np.random.Generator], Surface], trials: int, seeds: int, repetitions: int) -> str:
    """Return the results of a line of the table."""
    single, raced = [], []
    for repetition in range(repetitions):
        strategy = StrategyConfig(searcher="tpe", early_stopping="asha", seed=1000 * repetition)
        surface = make_surface(np.random.default_rng([repetition, trials, seeds]))
        raced.append(race(surface, strategy, range(seeds), trials))
        single.append(search_one_seed(surface, strategy, surface.steps_taken))
    good = [sum(choice.regret <= GOOD_REGRET for choice in of) / repetitions for of in (single, raced)]
    gain = f"{100 * (good[1] / good[0] - 1):+.0f} %" if good[0] else "-"
    return f"{describe(single):>26}{describe(raced):>26}{gain:>16}"


def describe(choices: Sequence[Choice]) -> str:
    """Return good choices in percent, mean regret, and mean gap."""
    good = np.mean([choice.regret <= GOOD_REGRET for choice in choices])
    regret, gap = np.mean([choice.regret for choice in choices]), np.mean([choice.gap for choice in choices])
    return f"{100 * good:.0f} %  {regret:.2f}  {gap:+.2f}"


if __name__ == "__main__":
    main()
