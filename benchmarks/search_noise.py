"""How often a search finds settings near the best under noise, simulated: python benchmarks/search_noise.py [--quick]

Searches on drawn surfaces (search_surfaces.py) instead of trainings, decided by the code that sweeps use: Optuna's TPE,
Tune's ASHA and the race over seeds. Each repetition draws a surface, searches it with a race, and with one seed for as
many steps as the race took. Counted is how often the best of all points is chosen, and how often one whose true AP is
within 1.0 of it (the default of experiment.margin). The gain of the race is relative to one seed; its 95 % interval is
that of resampled repetitions, each of which both searches share.

Equal steps are those of all trainings of the race: of its points, and of their further seeds. The trainings that then
confirm its winner (two for each of search.confirm_seeds) choose nothing and are in neither; with --confirming 12 one
seed gets the steps of so many more. --noise is the deviation of an AP over seeds. What is seen is what noise does to a
choice; no surface has a shape that trainings were seen to have.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler
from search_surfaces import BEST_AP, STEPS, SURFACES, Surface

from orchestration.config.search import StrategyConfig
from orchestration.search.points import MOST_MISSES
from orchestration.search.race import Contender, RaceRules, TrainSeed, decide, judge
from orchestration.search.samplers import METRIC, STEP, make_scheduler, make_searcher, propose
from orchestration.search.space import Point

GOOD_REGRET = 1.0
# Of the repetitions, for the interval of a gain.
RESAMPLES = 10_000


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

    @property
    def is_best(self) -> bool:
        """Whether no point is better."""
        return self.regret < 1e-9

    @property
    def is_good(self) -> bool:
        """Whether no point is better by what matters."""
        return self.regret <= GOOD_REGRET


def never(step: int, value: float) -> bool:
    """Judge a training that runs to its end."""
    return False


def race(surface: Surface, strategy: StrategyConfig, seeds: Sequence[int], trials: int) -> Choice:
    """Search with several seeds, as a sweep does."""
    rules, stopping = RaceRules.of(tuple(seeds), "max", trials), EarlyStopping(strategy)
    points: dict[str, Point] = {}
    results: dict[str, dict[int, float | None]] = {}
    pruned: set[str] = set()
    has_more = True
    while (decision := decide(list_contenders(results, pruned), rules, can_sample=has_more)) != "end":
        if isinstance(decision, TrainSeed):
            value, _ = surface.train(points[decision.name], decision.seed, never)
            results[decision.name][decision.seed] = value
            continue
        known = [(points[each.name], [each.mean or 0.0]) for each in list_contenders(results, pruned)]
        point = draw_new(surface, strategy, known)
        if point is None:
            has_more = False
            continue
        name = f"t{len(points):03d}"
        points[name] = point
        value, was_pruned = surface.train(point, seeds[0], stopping.of(name))
        results[name] = {seeds[0]: value}
        pruned |= {name} if was_pruned else set()
    contenders = list_contenders(results, pruned)
    leader = judge(contenders, rules).leader
    assert leader is not None
    mean = next(each.mean for each in contenders if each.name == leader) or 0.0
    return make_choice(surface, points[leader], mean, len(points))


def draw_new(surface: Surface, strategy: StrategyConfig, known: Sequence[tuple[Point, list[float]]]) -> Point | None:
    """Return a point that was not drawn before, as a sweep does; None where TPE proposes known ones alone.

    known: the points that were drawn, with their values.
    """
    given = list(known)
    for attempt in range(MOST_MISSES):
        point = propose(strategy, surface.space, ["max"], given, sampled=len(known) + attempt)
        values = next((values for each, values in known if each == point), None)
        if values is None:
            return point
        given.append((point, values))
    return None


def list_contenders(results: Mapping[str, Mapping[int, float | None]], pruned: set[str]) -> list[Contender]:
    """Return the points as the race takes them."""
    return [Contender(name, values, pruned=name in pruned) for name, values in results.items()]


def search_one_seed(surface: Surface, strategy: StrategyConfig, steps: int) -> Choice:
    """Search with one seed until so many steps are taken, and choose the best that was trained to its end.

    A point that is drawn again is not trained again, as in a sweep; where no others are drawn, the search ends.
    """
    inner, stopping = make_searcher(strategy, surface.space, "max", []), EarlyStopping(strategy)
    trained: list[tuple[Point, float]] = []
    ended: list[tuple[float, Point]] = []
    first, misses = surface.steps_taken, 0
    while surface.steps_taken - first < steps and misses < MOST_MISSES:
        name = f"{len(trained)}.{misses}"
        point = inner.suggest(name) or {}
        before = next((value for each, value in trained if each == point), None)
        if before is not None:
            misses += 1
            inner.on_trial_complete(name, {METRIC: before})
            continue
        misses = 0
        value, was_pruned = surface.train(point, 0, stopping.of(name))
        inner.on_trial_complete(name, {METRIC: value})
        trained.append((point, value))
        if not was_pruned:
            ended.append((value, point))
    value, point = max(ended, key=lambda each: each[0])
    return make_choice(surface, point, value, len(trained))


def make_choice(surface: Surface, point: Point, value: float, points: int) -> Choice:
    """Return a choice with its regret and the part of its value that was luck."""
    regret = surface.regret(point)
    return Choice(regret, value - (BEST_AP - regret) * (1 - math.exp(-5)), points)


@dataclass(frozen=True)
class Outcome:
    """The choices of all repetitions: of searches with one seed, and of races with as many steps."""

    single: tuple[Choice, ...]
    raced: tuple[Choice, ...]
    has_best_point: bool


def measure(
    make_surface: Callable[[np.random.Generator], Surface],
    trials: int,
    seeds: int,
    repetitions: int,
    confirming: int = 0,
) -> Outcome:
    """Search a surface both ways in each repetition.

    confirming: number of trainings whose steps one seed gets in addition.
    """
    single, raced, has_best_point = [], [], True
    for repetition in range(repetitions):
        strategy = StrategyConfig(searcher="tpe", early_stopping="asha", seed=repetition)
        surface = make_surface(np.random.default_rng([repetition, trials, seeds]))
        has_best_point = surface.has_best_point
        raced.append(race(surface, strategy, range(seeds), trials))
        single.append(search_one_seed(surface, strategy, surface.steps_taken + confirming * STEPS))
    return Outcome(tuple(single), tuple(raced), has_best_point)


@dataclass(frozen=True)
class Gain:
    """By how much a race succeeds more often than one seed, relative, and the ends of its 95 % interval."""

    relative: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.relative:+.0f} % ({100 * self.low:+.0f} to {100 * self.high:+.0f})"


def measure_gain(single: Sequence[bool], raced: Sequence[bool]) -> Gain:
    """Return the gain of a race over the same repetitions, whose interval is that of resampled repetitions."""
    counts = Counter(zip(single, raced, strict=True))
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    shares = [counts[pair] / len(single) for pair in pairs]
    both, one_alone, race_alone, _ = np.random.default_rng(0).multinomial(len(single), shares, size=RESAMPLES).T
    gains = np.sort(compute_gain(both + one_alone, both + race_alone))
    low, high = (float(gains[int(share * RESAMPLES)]) for share in (0.025, 0.975))
    return Gain(float(compute_gain(np.array(sum(single)), np.array(sum(raced)))), low, high)


def compute_gain(single: np.ndarray, raced: np.ndarray) -> np.ndarray:
    """Return the relative gain of counts; 0 where both are 0, infinite where one seed alone has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(single == raced, 0.0, raced / single - 1)


HEADER = (
    f"{'surface':>8}{'noise':>7}{'trials':>8}{'seeds':>7}  "
    f"{'search':<10}{'best':>24}{'within 1.0':>24}{'regret':>8}{'gap':>8}{'points':>8}"
)


def format_outcome(outcome: Outcome) -> list[str]:
    """Return a line for one seed, one for the race, and one for its gain."""
    lines = []
    for label, of in (("one seed", outcome.single), ("race", outcome.raced)):
        best = f"{100 * fmean(each.is_best for each in of):.1f} %" if outcome.has_best_point else "-"
        good = f"{100 * fmean(each.is_good for each in of):.1f} %"
        means = f"{fmean(each.regret for each in of):>8.2f}{fmean(each.gap for each in of):>+8.2f}"
        lines.append(f"{label:<10}{best:>24}{good:>24}{means}{fmean(each.points for each in of):>8.1f}")
    single, raced = outcome.single, outcome.raced
    best = str(measure_gain([each.is_best for each in single], [each.is_best for each in raced]))
    good = str(measure_gain([each.is_good for each in single], [each.is_good for each in raced]))
    return [*lines, f"{'gain':<10}{best if outcome.has_best_point else '-':>24}{good:>24}"]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description="How often a noisy search finds settings near the best, simulated.")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--trials", type=int, nargs="+", default=[48], help="trainings of a race")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3], help="most seeds of a point")
    parser.add_argument("--noise", type=float, nargs="+", default=[2.0], help="deviation in points of AP")
    parser.add_argument("--confirming", type=int, default=0, help="trainings whose steps one seed gets in addition")
    parser.add_argument("--quick", action="store_true", help="20 repetitions")
    options = parser.parse_args()
    repetitions, start = 20 if options.quick else options.repetitions, time.process_time()
    more = f", and of {options.confirming} more for one seed" if options.confirming else ""
    print(f"{repetitions} repetitions of tpe_asha; equal steps: those of all trainings that choose{more}")
    print(f"best, within {GOOD_REGRET}: share of searches; regret: mean loss against the best; gap: luck of the choice")
    print("gain: of the race, relative, with its 95 % interval over the repetitions\n")
    print(HEADER)
    for name, noise, trials, seeds in product(SURFACES, options.noise, options.trials, options.seeds):
        outcome = measure(partial(SURFACES[name], noise=noise), trials, seeds, repetitions, options.confirming)
        cell = f"{name:>8}{noise:>7.1f}{trials:>8}{seeds:>7}"
        for number, line in enumerate(format_outcome(outcome)):
            print(f"{'' if number else cell:>30}  {line}", flush=True)
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
