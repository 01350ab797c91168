"""How a search proceeds: Tune's own searchers and schedulers, made from settings."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config import Section
from orchestration.space import Draw, Point, coordinates, grid_points


class StrategyConfig(Section):
    """Where the points of a search come from, and whether poor trainings are stopped early."""

    # tpe learns from finished trainings (Optuna); grid takes every combination of choices.
    searcher: Literal["grid", "random", "tpe"] = "random"
    # asha ends a training whose metric is not among the best of those that came as far.
    early_stopping: Literal["none", "asha"] = "none"
    # asha: nothing is stopped before this step; of those that reach a rung one in reduction_factor goes on.
    grace_steps: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.early_stopping == "none" and self.grace_steps is not None:
            raise ValueError(f"grace_steps={self.grace_steps} has no effect with early_stopping=none")
        return self


def domains(space: Mapping[str, Draw]) -> dict[str, Any]:
    """The space in Tune's terms, a domain for each coordinate."""
    from ray import tune

    makers = {
        "choice": lambda options: tune.choice(list(options)),
        "uniform": lambda bounds: tune.uniform(*bounds),
        "loguniform": lambda bounds: tune.loguniform(*bounds),
        # Tune leaves the upper end out.
        "randint": lambda bounds: tune.randint(bounds[0], bounds[1] + 1),
    }
    return {name: makers[kind](bounds) for name, (kind, bounds) in coordinates(space).items()}


def planned_points(strategy: StrategyConfig, space: Mapping[str, Draw], trials: int) -> list[Point]:
    """The points that are known before anything is trained: all of a grid, or as many random ones as asked for.

    The first n random points are the same however many follow. Raises ConfigError for a grid over anything but
    choices.
    """
    if strategy.searcher == "grid":
        return list(grid_points(space))
    import numpy as np

    drawn = domains(space)
    generator = np.random.RandomState(strategy.seed)
    return [{name: _plain(domain.sample(random_state=generator)) for name, domain in drawn.items()} for _ in range(trials)]


def make_searcher(
    strategy: StrategyConfig, space: Mapping[str, Draw], mode: str, known: Sequence[tuple[Point, float]]
) -> Any:
    """Optuna's TPE through Tune, told what earlier trainings of this search gave."""
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(
        OptunaSearch.convert_search_space(domains(space)),
        metric=METRIC,
        mode=mode,
        points_to_evaluate=[point for point, _ in known] or None,
        evaluated_rewards=[value for _, value in known] or None,
        # What was told already must not be drawn again.
        seed=strategy.seed + len(known),
    )


# Names of the searched metric and of the step in what Tune's searchers and schedulers are told.
METRIC, STEP = "metric", "step"


def make_scheduler(strategy: StrategyConfig, mode: str, steps: int) -> Any:
    """ASHA through Tune, over optimizer steps; None where nothing is stopped early."""
    if strategy.early_stopping == "none":
        return None
    from ray.tune.schedulers import ASHAScheduler

    grace = strategy.grace_steps or max(1, steps // strategy.reduction_factor**2)
    return ASHAScheduler(
        time_attr=STEP,
        metric=METRIC,
        mode=mode,
        max_t=steps,
        grace_period=grace,
        reduction_factor=strategy.reduction_factor,
    )


def _plain(value: Any) -> Any:
    """A drawn value without numpy's types, as JSON keeps it."""
    return value.item() if hasattr(value, "item") else value
