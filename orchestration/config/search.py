"""Config of a search: its space and its strategy."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.parse import flatten


class Distribution(Section):
    """The distribution of one key's values: exactly one of the first six fields is set."""

    # One of these values.
    choice: tuple[Any, ...] | None = None
    # low, high: spread evenly between them.
    uniform: tuple[float, float] | None = None
    # low, high: spread evenly in the logarithm.
    loguniform: tuple[float, float] | None = None
    # Integers, both bounds included.
    randint: tuple[int, int] | None = None
    # low, high, count: that many increasing integers, each log-uniform.
    rising: tuple[int, int, int] | None = None
    # low, high, count: touching level ranges [0, a], [a, b], ... [z, null] whose inner bounds are `rising`.
    ranges: tuple[int, int, int] | None = None
    # Condition: the key is only set where other keys of the space have these values.
    when: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Name of the field that is set."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; given: {', '.join(given) or 'none'}")
        if self.choice is not None and len(self.choice) < 2:
            raise ValueError("choice: needs two values or more")
        for name in ("uniform", "loguniform", "randint", "rising", "ranges"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{name}: {bounds[0]:g} must be below {bounds[1]:g}")
            if bounds is not None and name in ("loguniform", "rising", "ranges") and bounds[0] <= 0:
                raise ValueError(f"{name}: {bounds[0]:g} must be above 0")
        for name in ("rising", "ranges"):
            bounds = getattr(self, name)
            if bounds is not None and not 1 <= bounds[2] <= bounds[1] - bounds[0]:
                low, high, count = bounds
                raise ValueError(f"{name}: {count} different whole numbers must fit between {low} and {high}")
        return self


KINDS = ("choice", "uniform", "loguniform", "randint", "rising", "ranges")


class SearchConfig(Section):
    """Space of a search, its number of trainings, and the metric that it optimizes."""

    # Dotted key -> distribution of its values.
    space: dict[str, Distribution] = Field(min_length=1)
    # Number of trainings, whatever their seeds, without those that confirm the winner.
    trials: int = Field(ge=1)
    # Metric that the search optimizes.
    metric: str = "val/AP"
    # Whether the highest or the lowest value of the metric is the best.
    mode: Literal["max", "min"] = "max"
    # Several metrics, `metric` among them and the others each to its better end: the search looks for their front.
    objectives: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are optimized, `metric` first."""
        return (self.metric, *(metric for metric in self.objectives if metric != self.metric))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.objectives and (len(self.objectives) < 2 or len(set(self.objectives)) < len(self.objectives)):
            raise ValueError(f"objectives={list(self.objectives)}: give two or more, each once; for one give metric")
        if self.objectives and self.metric not in self.objectives:
            raise ValueError(
                f"metric={self.metric}: is not among objectives={list(self.objectives)}; give it there, or one of them "
                "as metric, by which checkpoints are ranked and which is shown over time"
            )
        for key, distribution in self.space.items():
            for other, value in distribution.when.items():
                if other not in self.space:
                    raise ValueError(f"space.{key}.when: {other} is not in the space")
                if key == other:
                    raise ValueError(f"space.{key}.when: a key cannot depend on itself")
                options = self.space[other].choice
                if options is None or value not in options:
                    raise ValueError(f"space.{key}.when: {other}={value!r} is none of its choices")
        return self


def flat_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space with dotted keys, which overrides may have nested; keys whose last value is null are removed.

    A later distribution of a key replaces an earlier one. It keeps the earlier condition `when`, for keys that are
    still in the space, unless it has its own.
    """
    flat: dict[str, Any] = {}
    kept: set[str] = set()
    for key, distribution in _iter_distributions(values):
        before = flat.get(key)
        if isinstance(before, Mapping) and isinstance(distribution, Mapping):
            kept |= {key} if "when" not in distribution else set()
            distribution = _replaced(before, distribution)
        flat[key] = distribution
    space = {key: _with_flat_when(distribution) for key, distribution in flat.items() if distribution is not None}
    for key in kept & set(space):
        when = space[key].get("when", {})
        space[key] = {**space[key], "when": {other: value for other, value in when.items() if other in space}}
    return space


def _iter_distributions(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key with its distribution in order, repeated keys included."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not _is_distribution(value):
            yield from _iter_distributions(value, f"{path}.")
        else:
            yield path, value


def _is_distribution(values: Mapping[str, Any]) -> bool:
    # A section may have a key `ranges` too, but with a mapping, not a list of bounds; none has a key `when`.
    return "when" in values or any(
        values.get(kind) is not None and not isinstance(values[kind], Mapping) for kind in KINDS
    )


def _replaced(before: Mapping[str, Any], distribution: Mapping[str, Any]) -> dict[str, Any]:
    """Return a distribution that replaces another; the condition, or the kind, is kept where the new one omits it."""
    kinds = {kind: value for kind, value in distribution.items() if kind != "when"}
    kept = before if not kinds else {"when": before["when"]} if "when" in before else {}
    return {**kept, **distribution}


def _with_flat_when(distribution: Any) -> Any:
    """Return a distribution whose condition has dotted keys; a condition of null becomes an empty one."""
    if not isinstance(distribution, Mapping) or "when" not in distribution:
        return distribution
    when = distribution["when"]
    return {**distribution, "when": flatten(when) if isinstance(when, Mapping) else {} if when is None else when}


class StrategyConfig(Section):
    """Searcher and early stopping of a search."""

    # tpe (Optuna) uses the results of finished trainings; grid is every combination of choices.
    searcher: Literal["grid", "random", "tpe"] = "random"
    # asha stops a training whose metric is not among the best of those at its rung; hyperband does so in several
    # brackets, the first rung of each being reduction_factor times later than that of the one before.
    early_stopping: Literal["none", "asha", "hyperband"] = "none"
    # No training is stopped before this step; one in reduction_factor continues after each rung.
    grace_steps: int | None = Field(default=None, ge=1)
    # One in so many trainings continues after each rung.
    reduction_factor: int = Field(default=3, ge=2)
    # For hyperband only; trainings are assigned to brackets at random.
    brackets: int = Field(default=3, ge=2)
    # Seed by which the searcher draws its points.
    seed: int = Field(default=0, ge=0)
    # Seeds, or their number, with which the winner and the starting point are trained at the end, so that they can be
    # compared by what did not choose the winner. 0 leaves that out; null is 6 for a search over several seeds, else 0.
    confirm_seeds: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None
    # Whether finished trainings of the tracking store that are points of the space are given to the searcher; false, so
    # that the same command draws the same points with any store.
    warm_start: bool = False

    def grace(self, steps: int) -> int:
        """Return the step before which no training is stopped."""
        return self.grace_steps or max(1, steps // self.reduction_factor**2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.early_stopping == "none" and self.grace_steps is not None:
            raise ValueError(f"grace_steps={self.grace_steps} has no effect with early_stopping=none")
        if self.early_stopping != "hyperband" and self.brackets != StrategyConfig.model_fields["brackets"].default:
            raise ValueError(f"brackets={self.brackets} has no effect with early_stopping={self.early_stopping}")
        if isinstance(self.confirm_seeds, tuple) and len(set(self.confirm_seeds)) < len(self.confirm_seeds):
            raise ValueError(f"confirm_seeds={list(self.confirm_seeds)}: each may be given once")
        return self
