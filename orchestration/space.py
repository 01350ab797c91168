"""Search spaces: what a search may change, and how a drawn point becomes a configuration (pure)."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config import Config
from fcos.parsing import flatten, parse, set_value
from fcos.section import ConfigError, Section

# A drawn point: one plain value for each coordinate.
Point = dict[str, Any]


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
Coordinate = Literal["choice", "uniform", "loguniform", "randint"]


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


def coordinates(space: Mapping[str, Draw]) -> dict[str, tuple[Coordinate, tuple[Any, ...]]]:
    """Each number or choice that a searcher draws, with its bounds: lists have one for each of their ends.

    A choice is drawn by position, because its values may be lists.
    """
    found: dict[str, tuple[Coordinate, tuple[Any, ...]]] = {}
    for key, draw in space.items():
        bounds = getattr(draw, draw.kind)
        if draw.kind == "choice":
            found[key] = ("choice", tuple(range(len(bounds))))
        elif draw.kind in ("rising", "ranges"):
            for place in range(bounds[2]):
                found[f"{key}.{place}"] = ("loguniform", (float(bounds[0]), float(bounds[1])))
        else:
            found[key] = (draw.kind, bounds)  # type: ignore[assignment]
    return found


def keys_of(space: Mapping[str, Draw], point: Mapping[str, Any]) -> dict[str, Any]:
    """The dotted keys that a drawn point sets; those whose condition does not hold are left out."""
    values = {key: _value(key, draw, point) for key, draw in space.items()}
    return {
        key: value
        for key, value in values.items()
        if all(values[other] == wanted for other, wanted in space[key].when.items())
    }


def _value(key: str, draw: Draw, point: Mapping[str, Any]) -> Any:
    if draw.choice is not None:
        return draw.choice[point[key]]
    if draw.randint is not None:
        return int(point[key])
    ends = draw.rising or draw.ranges
    if ends is None:
        return float(point[key])
    rising = _rising([point[f"{key}.{place}"] for place in range(ends[2])], *ends[:2])
    if draw.rising is not None:
        return rising
    return [[low, high] for low, high in zip([0, *rising], [*rising, None], strict=True)]


def _rising(values: list[float], low: int, high: int) -> list[int]:
    """Sorted whole numbers, all different: equal ones are moved up, and down again from the upper bound."""
    found = sorted(round(value) for value in values)
    for place in range(1, len(found)):
        found[place] = max(found[place], found[place - 1] + 1)
    for place in reversed(range(len(found))):
        found[place] = min(found[place], high - (len(found) - 1 - place))
    return found


def grid_points(space: Mapping[str, Draw]) -> Iterator[Point]:
    """Every combination of choices, the last key fastest.

    Raises ConfigError for a space with anything but choices.
    """
    for key, draw in space.items():
        if draw.choice is None:
            raise ConfigError(f"experiment.search.space.{key}: {draw.kind} has no grid; give choice, or search=random")
    options = [range(len(draw.choice or ())) for draw in space.values()]
    for combination in product(*options):
        yield dict(zip(space, combination, strict=True))


def configured(base: Mapping[str, Any], keys: Mapping[str, Any]) -> Config:
    """The base with some dotted keys set; raises ConfigError where the schema refuses it."""
    values = dict(base)
    for key, value in keys.items():
        values = set_value(values, key, value)
    return parse(Config, values)
