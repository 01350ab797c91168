"""Race of a search's points over seeds: what is trained next, and which point leads (pure functions).

Every point gets its seeds one by one and in the same order. The leader is the incumbent of SMAC3's intensification
(arXiv 2109.09831): a point takes the lead only if it has every seed of the leader and a better mean over them, and gets
another seed only while it does not surely lose on the seeds that both have. Of few seeds the spread of one pair of
points is poorly known, so it is pooled over all of them. Nothing is remembered but results: the same results in the
same order of points give the same race.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# A challenger is dropped where a one-sided t-test against the leader reaches this level.
DROP_LEVEL = 0.1
# Degrees of freedom of the pooled spread below which no challenger is dropped.
LEAST_FREEDOM = 3
# Share of all trainings that are the first of their point.
DRAWN_SHARE = 0.6


@dataclass(frozen=True)
class Contender:
    """A point and what its trainings gave."""

    name: str
    # Seed -> metric of an ended training; None where it failed or is not finite.
    values: Mapping[int, float | None]
    # Whether a training of it has begun and not ended.
    running: bool = False
    # Whether its first training was stopped early: its value is of that step.
    pruned: bool = False

    @property
    def mean(self) -> float | None:
        """Mean over its seeds; None where one failed, or none has ended."""
        known = [value for value in self.values.values() if value is not None]
        return sum(known) / len(known) if known and len(known) == len(self.values) else None


@dataclass(frozen=True)
class RaceRules:
    """Seeds that a point may get, in their order; the better end of the metric; the number of trainings."""

    seeds: tuple[int, ...]
    mode: Literal["max", "min"]
    trials: int
    # Points that are sampled before one gets its second seed.
    points: int
    # Whether every point gets every seed, as several objectives have no leader.
    all_seeds: bool = False

    @classmethod
    def of(cls, seeds: tuple[int, ...], mode: Literal["max", "min"], trials: int) -> "RaceRules":
        """Return the rules of a search that samples as many points as it can still race."""
        return cls(seeds, mode, trials, trials if len(seeds) == 1 else math.ceil(DRAWN_SHARE * trials))


@dataclass(frozen=True)
class Standings:
    """The leading point, None before any has ended, and those that get no more seeds."""

    leader: str | None
    lost: frozenset[str]


@dataclass(frozen=True)
class TrainSeed:
    """The next training: a point with its next seed."""

    name: str
    seed: int


Decision = TrainSeed | Literal["sample", "wait", "end"]


def judge(contenders: Sequence[Contender], rules: RaceRules) -> Standings:
    """Return the leader, and the points that failed, were pruned, or surely lose against it."""
    sign = 1 if rules.mode == "max" else -1
    scores = {
        each.name: {seed: sign * value for seed, value in each.values.items() if value is not None}
        for each in contenders
        if not each.pruned and each.mean is not None
    }
    leader = None
    # Those with the most seeds first: a point of one seed has nothing to take the lead with.
    for name in sorted(scores, key=lambda name: -len(scores[name])):
        if leader is None or _overtakes(scores[name], scores[leader]):
            leader = name
    lost = {each.name for each in contenders if each.values and each.name not in scores}
    if leader is None or rules.all_seeds:
        return Standings(None, frozenset(lost))
    gaps = {name: _differences(of, scores[leader]) for name, of in scores.items() if name != leader}
    deviation, freedom = _pooled_deviation(list(gaps.values()))
    if freedom >= LEAST_FREEDOM:
        # Loaded by the few sweeps that are races.
        from scipy.special import stdtrit

        bound = -float(stdtrit(freedom, 1 - DROP_LEVEL)) * deviation
        lost |= {name for name, gap in gaps.items() if gap and _mean(gap) < bound / math.sqrt(len(gap))}
    return Standings(leader, frozenset(lost))


def decide(contenders: Sequence[Contender], rules: RaceRules, *, can_sample: bool = True) -> Decision:
    """Return what to do next: a seed for a point, sample a point, wait for results, or end.

    can_sample: whether the searcher has points left.
    """
    begun = sum(len(each.values) + each.running for each in contenders)
    is_running = any(each.running for each in contenders)
    if begun >= rules.trials:
        return "wait" if is_running else "end"
    unbegun = next((each for each in contenders if not each.values and not each.running), None)
    if unbegun is not None:
        return TrainSeed(unbegun.name, rules.seeds[0])
    if rules.all_seeds:
        seed = _next_of_all(contenders, rules)
        return seed or ("sample" if can_sample else "wait" if is_running else "end")
    if can_sample and len(contenders) < rules.points:
        return "sample"
    seed = _next_seed(contenders, rules)
    if seed is not None:
        return seed
    return "wait" if is_running else "sample" if can_sample else "end"


def _next_of_all(contenders: Sequence[Contender], rules: RaceRules) -> TrainSeed | None:
    """Return the next seed of the first point that has not failed and lacks one."""
    lost = judge(contenders, rules).lost
    free = [each for each in contenders if each.name not in lost and not each.running]
    return next((seed for each in free if (seed := _seed_after(each, rules)) is not None), None)


def _next_seed(contenders: Sequence[Contender], rules: RaceRules) -> TrainSeed | None:
    """Return the next seed in the race: of the best challenger behind in seeds, else of the leader.

    None where those that may get one are running or have all seeds.
    """
    standings = judge(contenders, rules)
    by_name = {each.name: each for each in contenders}
    if standings.leader is None:
        return None
    leader = by_name[standings.leader]
    sign = 1 if rules.mode == "max" else -1
    behind = [
        each
        for each in contenders
        if each.values and each.name not in standings.lost and len(each.values) < len(leader.values)
    ]
    # A challenger that is behind and running may yet overtake: the leader gets no seed before.
    free = [each for each in behind if not each.running]
    if free:
        best = max(free, key=lambda each: sign * _mean(_differences(each.values, leader.values)))
        return _seed_after(best, rules)
    return None if behind or leader.running else _seed_after(leader, rules)


def _seed_after(contender: Contender, rules: RaceRules) -> TrainSeed | None:
    left = [seed for seed in rules.seeds if seed not in contender.values]
    return TrainSeed(contender.name, left[0]) if left else None


def _overtakes(challenger: Mapping[int, float], leader: Mapping[int, float]) -> bool:
    if not set(leader) <= set(challenger):
        return False
    return _mean(_differences(challenger, leader)) > 0


def _differences(values: Mapping[int, float | None], leader: Mapping[int, float | None]) -> list[float]:
    """Return the differences over the seeds that both have."""
    pairs = [(values[seed], leader[seed]) for seed in leader if seed in values]
    return [value - other for value, other in pairs if value is not None and other is not None]


def _pooled_deviation(gaps: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the deviation of a paired difference, pooled over the challengers, and its degrees of freedom."""
    freedom = sum(max(0, len(gap) - 1) for gap in gaps)
    squares = sum((value - _mean(gap)) ** 2 for gap in gaps for value in gap)
    return (math.sqrt(squares / freedom) if freedom else math.inf), freedom


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else -math.inf
