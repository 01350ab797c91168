"""Settings of a search: its space and its strategy."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.parse import flatten


class Draw(Section):
    """How the values of one key are drawn: exactly one of the first six says it."""

    choice: tuple[Any, ...] | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    # Whole numbers, both ends included.
    randint: tuple[int, int] | None = None
    # low, high, count: so many rising whole numbers, each log-uniform.
    rising: tuple[int, int, int] | None = None
    # low, high, count: touching level ranges [0, a], [a, b], ... [z, null] whose inner ends are `rising`.
    ranges: tuple[int, int, int] | None = None
    # The key is only set where other keys of the space have these values.
    when: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The one way that is given."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; given: {', '.join(given) or 'none'}")
        if self.choice is not None and len(self.choice) < 2:
            raise ValueError("choice: needs two values or more")
        for name in ("uniform", "loguniform", "randint", "rising", "ranges"):
            ends = getattr(self, name)
            if ends is not None and not ends[0] < ends[1]:
                raise ValueError(f"{name}: {ends[0]:g} must be below {ends[1]:g}")
            if ends is not None and name in ("loguniform", "rising", "ranges") and ends[0] <= 0:
                raise ValueError(f"{name}: {ends[0]:g} must be above 0")
        for name in ("rising", "ranges"):
            ends = getattr(self, name)
            if ends is not None and not 1 <= ends[2] <= ends[1] - ends[0]:
                raise ValueError(f"{name}: {ends[2]} different whole numbers must fit between {ends[0]} and {ends[1]}")
        return self


KINDS = ("choice", "uniform", "loguniform", "randint", "rising", "ranges")


class SearchConfig(Section):
    """What a search may change, for how many trainings, and what it looks for."""

    # Dotted key -> how it is drawn.
    space: dict[str, Draw] = Field(min_length=1)
    trials: int = Field(ge=1)
    metric: str = "val/AP"
    mode: Literal["max", "min"] = "max"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key, draw in self.space.items():
            for other, value in draw.when.items():
                if other not in self.space:
                    raise ValueError(f"space.{key}.when: {other} is not in the space")
                if key == other:
                    raise ValueError(f"space.{key}.when: a key cannot depend on itself")
                options = self.space[other].choice
                if options is None or value not in options:
                    raise ValueError(f"space.{key}.when: {other}={value!r} is none of its choices")
        return self


def flat_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """A space as dotted keys, where a command line left nested ones; a key whose last word is null is taken out.

    A draw that comes after another of its key replaces how it is drawn. It keeps the other's `when` for what is still
    in the space, unless it has one too.
    """
    flat: dict[str, Any] = {}
    kept: set[str] = set()
    for key, draw in _draws(values):
        before = flat.get(key)
        if isinstance(before, Mapping) and isinstance(draw, Mapping):
            kept |= {key} if "when" not in draw else set()
            draw = _replaced(before, draw)
        flat[key] = draw
    drawn = {key: _with_flat_when(draw) for key, draw in flat.items() if draw is not None}
    for key in kept & set(drawn):
        when = drawn[key].get("when", {})
        drawn[key] = {**drawn[key], "when": {other: value for other, value in when.items() if other in drawn}}
    return drawn


def _draws(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each dotted key with its draw, in order, keys that are given twice too."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not _is_draw(value):
            yield from _draws(value, f"{path}.")
        else:
            yield path, value


def _is_draw(values: Mapping[str, Any]) -> bool:
    # A section may have a key called `ranges` too, but never a list of bounds there; none has a key called `when`.
    return "when" in values or any(
        values.get(kind) is not None and not isinstance(values[kind], Mapping) for kind in KINDS
    )


def _replaced(before: Mapping[str, Any], draw: Mapping[str, Any]) -> dict[str, Any]:
    """A draw in place of another; what it leaves open, its way or its condition, stays."""
    ways = {kind: value for kind, value in draw.items() if kind != "when"}
    kept = before if not ways else {"when": before["when"]} if "when" in before else {}
    return {**kept, **draw}


def _with_flat_when(draw: Any) -> Any:
    """A draw whose condition has dotted keys, as its schema wants them; one of null is none."""
    if not isinstance(draw, Mapping) or "when" not in draw:
        return draw
    when = draw["when"]
    return {**draw, "when": flatten(when) if isinstance(when, Mapping) else {} if when is None else when}


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
