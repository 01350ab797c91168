"""A search over several seeds: what is trained next, found again from the plan and the trainings' folders.

Nothing about the race is remembered but the plan and the results, so that a later command, or one whose driver was
killed, goes on with the same leader.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

from fcos.storage.store_conventions import BASE_ARM, MetricPrefix
from orchestration.experiment.trials import Trial, deciding_fingerprint
from orchestration.planning.plan import Plan
from orchestration.search.points import Search
from orchestration.search.race import Contender, Decision, RaceRules, TrainSeed, decide, judge
from orchestration.search.space import Point
from orchestration.trial.failures import FailureKind, has_failed
from orchestration.trial.files import read_points

NONE: frozenset[str] = frozenset()
# failed: for good in this command; a later one tries again, unless it diverged.
Ending = Literal["open", "ended", "failed"]


@dataclass(frozen=True)
class SearchRace:
    """The race of a plan's points over the seeds of its search, and the trainings that confirm the winner."""

    plan: Plan
    search: Search
    # Identity and arm -> value and whether it was stopped early, of trainings that have ended: read once.
    _results: dict[tuple[str, str], tuple[float | None, bool]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, plan: Plan) -> "SearchRace | None":
        """Return the race of a search over several seeds, or with confirming ones; None for any other plan."""
        return cls(plan, plan.search) if plan.search is not None and plan.search.races else None

    @property
    def rules(self) -> RaceRules:
        """The rules of the race; a grid is drawn whole."""
        config = self.search.config
        rules = RaceRules.of(self.search.seeds, config.mode, config.trials)
        if len(config.metrics) > 1:
            return replace(rules, all_seeds=True)
        return replace(rules, points=config.trials) if self.search.strategy.searcher == "grid" else rules

    def contenders(self, failed: Collection[str] = NONE, running: Collection[str] = NONE) -> list[Contender]:
        """Return the points with their results.

        failed: identities of trainings that failed in this command. running: of those that have not ended in it, whose
        files need not be looked at.
        """
        of_point: dict[str, list[Trial]] = {name: [] for name in self.search.drawn}
        for trial in self.plan.trials:
            if trial.seed in self.search.seeds:
                for arm in trial.arms:
                    if arm in of_point:
                        of_point[arm].append(trial)
        return [self._contender(name, trials, failed, running) for name, trials in of_point.items()]

    def known(self) -> list[tuple[Point, list[float] | None]]:
        """Return the points that have a result, with the means over their seeds; None for those that failed."""
        return [
            (self.search.drawn[each.name].point, None if each.mean is None else self._means(each))
            for each in self.contenders()
            if each.values
        ]

    def _means(self, contender: Contender) -> list[float]:
        trials = [
            trial for trial in self.plan.trials if contender.name in trial.arms and trial.seed in contender.values
        ]
        metrics = self.search.config.metrics
        values = [[self._metric(contender.name, trial, metric) for trial in trials] for metric in metrics]
        return [fmean(of_metric) for of_metric in values]

    def _contender(
        self, name: str, trials: list[Trial], failed: Collection[str], running: Collection[str]
    ) -> Contender:
        values: dict[int, float | None] = {}
        is_running = pruned = False
        for trial in sorted(trials, key=lambda trial: self.search.seeds.index(trial.seed)):
            if trial.identity in running:
                is_running = True
            elif (result := self._result(name, trial)) is not None:
                values[trial.seed] = result[0]
                pruned |= result[1]
            elif self._ending(trial, failed) == "failed":
                values[trial.seed] = None
            else:
                is_running = True
        return Contender(name, values, is_running, pruned)

    def _result(self, name: str, trial: Trial) -> tuple[float | None, bool] | None:
        """Return the value of an ended training of an arm, and whether it was stopped early; None without a result."""
        key = (trial.identity, name)
        if key not in self._results:
            summary = self.plan.summary_of(trial)
            if summary is None:
                return None
            self._results[key] = self.value(name, trial), summary.pruned is not None
        return self._results[key]

    def _ending(self, trial: Trial, failed: Collection[str]) -> Ending:
        if self.plan.summary_of(trial) is not None:
            return "ended"
        gone = trial.identity in failed or has_failed(self.plan.folder_of(trial), FailureKind.DIVERGED)
        return "failed" if gone else "open"

    def value(self, arm: str, trial: Trial) -> float | None:
        """Return the searched metric of an ended training, the first of several; None where one is not finite."""
        values = [self._metric(arm, trial, metric) for metric in self.search.config.metrics]
        return values[0] if all(math.isfinite(value) for value in values) else None

    def _metric(self, arm: str, trial: Trial, metric: str) -> float:
        summary = self.plan.summary_of(trial)
        value = math.nan if summary is None else summary.metrics[arm].get(metric, math.nan)
        if not metric.startswith(MetricPrefix.TRAIN):
            return value
        # Logged on the way: the last value is the peak.
        points = [point for point in read_points(self.plan.folder_of(trial)) if point.key == metric]
        return max(points, key=lambda point: point.step).value if points else math.nan

    def decide(
        self, failed: Collection[str] = NONE, running: Collection[str] = NONE, *, can_sample: bool = True
    ) -> Decision:
        """Return what to train next: of the search, and at its end of the trainings that confirm the winner.

        failed, running: see `contenders`.
        """
        contenders = self.contenders(failed, running)
        decision = decide(contenders, self.rules, can_sample=can_sample)
        if decision != "end":
            return decision
        leader = judge(contenders, self.rules).leader
        return next((each for each in self._confirming(leader) if not self._is_planned(each)), "end")

    def _confirming(self, leader: str | None) -> list[TrainSeed]:
        """Return the trainings that confirm the leader, by seed; the starting point is left out where it leads."""
        if leader is None:
            return []
        same = deciding_fingerprint(self.plan.arms[leader]) == deciding_fingerprint(self.plan.arms[BASE_ARM])
        arms = (leader,) if same else (leader, BASE_ARM)
        return [TrainSeed(arm, seed) for seed in self.search.confirm_seeds for arm in arms]

    def _is_planned(self, training: TrainSeed) -> bool:
        return any(training.seed == trial.seed and training.name in trial.arms for trial in self.plan.trials)

    def winner(self, failed: Collection[str] = NONE) -> str | None:
        """Return the leader of a search that has ended; None before."""
        contenders = self.contenders(failed)
        if any(each.running for each in contenders):
            return None
        return judge(contenders, self.rules).leader

    @property
    def num_searched(self) -> int:
        """Number of trainings of the search that have begun, without those that confirm."""
        return sum(trial.seed in self.search.seeds for trial in self.plan.trials)

    @property
    def most_to_come(self) -> int:
        """Upper bound of the trainings that may still begin."""
        decision, most = self.decide(), 2 * len(self.search.confirm_seeds)
        left = max(0, self.search.config.trials - self.num_searched)
        return 0 if decision == "end" else left + most

    def count_confirmed(self, failed: Collection[str] = NONE) -> int:
        """Return how many seeds that confirm the winner have ended, with a pair or without; 0 while none has a pair.

        One that is open hides no look: a report shows the pairs of the others.
        """
        confirming = self._confirming(self.winner(failed))
        arms = {each.name for each in confirming}
        seeds = {each.seed for each in confirming}
        begun = [(arm, trial) for trial in self.plan.trials if trial.seed in seeds for arm in arms & set(trial.arms)]
        num_ended = Counter(trial.seed for _, trial in begun if self._ending(trial, failed) != "open")
        num_values = Counter(trial.seed for arm, trial in begun if self.value(arm, trial) is not None)
        return list(num_ended.values()).count(len(arms)) if len(arms) in num_values.values() else 0


def count_to_come(plan: Plan) -> int:
    """Return the upper bound of the trainings that a search may still add to its plan."""
    if plan.search is None or not plan.search.samples_as_it_goes:
        return 0
    race = SearchRace.of(plan)
    return max(0, plan.search.config.trials - len(plan.trials)) if race is None else race.most_to_come
