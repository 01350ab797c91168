"""Seeds until it is decided: which trainings of a plan are needed, found again from the results there are.

Nothing about the rounds is remembered but the results themselves, and the looks and the order of the seeds in
plan.json, so that a later command, or one whose driver was killed, comes to the same decisions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fcos.statistics.factorial import measure_effect
from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests, make_sample
from fcos.statistics.margin import margin_of
from fcos.statistics.outcomes import DECIDED, Outcome, classify_test
from fcos.storage.run_folder import RunSummary
from orchestration.config.experiment import ExperimentConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, StoredPlan, StoredTrial, find_seed_order, read_plan
from orchestration.planning.seed_order import SeedOrder
from orchestration.trial.files import read_final_values, read_summary


@dataclass(frozen=True)
class Needed:
    """Trainings that are needed with the results so far."""

    # Indices of trainings in the plan: those of all rounds that have begun.
    indices: tuple[int, ...]
    # Numbers of seeds at which the arms were looked at.
    looks: tuple[int, ...]
    # What the last look showed, by arm, or by effect of factors; empty before the first.
    outcomes: Mapping[str, Outcome]
    # Arms or effects for which the last round is trained.
    undecided: tuple[str, ...]
    # Those for which no more seeds are trained, as none of their seeds gave a result.
    without_pairs: tuple[str, ...]
    # Whether all that is needed is there.
    complete: bool

    @property
    def text(self) -> str:
        """What the last look showed, for the console."""
        decided = [f"{arm} {outcome}" for arm, outcome in self.outcomes.items() if outcome in DECIDED]
        parts = [f"decided: {', '.join(decided)}"] if decided else []
        parts += [f"not decided: {', '.join(self.undecided)}"] if self.undecided else []
        parts += [f"left out, as no seed gave a result: {', '.join(self.without_pairs)}"] if self.without_pairs else []
        return f"after {self.looks[-1]} seeds: {'; '.join(parts)}" if self.looks else ""


def later_trainings(plan: Plan, experiment: ExperimentConfig | None) -> frozenset[str]:
    """Return the identities of trainings of rounds that have not begun and that are not done.

    None where all seeds are given.
    """
    rounds = SeedRounds.of(plan, experiment)
    if rounds is None:
        return frozenset()
    begun = rounds.needed().indices
    later = (trial for index, trial in enumerate(plan.trials) if index not in begun)
    return frozenset(trial.identity for trial in later if plan.summary_of(trial) is None)


def find_looks(plan: Plan, experiment: ExperimentConfig, *, stopped: bool, reported: bool) -> tuple[int, ...]:
    """Return at how many seeds the arms are looked at as a command ends.

    Those are the rounds that are over. Given seeds are one look at all of them and at those of earlier commands that
    count; a report shows what gave no result too. The report of a command that was stopped amid a round looks at the
    pairs that are there: the user who raises the budget has seen them. Without a report there is no look.

    stopped: for want of hours or of space. reported: whether the command writes a report.
    """
    rounds = SeedRounds.of(plan, experiment)
    if rounds is not None:
        newest = rounds.newest_pairs() if stopped and reported else ()
        return tuple(sorted({*rounds.needed().looks, *newest}))
    stored = read_plan(plan.folder)
    if stored is None:
        return ()
    if stopped:
        return SeedRounds(plan, experiment).newest_pairs() if reported else ()
    has_results = any(plan.summary_of(trial) is not None for trial in plan.trials)
    return (len(find_seed_order(plan, stored).seeds),) if has_results else ()


@dataclass(frozen=True)
class SeedResults:
    """Results of a sweep's trainings, those of earlier commands too.

    ended: identities of the plan's trainings that have one. values: arm -> seed -> first metric at the end.
    """

    ended: frozenset[str]
    values: Mapping[str, Mapping[int, float]]

    @property
    def seeds(self) -> frozenset[int]:
        """The seeds with a value."""
        return frozenset(seed for of_arm in self.values.values() for seed in of_arm)


@dataclass(frozen=True)
class SeedRounds:
    """The rounds of an experiment with until=decided."""

    plan: Plan
    experiment: ExperimentConfig

    @classmethod
    def of(cls, plan: Plan, experiment: ExperimentConfig | None) -> "SeedRounds | None":
        """Return the rounds of an experiment, None where its seeds are given."""
        return cls(plan, experiment) if experiment is not None and experiment.until == "decided" else None

    def needed(self, has_ended: Callable[[Trial], bool] | None = None) -> Needed:
        """Return what is needed.

        A round begins when all trainings of the one before have ended, and at least one of them gave a result. It
        leaves out arms that are decided at the last look, unless they share a training with one that is not. With
        factors it has all cells, from which each effect is computed.

        The first round has all seeds of earlier commands that were given, and the last look is at all seeds with a
        result: those that a report shows.

        has_ended: whether a training is over, with a result or without; by default, with one.
        """
        stored = read_plan(self.plan.folder)
        results = self._read_results(stored)
        has_ended = has_ended or (lambda trial: trial.identity in results.ended)
        earlier = () if stored is None else tuple(stored.looks)
        needed = Needed((), (), {}, self._tested_names(), (), complete=False)
        order = find_seed_order(self.plan, stored)
        first, least, most = self._find_bounds(order, results)
        for count in range(first, most + 1):
            seeds = order.seeds[needed.looks[-1] if needed.looks else 0 : count]
            needed = replace(needed, indices=(*needed.indices, *self._trainings(seeds, needed.undecided)))
            if not all(has_ended(self.plan.trials[index]) for index in needed.indices):
                return needed
            needed = self._look(needed, order.seeds[:count], earlier, results)
            if count >= least and (not needed.undecided or results.seeds.isdisjoint(seeds)):
                break
        return replace(needed, complete=True)

    def _find_bounds(self, order: SeedOrder, results: SeedResults) -> tuple[int, int, int]:
        """Return how many seeds the first round has, and with how many the last one ends at least and at most."""
        last_given = max(order.seeds.index(seed) for seed in self.experiment.seeds)
        first = max(order.rounds_from or 0, 1 + last_given)
        least = max((count for count, seed in enumerate(order.seeds, start=1) if seed in results.seeds), default=0)
        return first, least, max(first, least, min(self.experiment.most_seeds, len(order.seeds)))

    def newest_pairs(self) -> tuple[int, ...]:
        """Return after how many seeds each of what is tested has its newest pair, in ascending order."""
        stored = read_plan(self.plan.folder)
        seeds = find_seed_order(self.plan, stored).seeds
        sizes = self._sizes(self._read_results(stored).values, seeds)
        ends = ([count for count, size in enumerate(of_one, start=1) if size is not None] for of_one in sizes.values())
        return tuple(sorted({counts[-1] for counts in ends if counts}))

    def _tested_names(self) -> tuple[str, ...]:
        """Return the names of what is tested: arms beside the baseline, or effects of factors."""
        if (design := self.experiment.design) is not None:
            return tuple(effect.name for effect in design.tested)
        return tuple(arm for arm in self.experiment.arms if arm != self.experiment.baseline)

    def _trainings(self, seeds: Sequence[int], undecided: Collection[str]) -> list[int]:
        experiment = self.experiment
        arms = set(experiment.arms) if experiment.factors else {experiment.baseline, *undecided}
        trials = enumerate(self.plan.trials)
        return [index for index, trial in trials if trial.seed in seeds and arms & set(trial.arms)]

    def _look(self, needed: Needed, seeds: Sequence[int], earlier: Sequence[int], results: SeedResults) -> Needed:
        """Look at the arms with some seeds, as a report of these trainings does.

        earlier: looks of other commands, which count too.
        """
        experiment = self.experiment
        looks = (*needed.looks, len(seeds))
        all_looks = sorted({*looks, *(each for each in earlier if each < len(seeds))})
        sizes = self._sizes(results.values, seeds)
        samples = {name: make_sample(of_name, all_looks) for name, of_name in sizes.items()}
        margin = margin_of(experiment.metrics[0], experiment.margin / 100)
        tests = _make_arm_tests(tuple(samples.values()))
        outcomes = {name: classify_test(test, margin) for name, test in zip(samples, tests, strict=True)}
        still_open = [name for name in outcomes if outcomes[name] not in DECIDED]
        without = tuple(name for name in still_open if not samples[name].differences)
        undecided = tuple(name for name in still_open if name not in without)
        return replace(needed, looks=looks, outcomes=outcomes, undecided=undecided, without_pairs=without)

    def _read_results(self, stored: StoredPlan | None) -> SeedResults:
        """Return the results of the plan's trainings, and of those with other seeds that earlier commands planned."""
        by_arm: dict[str, dict[int, float]] = {arm: {} for arm in self.experiment.arms}
        planned = {trial.seed for trial in self.plan.trials}
        for other in () if stored is None else stored.trials:
            summary = None if other.seed in planned else read_summary(self.plan.folder_of(other), other.identity, ())
            if summary is not None:
                self._add_values(by_arm, other, summary)
        ended = []
        for trial in self.plan.trials:
            summary = self.plan.summary_of(trial)
            if summary is not None:
                ended.append(trial.identity)
                self._add_values(by_arm, trial, summary)
        return SeedResults(frozenset(ended), by_arm)

    def _add_values(
        self, by_arm: Mapping[str, dict[int, float]], trial: Trial | StoredTrial, summary: RunSummary
    ) -> None:
        """Add the first metric of a training's arms at its end."""
        values = read_final_values(self.plan.folder_of(trial), summary.metrics, self.experiment.metrics[0])
        for arm, value in values.items():
            if arm in trial.arms and arm in by_arm:
                by_arm[arm][trial.seed] = value

    def _sizes(self, by_arm: Mapping[str, Mapping[int, float]], seeds: Sequence[int]) -> dict[str, list[float | None]]:
        """Return what is tested in each seed: differences of arms to the baseline, or effects of factors.

        None where a value for it is missing.
        """
        if (design := self.experiment.design) is not None:
            cells = [[by_arm[arm].get(seed) for arm in design.arms] for seed in seeds]
            return {effect.name: measure_effect(design, effect, cells) for effect in design.tested}
        assert self.experiment.baseline is not None, "checked by the schema"
        baseline = by_arm[self.experiment.baseline]
        return {
            arm: [_difference(by_arm[arm].get(seed), baseline.get(seed)) for seed in seeds]
            for arm in self._tested_names()
        }


@dataclass(frozen=True)
class LaterRounds:
    """The rounds of a command, and what begins one.

    `begin` is called with what is needed whenever all trainings so far have ended; it takes over results that other
    sweeps have.
    """

    rounds: SeedRounds
    begin: Callable[[Needed], None]


@lru_cache(maxsize=128)
def _make_arm_tests(samples: tuple[PairedSample, ...]) -> list[ArmTest]:
    """Test all arms; the same looks are taken again whenever the rounds are found again."""
    return make_arm_tests(samples)


def _difference(value: float | None, baseline: float | None) -> float | None:
    return None if value is None or baseline is None else value - baseline
