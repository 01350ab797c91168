"""Seeds until it is decided: which trainings of a plan are needed, found again from the results there are.

Nothing about the rounds is remembered but the results themselves and the looks in plan.json, so that a later command,
or one whose driver was killed, comes to the same decisions.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fcos.statistics.factorial import measure_effect
from fcos.statistics.holm import ArmTest, PairedSample, make_arm_tests, make_sample
from fcos.statistics.margin import margin_of
from fcos.statistics.outcomes import DECIDED, Outcome, classify_test
from orchestration.config.experiment import ExperimentConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, read_plan
from orchestration.trial.files import read_final_values


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

    Those are the rounds that are over, or where the seeds are given all seeds of all commands, as a report shows what
    gave no result too. The report of a command that was stopped amid a round looks at the pairs that are there: the
    user who raises the budget has seen them. Without a report there is no look.

    stopped: for want of hours or of space. reported: whether the command writes a report.
    """
    rounds = SeedRounds.of(plan, experiment)
    if rounds is not None:
        newest = rounds.newest_pairs(experiment.all_seeds) if stopped and reported else ()
        return tuple(sorted({*rounds.needed().looks, *newest}))
    stored = read_plan(plan.folder)
    if stored is None:
        return ()
    seeds = tuple(dict.fromkeys(trial.seed for trial in stored.trials))
    if stopped:
        return SeedRounds(plan, experiment).newest_pairs(seeds) if reported else ()
    return (len(seeds),) if any(plan.summary_of(trial) is not None for trial in plan.trials) else ()


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

        has_ended: whether a training is over, with a result or without; by default, with one.
        """
        values = {trial.identity: self._values(trial) for trial in self.plan.trials}
        has_ended = has_ended or (lambda trial: values[trial.identity] is not None)
        stored = read_plan(self.plan.folder)
        earlier = () if stored is None else tuple(stored.looks)
        needed = Needed((), (), {}, self._tested_names(), (), complete=False)
        seeds = self.experiment.all_seeds
        for count in range(len(self.experiment.seeds), len(seeds) + 1):
            new = self._trainings(seeds[needed.looks[-1] if needed.looks else 0 : count], needed.undecided)
            needed = replace(needed, indices=(*needed.indices, *new))
            if not all(has_ended(self.plan.trials[index]) for index in needed.indices):
                return needed
            needed = self._look(needed, count, earlier, values)
            if not needed.undecided or not any(values[self.plan.trials[index].identity] for index in new):
                break
        return replace(needed, complete=True)

    def newest_pairs(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Return after how many of the seeds each of what is tested has its newest pair, in ascending order.

        seeds: in the order in which looks are counted.
        """
        values = {trial.identity: self._values(trial) for trial in self.plan.trials}
        sizes = self._sizes(self._values_by_arm(range(len(self.plan.trials)), values), seeds)
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

    def _look(
        self, needed: Needed, count: int, earlier: Sequence[int], values: Mapping[str, Mapping[str, float] | None]
    ) -> Needed:
        """Look at the arms with so many seeds, as a report of these trainings does.

        earlier: looks of other commands, which count too. values: final values by training and arm.
        """
        experiment = self.experiment
        looks = (*needed.looks, count)
        by_arm = self._values_by_arm(needed.indices, values)
        all_looks = sorted({*looks, *(each for each in earlier if each < count)})
        sizes = self._sizes(by_arm, experiment.all_seeds[:count])
        samples = {name: make_sample(of_name, all_looks) for name, of_name in sizes.items()}
        margin = margin_of(experiment.metrics[0], experiment.margin / 100)
        tests = _make_arm_tests(tuple(samples.values()))
        outcomes = {name: classify_test(test, margin) for name, test in zip(samples, tests, strict=True)}
        still_open = [name for name in outcomes if outcomes[name] not in DECIDED]
        without = tuple(name for name in still_open if not samples[name].differences)
        undecided = tuple(name for name in still_open if name not in without)
        return replace(needed, looks=looks, outcomes=outcomes, undecided=undecided, without_pairs=without)

    def _values_by_arm(
        self, indices: Iterable[int], values: Mapping[str, Mapping[str, float] | None]
    ) -> dict[str, dict[int, float]]:
        """Return arm -> seed -> value of some trainings. values: final values by training and arm."""
        by_arm: dict[str, dict[int, float]] = {arm: {} for arm in self.experiment.arms}
        for trial in (self.plan.trials[index] for index in indices):
            for arm, value in (values[trial.identity] or {}).items():
                by_arm[arm][trial.seed] = value
        return by_arm

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

    def _values(self, trial: Trial) -> dict[str, float] | None:
        """Return the first metric of a training's arms at its end; None without a result."""
        summary = self.plan.summary_of(trial)
        if summary is None:
            return None
        values = read_final_values(self.plan.folder_of(trial), summary.metrics, self.experiment.metrics[0])
        return {arm: value for arm, value in values.items() if arm in trial.arms}


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
