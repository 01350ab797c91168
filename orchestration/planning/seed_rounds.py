"""Seeds until it is decided: which trainings of a plan are needed, found again from the results there are.

Nothing about the rounds is remembered but the results themselves, so that a later command, or one whose driver was
killed, comes to the same decisions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    # What the last look showed, by arm; empty before the first.
    outcomes: Mapping[str, Outcome]
    # Arms that the last round still trains.
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
        they share a training with one that is not.
        """
        has_ended = has_ended or (lambda trial: self.plan.summary_of(trial) is not None)
        baseline = self.experiment.baseline
        undecided = tuple(arm for arm in self.experiment.arms if arm != baseline)
        indices: list[int] = []
        looks: list[int] = []
        outcomes: dict[str, Outcome] = {}
        for count in range(len(self.experiment.seeds), len(self.experiment.all_seeds) + 1):
            seeds = self.experiment.all_seeds[looks[-1] if looks else 0 : count]
            indices += self._trainings(seeds, {baseline, *undecided})
            if not all(has_ended(self.plan.trials[index]) for index in indices):
                return Needed(tuple(indices), tuple(looks), outcomes, undecided, complete=False)
            looks.append(count)
            outcomes = self._outcomes(indices, looks)
            undecided = tuple(arm for arm in undecided if outcomes[arm] not in DECIDED)
            if not undecided:
                break
        return Needed(tuple(indices), tuple(looks), outcomes, undecided, complete=True)

    def _trainings(self, seeds: Sequence[int], arms: set[str | None]) -> list[int]:
        trials = enumerate(self.plan.trials)
        return [index for index, trial in trials if trial.seed in seeds and arms & set(trial.arms)]

    def _outcomes(self, indices: Sequence[int], looks: Sequence[int]) -> dict[str, Outcome]:
        """Return what the arms show in the first metric, as a report of these trainings does."""
        experiment = self.experiment
        assert experiment.baseline is not None, "checked by the schema"
        values = {arm: self._values(arm, indices) for arm in experiment.arms}
        baseline = values.pop(experiment.baseline)
        seeds = experiment.all_seeds[: looks[-1]]
        samples = [
            make_sample([_difference(of_arm.get(seed), baseline.get(seed)) for seed in seeds], looks)
            for of_arm in values.values()
        ]
        margin = experiment.margin / 100 if experiment.metrics[0].startswith(MetricPrefix.VAL) else None
        tests = make_arm_tests(samples)
        return {arm: classify_test(test, margin) for arm, test in zip(values, tests, strict=True)}

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
