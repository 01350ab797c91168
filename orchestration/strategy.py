"""How a search proceeds: Optuna's samplers and Tune's scheduler, made from settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.section import Section
from orchestration.space import Draw, Point, coordinates, grid_points


class StrategyConfig(Section):
    """Where the points of a search come from, and whether poor trainings are stopped early."""

    # tpe learns from finished trainings (Optuna); grid takes every combination of choices.
    searcher: Literal["grid", "random", "tpe"] = "random"
    # asha ends a training whose metric is not among the best of those that came as far; hyperband does so in several
    # brackets, each of which begins to judge reduction_factor times later than the one before.
    early_stopping: Literal["none", "asha", "hyperband"] = "none"
    # Nothing is stopped before this step; of those that reach a rung one in reduction_factor goes on.
    grace_steps: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    # hyperband alone; trainings are spread over them at random.
    brackets: int = Field(default=3, ge=2)
    seed: int = Field(default=0, ge=0)

    def grace(self, steps: int) -> int:
        """The step before which nothing is stopped."""
        return self.grace_steps or max(1, steps // self.reduction_factor**2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.early_stopping == "none" and self.grace_steps is not None:
            raise ValueError(f"grace_steps={self.grace_steps} has no effect with early_stopping=none")
        if self.early_stopping != "hyperband" and self.brackets != StrategyConfig.model_fields["brackets"].default:
            raise ValueError(f"brackets={self.brackets} has no effect with early_stopping={self.early_stopping}")
        return self


def distributions(space: Mapping[str, Draw]) -> dict[str, Any]:
    """The space in Optuna's terms, a distribution for each coordinate."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name, (kind, bounds) in coordinates(space).items():
        match kind:
            case "choice":
                found[name] = CategoricalDistribution(bounds)
            case "randint":
                found[name] = IntDistribution(*bounds)
            case "uniform" | "loguniform":
                low, high = bounds
                found[name] = FloatDistribution(low, high, log=kind == "loguniform")
    return found


def planned_points(strategy: StrategyConfig, space: Mapping[str, Draw]) -> Iterator[Point]:
    """The points that are known before anything is trained: all of a grid, or random ones without end.

    The first n random points are the same however many follow. Raises ConfigError for a grid over anything but
    choices.
    """
    if strategy.searcher == "grid":
        yield from grid_points(space)
        return
    # Not through Tune: the plan is made before Ray is imported, which then reads its environment.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=strategy.seed))
    drawn = distributions(space)
    while True:
        yield study.ask(drawn).params


def make_searcher(
    strategy: StrategyConfig, space: Mapping[str, Draw], mode: str, known: Sequence[tuple[Point, float | None]]
) -> Any:
    """Optuna's TPE through Tune, told what earlier trainings of this search gave (None: failed)."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = [(point, value) for point, value in known if value is not None]
    searcher = OptunaSearch(
        distributions(space),
        metric=METRIC,
        mode=mode,
        points_to_evaluate=[point for point, _ in values] or None,
        evaluated_rewards=[value for _, value in values] or None,
        # What was drawn already must not be drawn again.
        seed=strategy.seed + len(known),
    )
    for point, value in known:
        if value is None:
            searcher.add_evaluated_point(point, 0.0, error=True)
    return searcher


# Names of the searched metric and of the step in what Tune's searchers and schedulers are told.
METRIC, STEP = "metric", "step"


def make_scheduler(strategy: StrategyConfig, mode: str, steps: int) -> Any:
    """ASHA or, in several brackets, asynchronous Hyperband (arXiv 1810.05934, section 3.3) through Tune, over steps."""
    import numpy as np
    from ray.tune.schedulers import AsyncHyperBandScheduler

    # Tune draws each training's bracket from numpy's own generator.
    np.random.seed(strategy.seed)
    return AsyncHyperBandScheduler(
        time_attr=STEP,
        metric=METRIC,
        mode=mode,
        max_t=steps,
        grace_period=strategy.grace(steps),
        reduction_factor=strategy.reduction_factor,
        brackets=strategy.brackets if strategy.early_stopping == "hyperband" else 1,
    )
