"""How a search proceeds: Optuna's samplers and Tune's scheduler, made from settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestration.config.search import Draw, StrategyConfig
from orchestration.search.space import Point, coordinates, grid_points


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
