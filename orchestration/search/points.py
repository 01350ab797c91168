"""The search of a plan: its space and strategy, and the points that were sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fcos.config.parse import flatten, with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError, suggest
from orchestration.config.schema import LabConfig
from orchestration.config.search import SearchConfig, StrategyConfig
from orchestration.experiment.config_checks import check_metrics
from orchestration.experiment.data import PreparedDatasets
from orchestration.experiment.identity import EVALUATION_ONLY
from orchestration.experiment.trials import deciding_fingerprint
from orchestration.search.observations import Observation
from orchestration.search.samplers import planned_points
from orchestration.search.space import Point, check_space, grid_points, point_keys

# Random points that are invalid or were sampled before, in a row, after which a space is taken for exhausted.
MOST_MISSES = 200


class SampledPoint(BaseModel):
    """A point as the searcher sampled it, and the dotted keys that it sets."""

    model_config = ConfigDict(frozen=True)

    point: Point
    keys: dict[str, Any]


@dataclass(frozen=True)
class Search:
    """What is searched and how; `drawn` (as plan.json and the tag of a run call it) grows while a searcher samples."""

    config: SearchConfig
    strategy: StrategyConfig
    # What a point's keys are set in.
    base: Config
    data: PreparedDatasets
    # Those that a point may get, and those that confirm the winner.
    seeds: tuple[int, ...] = (0,)
    confirm_seeds: tuple[int, ...] = ()
    # Those of the search in earlier commands, which have chosen points too.
    seeds_before: tuple[int, ...] = ()
    # Overrides of the command line.
    overrides: tuple[str, ...] = ()
    # Name of a training -> its point.
    drawn: dict[str, SampledPoint] = field(default_factory=dict)
    # Points of other sweeps that the searcher is given, and the seeds of their trainings, in earlier commands too.
    observations: list[Observation] = field(default_factory=list)
    observed_seeds: set[int] = field(default_factory=set)

    @property
    def all_seeds(self) -> list[int]:
        """The seeds by which this command or an earlier one chose points."""
        return sorted({*self.seeds, *self.seeds_before})

    @property
    def prunes(self) -> bool:
        """Whether a training that was stopped early is a result."""
        return self.strategy.early_stopping != "none"

    @property
    def races(self) -> bool:
        """Whether points get several seeds, the winner gets others, or points follow from several metrics."""
        several = len(self.config.metrics) > 1 and self.strategy.searcher == "tpe"
        return len(self.seeds) > 1 or len(self.confirm_seeds) > 0 or several

    @property
    def modes(self) -> tuple[Literal["max", "min"], ...]:
        """The end of each metric that is looked for."""
        from fcos.metrics import better_end

        others = (better_end(metric) or "max" for metric in self.config.metrics[1:])
        return (self.config.mode, *others)

    @property
    def samples_as_it_goes(self) -> bool:
        """Whether points, or their number, follow from results."""
        return self.strategy.searcher == "tpe" or self.races

    def keys_of(self, arm: str) -> dict[str, Any]:
        """Return the dotted keys that a point sets; none for the starting point."""
        return self.drawn[arm].keys if arm in self.drawn else {}


def make_search(lab: LabConfig, data: PreparedDatasets, overrides: Sequence[str]) -> Search:
    """Check the search of an experiment; nothing is sampled yet.

    Raises ConfigError for a space, a metric or an early stopping that cannot work.
    """
    assert lab.experiment is not None and lab.experiment.search is not None
    # An address may hold a password.
    kept = [word for word in overrides if not word.lstrip("+").startswith("tracking")]
    seeds = lab.experiment.seeds, lab.confirm_seeds
    search = Search(lab.experiment.search, lab.search, lab.training, data, *seeds, overrides=tuple(kept))
    check_space(lab.training, search.config.space)
    _check_metrics(lab.training, search.config)
    if search.races and lab.task != "train":
        raise ConfigError(
            f"experiment.seeds={list(search.seeds)}, search.confirm_seeds: task={lab.task} is the same with every "
            "seed; give one, and search.confirm_seeds=0"
        )
    if search.races and search.strategy.searcher == "grid":
        _check_grid(search)
    if search.prunes and search.config.objectives:
        raise ConfigError(
            f"search.early_stopping={search.strategy.early_stopping}: stops what is worse, and of several objectives a "
            "training may be worse in one and on the front all the same; choose search=tpe or search=random"
        )
    if search.prunes:
        _check_early_stopping(lab.training, search)
    sections = tuple(f"{key}." for key in EVALUATION_ONLY)
    evaluated = [key for key in search.config.space if f"{key}.".startswith(sections)]
    if search.samples_as_it_goes and evaluated:
        raise ConfigError(
            f"experiment.search.space.{evaluated[0]}: is evaluated without training anew, which search.searcher=tpe "
            "and several seeds cannot plan for; use search=random or search=grid with one seed"
        )
    return search


def _check_metrics(base: Config, config: SearchConfig) -> None:
    from fcos.metrics import MEMORY, better_end, reported_metrics

    prefix = "val/" if base.task == "train" else "coverage/"
    if config.objectives and base.task != "train":
        raise ConfigError(
            f"experiment.search.objectives={list(config.objectives)}: task={base.task} has one objective; leave them "
            "out, and give experiment.search.metric"
        )
    key = "experiment.search.objectives" if config.objectives else "experiment.search.metric"
    for metric in config.metrics:
        if not metric.startswith(prefix) and not (config.objectives and metric == MEMORY):
            near = suggest(metric, [name for name in reported_metrics(base) if name.startswith(prefix)])
            text = f"{key}={metric}: must begin with {prefix}, as task={base.task} ends with"
            raise ConfigError(f"{text}; {near}" if near else text)
        check_metrics([metric], [base], key)
        if config.objectives and better_end(metric) is None:
            raise ConfigError(f"{key}: {metric}: neither more nor less of it is better; name another metric")


def _check_grid(search: Search) -> None:
    """Raise ConfigError for a grid of more points than trials, or of more trainings where each gets all seeds."""
    count = sum(1 for _ in grid_points(search.config.space))
    trials, seeds = search.config.trials, len(search.seeds)
    if count > trials:
        raise ConfigError(_too_few_for_grid(trials, count))
    if search.config.objectives and count * seeds > trials:
        raise ConfigError(
            f"experiment.search.trials={trials}: the grid has {count} points, and with several objectives each is "
            f"trained with all {seeds} seeds; raise it to {count * seeds}, give fewer seeds, or use search=random"
        )


def _too_few_for_grid(trials: int, points: int) -> str:
    return f"experiment.search.trials={trials}: the grid has {points} points; raise it, or use search=random"


def best_metric(config: SearchConfig) -> str | None:
    """Return the metric for the best checkpoint of a searched training; None where the configured one stays.

    That choice goes by a metric's own better end, so a search for the other end has no use for it.
    """
    from fcos.metrics import better_end

    return config.metric if (better_end(config.metric) or "max") == config.mode else None


def search_notes(search: Search) -> list[str]:
    """Return a note where a search looks for the worse end of its metric, which may be meant."""
    from fcos.metrics import better_end

    metric, mode = search.config.metric, search.config.mode
    if better_end(metric) in (None, mode):
        return []
    other = "less" if mode == "max" else "more"
    return [
        f"experiment.search.mode={mode}: the search looks for the {mode}imum of {metric}, of which {other} is better"
    ]


def _check_early_stopping(base: Config, search: Search) -> None:
    schedule = base.schedule
    what = f"search.early_stopping={search.strategy.early_stopping}"
    if base.task != "train":
        raise ConfigError(f"{what}: task={base.task} trains nothing that could be stopped")
    if schedule.eval_every is None:
        raise ConfigError(f"{what}: judges by evaluations on the way; give schedule.eval_every")
    if "schedule.steps" in search.config.space:
        raise ConfigError(f"{what}: compares trainings of equal length; take schedule.steps out of the space")
    first = max(search.strategy.grace(schedule.steps), schedule.eval_every)
    if first >= schedule.steps:
        raise ConfigError(
            f"{what}: nothing would ever be stopped: the first look is at step {first} of schedule.steps="
            f"{schedule.steps} (search.grace_steps, schedule.eval_every)"
        )


def sample_planned(search: Search) -> tuple[dict[str, Config], list[str]]:
    """Sample all points of a grid or a random search; return configs by name, and notes on points that were left out.

    Raises ConfigError where no point is valid, and for a grid of more points than trials.
    """
    space, trials = search.config.space, search.config.trials
    configs: dict[str, Config] = {}
    seen: set[str] = set()
    refused: list[str] = []
    misses = 0
    for point in planned_points(search.strategy, space):
        if misses > MOST_MISSES or (search.strategy.searcher != "grid" and len(configs) == trials):
            break
        keys = point_keys(space, point)
        try:
            config = with_keys(search.base, keys)
        except ConfigError as error:
            refused.append(str(error))
            misses += search.strategy.searcher != "grid"
            continue
        text = deciding_fingerprint(config)
        if text in seen:
            misses += search.strategy.searcher != "grid"
            continue
        seen.add(text)
        misses = 0
        name = name_of(len(configs))
        configs[name] = config
        search.drawn[name] = SampledPoint(point=point, keys=keys)
    if not configs:
        raise ConfigError(f"experiment.search.space: no point of it is a valid configuration; the first: {refused[0]}")
    if len(configs) > trials:
        raise ConfigError(_too_few_for_grid(trials, len(configs)))
    return configs, _remarks(configs, trials, refused)


def name_of(index: int) -> str:
    """Return the name of a point's training."""
    return f"t{index:03d}"


def _remarks(configs: Mapping[str, Config], trials: int, refused: list[str]) -> list[str]:
    remarks = []
    if refused:
        count = "1 point was" if len(refused) == 1 else f"{len(refused)} points were"
        remarks.append(f"{count} no valid configuration and left out, the first because: {refused[0]}")
    if len(configs) < trials:
        remarks.append(f"the space holds {len(configs)} different configurations, fewer than trials={trials}")
    return remarks


def search_values(search: Search) -> dict[str, Any]:
    """Return a search as plain values, with what it starts from in the keys of its space, for the tracking store."""
    base = flatten(search.base.model_dump(mode="json"))
    return {
        **search.config.model_dump(mode="json"),
        "objectives": list(search.config.metrics) if search.config.objectives else [],
        "modes": list(search.modes),
        "strategy": search.strategy.model_dump(mode="json"),
        "base": {key: base.get(key) for key in search.config.space},
        "overrides": list(search.overrides),
        # What the searcher was given has chosen points too.
        "all_seeds": sorted({*search.all_seeds, *search.observed_seeds}),
    }
