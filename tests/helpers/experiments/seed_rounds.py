"""An experiment with seeds until it is decided, whose trainings are given their results."""

from collections.abc import Callable, Iterable
from pathlib import Path

from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.planning.seed_rounds import SeedRounds
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.summaries import summary_of

# Arms none and from_regression share a training; branch has one of its own.
EXPERIMENT = "+experiment=ablation_centerness"
WORDS = ("experiment.until=decided", "experiment.seeds=[0,1,2]")
Values = Callable[[str, int], float | None]


def plan_rounds(tmp_path: Path, *words: str, experiment: str = EXPERIMENT) -> tuple[LabConfig, Plan, SeedRounds]:
    """Return the config, the plan and the rounds of the experiment."""
    lab = composed_into(tmp_path, experiment, *WORDS, *words)
    plan = make_plan(lab, lambda config: ("d", ()))
    rounds = SeedRounds.of(plan, lab.experiment)
    assert rounds is not None
    return lab, plan, rounds


def finish(plan: Plan, indices: Iterable[int], value: Values) -> None:
    """Write the result of trainings: `value` of each arm and seed; a training with a None has failed."""
    for index in indices:
        trial = plan.trials[index]
        folder = plan.folder_of(trial)
        folder.mkdir(parents=True, exist_ok=True)
        values = {arm: value(arm, trial.seed) for arm in trial.arms}
        if None not in values.values():
            metrics = {arm: {"val/AP": number} for arm, number in values.items() if number is not None}
            write_summary(folder, trial.identity, summary_of(metrics))


def clear(arm: str, seed: int) -> float:
    """Branch is better by far, from_regression worse by far, each by another amount with each seed."""
    effect = {"none": 0.0, "branch": 0.08, "from_regression": -0.03}[arm]
    return 0.3 + 0.01 * (seed % 4) + effect * (1 + 0.1 * (seed % 3))


def noisy(arm: str, seed: int) -> float:
    """No arm is better: the sign of its difference changes with the seed."""
    sign = 1 if seed % 2 == 0 else -1
    return 0.3 + (0.05 + 0.001 * seed) * sign * (arm != "none")
