"""Seeds until it is decided: which trainings of a plan are needed, found again from the results there are.

Nothing about the rounds is remembered but the results themselves, so that a later command, or one whose driver was
killed, comes to the same decisions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from fcos.statistics.factorial import FactorialDesign, measure_effect
from fcos.statistics.holm import make_arm_tests, make_sample
from fcos.statistics.outcomes import DECIDED, Outcome, classify_test
from fcos.storage.store_conventions import MetricPrefix
from orchestration.config.schema import ExperimentConfig
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan


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
    # Whether all that is needed is there.
    complete: bool

    @property
    def text(self) -> str:
        """What the last look showed, and what follows, for the console."""
        decided = [f"{arm} {outcome}" for arm, outcome in self.outcomes.items() if arm not in self.undecided]
        text = f"after {self.looks[-1]} seeds: " if self.looks else ""
        text += f"decided: {', '.join(decided)}; " if decided else ""
        return f"{text}not decided: {', '.join(self.undecided)}; one more seed is trained"


def later_trainings(plan: Plan, experiment: ExperimentConfig | None) -> frozenset[str]:
    """Return the identities of trainings of rounds that have not begun; none where all seeds are given."""
    rounds = SeedRounds.of(plan, experiment)
    if rounds is None:
        return frozenset()
    begun = rounds.needed().indices
    return frozenset(trial.identity for index, trial in enumerate(plan.trials) if index not in begun)


BeginRound = Callable[[Needed], None]


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
        """Return what is needed; `has_ended` says which trainings give no more results, by default those with one.

        A round begins when all trainings of the one before have ended. It leaves out arms that are decided, unless
        they share a training with one that is not; with factors it is of all cells, which each effect is computed from.
        """
        has_ended = has_ended or (lambda trial: self.plan.summary_of(trial) is not None)
        undecided = self._tested_names()
        indices: list[int] = []
        looks: list[int] = []
        outcomes: dict[str, Outcome] = {}
        for count in range(len(self.experiment.seeds), len(self.experiment.all_seeds) + 1):
            seeds = self.experiment.all_seeds[looks[-1] if looks else 0 : count]
            indices += self._trainings(seeds, undecided)
            if not all(has_ended(self.plan.trials[index]) for index in indices):
                return Needed(tuple(indices), tuple(looks), outcomes, undecided, complete=False)
            looks.append(count)
            outcomes = self._outcomes(indices, looks)
            # All cells go on until the last effect is decided, so that each effect is what all seeds show.
            undecided = self._tested_names() if self._design is not None else undecided
            undecided = tuple(name for name in undecided if outcomes[name] not in DECIDED)
            if not undecided:
                break
        return Needed(tuple(indices), tuple(looks), outcomes, undecided, complete=True)

    def _tested_names(self) -> tuple[str, ...]:
        """Return the names of what is tested: arms beside the baseline, or effects of factors."""
        if self._design is not None:
            return tuple(effect.name for effect in self._design.tested)
        return tuple(arm for arm in self.experiment.arms if arm != self.experiment.baseline)

    @property
    def _design(self) -> FactorialDesign | None:
        return self.experiment.design

    def _trainings(self, seeds: Sequence[int], undecided: Collection[str]) -> list[int]:
        arms = set(self.experiment.arms) if self._design is not None else {self.experiment.baseline, *undecided}
        trials = enumerate(self.plan.trials)
        return [index for index, trial in trials if trial.seed in seeds and arms & set(trial.arms)]

    def _outcomes(self, indices: Sequence[int], looks: Sequence[int]) -> dict[str, Outcome]:
        """Return what the arms or effects show in the first metric, as a report of these trainings does."""
        experiment = self.experiment
        values = {arm: self._values(arm, indices) for arm in experiment.arms}
        seeds = experiment.all_seeds[: looks[-1]]
        differences = self._effect_sizes(values, seeds) if self._design else self._differences(values, seeds)
        margin = experiment.margin / 100 if experiment.metrics[0].startswith(MetricPrefix.VAL) else None
        tests = make_arm_tests([make_sample(of_name, looks) for of_name in differences.values()])
        return {name: classify_test(test, margin) for name, test in zip(differences, tests, strict=True)}

    def _differences(
        self, values: Mapping[str, Mapping[int, float]], seeds: Sequence[int]
    ) -> dict[str, list[float | None]]:
        """Return for each arm its differences to the baseline, one for each seed, None where either has no value."""
        assert self.experiment.baseline is not None, "checked by the schema"
        baseline = values[self.experiment.baseline]
        return {
            arm: [_difference(of_arm.get(seed), baseline.get(seed)) for seed in seeds]
            for arm, of_arm in values.items()
            if arm != self.experiment.baseline
        }

    def _effect_sizes(
        self, values: Mapping[str, Mapping[int, float]], seeds: Sequence[int]
    ) -> dict[str, list[float | None]]:
        """Return for each tested effect its size in each seed, None where a cell has no value."""
        assert self._design is not None
        cells = [[values[arm].get(seed) for arm in self._design.arms] for seed in seeds]
        return {effect.name: measure_effect(self._design, effect, cells) for effect in self._design.tested}

    def _values(self, arm: str, indices: Sequence[int]) -> dict[int, float]:
        """Return the first metric of an arm by seed."""
        found = {}
        for trial in (self.plan.trials[index] for index in indices):
            summary = self.plan.summary_of(trial) if arm in trial.arms else None
            value = None if summary is None else summary.metrics[arm].get(self.experiment.metrics[0])
            if value is not None:
                found[trial.seed] = value
        return found


def _difference(value: float | None, baseline: float | None) -> float | None:
    return None if value is None or baseline is None else value - baseline
