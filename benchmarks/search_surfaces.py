"""Surfaces that simulated searches search (search_noise.py): true APs of points, and the noise of trainings on them.

- few: four keys of three choices, 81 points with drawn effects of each choice and of each pair.
- choices: the same with six keys, 729 points, of which the best is seldom drawn: neighbours predict little of a point.
- smooth: three ranges and two choices with losses of their own: the model of TPE itself averages over neighbours. None
  of its points is the best.

Surfaces are in percent points of AP. A training adds to its true AP what its seed does to all points alike, and what
the seed does to this point alone. No surface has a shape that trainings were seen to have.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fcos.config.parse import parse
from orchestration.config.search import Distribution
from orchestration.search.space import Point

SMOOTH: Mapping[str, Distribution] = {
    "norm": parse(Distribution, {"choice": ["gn", "bn"]}),
    "radius": parse(Distribution, {"choice": [None, 1.0, 1.5, 2.0]}),
    "rate": parse(Distribution, {"loguniform": [0.002, 0.05]}),
    "regression_weight": parse(Distribution, {"loguniform": [0.5, 4.0]}),
    "quality_weight": parse(Distribution, {"loguniform": [0.25, 2.0]}),
}
CHOICES: Mapping[str, Distribution] = {f"key{n}": parse(Distribution, {"choice": [0, 1, 2]}) for n in range(6)}
FEW: Mapping[str, Distribution] = dict(list(CHOICES.items())[:4])
# AP that is lost by each choice, and at the far end of a range of which the optimum is in the middle.
CHOICE_LOSSES = {"norm": (0.0, 2.5), "radius": (3.0, 0.4, 0.0, 0.8)}
RANGE_LOSSES = {"rate": 10.0, "regression_weight": 2.5, "quality_weight": 1.0}
# Of a surface of choices: deviation of the effect of a choice, and of that of two together.
MAIN_EFFECT, PAIR_EFFECT = 1.5, 0.75
BEST_AP = 36.0
# Share of the noise's variance that a seed does to all points alike.
SHARED = 0.25
STEPS, EVAL_EVERY = 400, 50


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

    @property
    def has_best_point(self) -> bool:
        """Whether one of its points is the best: that of a range is never drawn."""
        return all(each.choice is not None for each in self.space.values())

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
        num = len(self.space)
        main = self.generator.normal(0, MAIN_EFFECT, (num, 3))
        pairs = self.generator.normal(0, PAIR_EFFECT, (num, num, 3, 3))
        ap: np.ndarray = np.zeros((3,) * num)
        for points in np.ndindex(ap.shape):
            ap[points] = sum(main[key, choice] for key, choice in enumerate(points))
            ap[points] += sum(pairs[i, j, points[i], points[j]] for j in range(num) for i in range(j))
        self._regret = ap.max() - ap

    def regret(self, point: Point) -> float:
        """Return the distance to the best of all points."""
        return float(self._regret[tuple(point[key] for key in self.space)])


class FewChoicesSurface(ChoiceSurface):
    """Four of these keys, 81 points: a search draws the best of them as a rule."""

    space = FEW


SURFACES: Mapping[str, type[Surface]] = {"few": FewChoicesSurface, "choices": ChoiceSurface, "smooth": SmoothSurface}
