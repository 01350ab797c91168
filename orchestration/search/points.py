"""The search of a plan: which points were drawn, and what of them is known before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.schema import LabConfig
from orchestration.config.search import SearchConfig, StrategyConfig
from orchestration.experiment.checks import check_metrics
from orchestration.experiment.data import DataDigests
from orchestration.experiment.trials import changed_keys, deciding_fingerprint
from orchestration.search.samplers import planned_points
from orchestration.search.space import Point, check_space, configured, keys_of
from orchestration.store_conventions import MetricPrefix

# Random points that are invalid or were drawn before, in a row, after which a space is taken for exhausted.
MOST_MISSES = 200


@dataclass(frozen=True)
class Drawn:
    """A point as the searcher drew it, and the dotted keys that it sets."""

    point: Point
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """What is searched and how; `drawn` grows while a searcher draws."""

    config: SearchConfig
    strategy: StrategyConfig
    # What a point's keys are set in.
    base: Config
    data: DataDigests
    # What the command line said.
    overrides: tuple[str, ...] = ()
    # Name of a training -> its point.
    drawn: dict[str, Drawn] = field(default_factory=dict)

    @property
    def prunes(self) -> bool:
        """Whether a training that was stopped early is a result."""
        return self.strategy.early_stopping != "none"

    @property
    def draws_as_it_goes(self) -> bool:
        """Whether points follow from results."""
        return self.strategy.searcher == "tpe"


def begin_search(lab: LabConfig, data: DataDigests, overrides: Sequence[str]) -> Search:
    """The search of an experiment, checked; nothing is drawn yet.

    Raises ConfigError for a space, a metric or an early stopping that cannot work.
    """
    assert lab.experiment is not None and lab.experiment.search is not None
    # An address may hold a password.
    kept = [word for word in overrides if not word.lstrip("+").startswith("tracking")]
    found = Search(lab.experiment.search, lab.search, lab.training, data, tuple(kept))
    check_space(lab.training, found.config.space)
    _check_metric(lab.training, found.config.metric)
    if found.prunes:
        _check_early_stopping(lab.training, found)
    inference = [key for key in found.config.space if key.startswith("model.postprocess.")]
    if found.draws_as_it_goes and inference:
        raise ConfigError(
            f"experiment.search.space.{inference[0]}: is evaluated without training anew, which search.searcher=tpe "
            "cannot plan for; use search=random or search=grid"
        )
    return found


def _check_metric(base: Config, metric: str) -> None:
    prefix = MetricPrefix.VAL if base.task == "train" else MetricPrefix.COVERAGE
    if not metric.startswith(prefix):
        raise ConfigError(f"experiment.search.metric={metric}: must begin with {prefix}, as task={base.task} ends with")
    check_metrics([metric], [base], "experiment.search.metric")


def best_metric(config: SearchConfig) -> str | None:
    """The metric that the best checkpoint of a searched training is chosen by; None where the configured one stays.

    That choice goes by a metric's own better end, so a search for the other end has no use for it.
    """
    from fcos.metrics import better_end

    return config.metric if (better_end(config.metric) or "max") == config.mode else None


def search_remarks(search: Search) -> list[str]:
    """A remark where a search looks for the worse end of its metric, which may be meant."""
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


def draw_planned(search: Search) -> tuple[dict[str, Config], list[str]]:
    """Draw all points of a grid or a random search: name -> config, and remarks on points that were left out.

    Raises ConfigError where no point is valid, and for a grid of more points than trials.
    """
    plain = search.base.model_dump(mode="json")
    space, trials = search.config.space, search.config.trials
    configs: dict[str, Config] = {}
    seen: set[str] = set()
    refused: list[str] = []
    misses = 0
    for point in planned_points(search.strategy, space):
        if misses > MOST_MISSES or (search.strategy.searcher != "grid" and len(configs) == trials):
            break
        keys = keys_of(space, point)
        try:
            config = configured(plain, keys)
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
        search.drawn[name] = Drawn(point, keys)
    if not configs:
        raise ConfigError(f"experiment.search.space: no point of it is a valid configuration; the first: {refused[0]}")
    if len(configs) > trials:
        raise ConfigError(
            f"experiment.search.trials={trials}: the grid has {len(configs)} points; raise it, or use search=random"
        )
    return configs, _remarks(configs, trials, refused)


def name_of(place: int) -> str:
    """Name of the training of a point."""
    return f"t{place:03d}"


def _remarks(configs: Mapping[str, Config], trials: int, refused: list[str]) -> list[str]:
    remarks = []
    if refused:
        count = "1 point was" if len(refused) == 1 else f"{len(refused)} points were"
        remarks.append(f"{count} no valid configuration and left out, the first because: {refused[0]}")
    if len(configs) < trials:
        remarks.append(f"the space holds {len(configs)} different configurations, fewer than trials={trials}")
    return remarks


def drawn_before(search: Search, stored: Mapping[str, Any] | None) -> dict[str, Config]:
    """The points that earlier commands drew, put into the search; name -> config.

    Raises ConfigError where one of them is no longer valid with the rest of the configuration.
    """
    plain = search.base.model_dump(mode="json")
    configs = {}
    for name, values in (stored or {}).get("search", {}).get("drawn", {}).items():
        search.drawn[name] = Drawn(values["point"], values["keys"])
        try:
            configs[name] = configured(plain, values["keys"])
        except ConfigError as error:
            raise ConfigError(f"{name}, drawn by an earlier command: {error}; give another name=...") from None
    return configs


def stored_values(search: Search) -> dict[str, Any]:
    """What plan.json holds of a search."""
    drawn = {name: {"point": each.point, "keys": dict(each.keys)} for name, each in search.drawn.items()}
    return {
        "space": search.config.model_dump(mode="json")["space"],
        "strategy": search.strategy.model_dump(mode="json"),
        "drawn": drawn,
    }


def search_differences(before: Mapping[str, Any], now: Search, found: Sequence[str]) -> list[str]:
    """The differences of a search from what plan.json holds of it; `found` are those of its points.

    Where another space, searcher or seed draws other points, that is the difference, and not what it drew.
    """
    values = stored_values(now)
    causes = changed_keys({"experiment.search.space": before["space"]}, {"experiment.search.space": values["space"]})
    drawing = ("searcher", "seed")
    old, new = (
        {f"search.{key}": plan["strategy"][key] for key in drawing if key in plan.get("strategy", {})}
        for plan in (before, values)
    )
    drawn = [line for line in found if line.split(":")[0] in now.config.space]
    if drawn and old:
        causes += [f"{line}, which draws other points" for line in changed_keys(old, new)]
    return [*causes, *(line for line in found if not causes or line not in drawn)]


def described(search: Search) -> dict[str, Any]:
    """What tracking is told of a search."""
    return {
        **search.config.model_dump(mode="json"),
        "strategy": search.strategy.model_dump(mode="json"),
        "overrides": list(search.overrides),
    }
