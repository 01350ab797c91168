"""Optuna's samplers and Tune's schedulers, made from the config of a search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestration.config.search import Distribution, StrategyConfig
from orchestration.search.space import Point, coordinates, grid_points

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch


def optuna_distributions(space: Mapping[str, Distribution]) -> "dict[str, BaseDistribution]":
    """Return the space as Optuna distributions, one for each coordinate."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    result: dict[str, BaseDistribution] = {}
    for name, (kind, bounds) in coordinates(space).items():
        match kind:
            case "choice":
                result[name] = CategoricalDistribution(bounds)
            case "randint":
                result[name] = IntDistribution(*bounds)
            case "uniform" | "loguniform":
                low, high = bounds
                result[name] = FloatDistribution(low, high, log=kind == "loguniform")
    return result


def planned_points(strategy: StrategyConfig, space: Mapping[str, Distribution]) -> Iterator[Point]:
    """Yield points that do not depend on results: all points of a grid, or random ones without end.

    The first n random points are the same however many follow. Raises ConfigError for a grid over anything but
    choices.
    """
    if strategy.searcher == "grid":
        yield from grid_points(space)
        return
    # Optuna directly: the plan is made before the import of Ray, which reads its environment then.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=strategy.seed))
    distributions = optuna_distributions(space)
    while True:
        yield study.ask(distributions).params


def make_searcher(
    strategy: StrategyConfig, space: Mapping[str, Distribution], mode: str, known: Sequence[tuple[Point, float | None]]
) -> "OptunaSearch":
    """Return Tune's searcher with Optuna's TPE, initialised with earlier points and metrics (None: failed)."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    # In memory: plan.json and the trainings' folders hold points and results, from which each command makes the study
    # anew. A storage of Optuna's would be a second record, which a kill between two writes leaves in disagreement.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = [(point, value) for point, value in known if value is not None]
    searcher = OptunaSearch(
        optuna_distributions(space),
        metric=METRIC,
        mode=mode,
        points_to_evaluate=[point for point, _ in values] or None,
        evaluated_rewards=[value for _, value in values] or None,
        # Another seed for each command, so that points are not sampled again.
        seed=generator_seed(strategy.seed, len(known)),
    )
    for point, value in known:
        if value is None:
            searcher.add_evaluated_point(point, 0.0, error=True)
    return searcher


def generator_seed(seed: int, turn: int) -> int:
    """Return the seed of the generator for a turn of a search, a hash of search.seed and turn.

    By their sum search.seed=1 would draw what search.seed=0 draws a turn later, as long as TPE draws at random.
    """
    import numpy as np

    return int(np.random.SeedSequence([seed, turn]).generate_state(1)[0])


def propose(
    strategy: StrategyConfig,
    space: Mapping[str, Distribution],
    modes: Sequence[str],
    known: Sequence[tuple[Point, Sequence[float] | None]],
    sampled: int,
) -> Point:
    """Return a point of Optuna's TPE that follows from its arguments alone.

    modes: the better end of each metric. known: points with their metrics, None where they failed. sampled: number of
    points that were sampled before, by which the generator's seed differs (generator_seed).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = optuna.study.StudyDirection
    directions = [direction.MAXIMIZE if mode == "max" else direction.MINIMIZE for mode in modes]
    sampler = optuna.samplers.TPESampler(seed=generator_seed(strategy.seed, sampled))
    study = optuna.create_study(directions=directions, sampler=sampler)
    distributions, states = optuna_distributions(space), optuna.trial.TrialState
    for point, values in known:
        state = states.FAIL if values is None else states.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(state=state, values=values, params=point, distributions=distributions)
        )
    return dict(study.ask(distributions).params)


# Names of the metric and of the step in the results that Tune's searchers and schedulers receive.
METRIC, STEP = "metric", "step"


def make_scheduler(strategy: StrategyConfig, mode: str, steps: int) -> "AsyncHyperBandScheduler":
    """Return Tune's ASHA scheduler over steps, with several brackets for asynchronous Hyperband.

    Source: arXiv 1810.05934, section 3.3.
    """
    import numpy as np
    from ray.tune.schedulers import AsyncHyperBandScheduler

    # Tune samples each training's bracket with numpy's global generator.
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
