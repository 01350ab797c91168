"""Seeds until it is decided: which trainings of a plan are needed, found again from the results there are.

Nothing about the rounds is remembered but the results themselves, so that a later command, or one whose driver was
killed, comes to the same decisions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fcos.statistics.arms import ArmVerdict, compare_arms
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
    # Verdicts of the last look, by arm; empty before the first.
    verdicts: Mapping[str, ArmVerdict]
    # Arms that the last round still trains.
    undecided: tuple[str, ...]
    # Whether all that is needed is there.
    complete: bool

    @property
    def text(self) -> str:
        """What the last look showed, and what follows, for the console."""
        decided = [f"{arm} {verdict.outcome}" for arm, verdict in self.verdicts.items() if arm not in self.undecided]
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
        verdicts: dict[str, ArmVerdict] = {}
        for count in range(len(self.experiment.seeds), len(self.experiment.all_seeds) + 1):
            seeds = self.experiment.all_seeds[looks[-1] if looks else 0 : count]
            indices += self._trainings(seeds, {baseline, *undecided})
            if not all(has_ended(self.plan.trials[index]) for index in indices):
                return Needed(tuple(indices), tuple(looks), verdicts, undecided, complete=False)
            looks.append(count)
            verdicts = self._verdicts(indices, looks)
            undecided = tuple(arm for arm in undecided if not verdicts[arm].is_decided)
            if not undecided:
                break
        return Needed(tuple(indices), tuple(looks), verdicts, undecided, complete=True)

    def _trainings(self, seeds: Sequence[int], arms: set[str | None]) -> list[int]:
        trials = enumerate(self.plan.trials)
        return [index for index, trial in trials if trial.seed in seeds and arms & set(trial.arms)]

    def _verdicts(self, indices: Sequence[int], looks: Sequence[int]) -> dict[str, ArmVerdict]:
        experiment = self.experiment
        assert experiment.baseline is not None, "checked by the schema"
        values: dict[str, dict[int, float]] = {arm: {} for arm in experiment.arms}
        for trial in (self.plan.trials[index] for index in indices):
            summary = self.plan.summary_of(trial)
            for arm in trial.arms if summary is not None else ():
                value = summary.metrics[arm].get(experiment.metrics[0])
                if value is not None:
                    values[arm][trial.seed] = value
        return compare_arms(values, experiment.baseline, experiment.all_seeds, looks, margin=experiment.margin / 100)
