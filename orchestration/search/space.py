"""Search spaces: what a search may change, and how a drawn point becomes a configuration (pure)."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal

from pydantic import ValidationError

from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.search import Draw
from orchestration.experiment.trials import check_arm_key, deciding_fingerprint

# A drawn point: one plain value for each coordinate.
Point = dict[str, Any]
Coordinate = Literal["choice", "uniform", "loguniform", "randint"]


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


def check_space(base: Config, space: Mapping[str, Draw]) -> None:
    """Raises ConfigError for a key that no schema knows, a value of the wrong type, and a key without any effect."""
    plain = base.model_dump(mode="json")
    for key, draw in space.items():
        try:
            check_arm_key(key)
            _check_values(plain, key, draw, _conditions(space, key))
        except ConfigError as error:
            raise ConfigError(f"experiment.search.space.{key}: {error}") from None


def _conditions(space: Mapping[str, Draw], key: str) -> dict[str, Any]:
    """Values of other keys under which a key is set, theirs included; raises ConfigError where there are none."""
    found: dict[str, Any] = {}
    waiting = [key]
    while waiting:
        for other, value in space[waiting.pop()].when.items():
            if other == key or (other in found and found[other] != value):
                raise ConfigError(f"when: its conditions can never hold together (see {other})")
            if other not in found:
                found[other] = value
                waiting.append(other)
    return found


def _check_values(plain: Mapping[str, Any], key: str, draw: Draw, conditions: Mapping[str, Any]) -> None:
    seen: dict[str, Any] = {}
    valid = 0
    for value in _examples(key, draw):
        values = dict(plain)
        for name, wanted in (*conditions.items(), (key, value)):
            values = set_value(values, name, wanted)
        if _breaks_a_rule_between_keys(values):
            # Other keys of the space may make it valid; such points are skipped when they are drawn.
            continue
        text = deciding_fingerprint(parse(Config, values))
        if text in seen and draw.kind == "choice":
            raise ConfigError(f"{seen[text]!r} and {value!r} resolve to the same config")
        seen[text] = value
        valid += 1
    if valid > 1 and len(seen) == 1:
        raise ConfigError("has no effect on a result")


def _examples(key: str, draw: Draw) -> Iterator[Any]:
    """Every choice; else what lies at both ends of each bound and between them."""
    alone = {key: draw.model_copy(update={"when": {}})}
    bounds = coordinates(alone)
    if draw.kind == "choice":
        places = [{key: place} for place in bounds[key][1]]
    else:
        places = [
            {name: _between(kind, ends, share) for name, (kind, ends) in bounds.items()} for share in (0.0, 0.37, 1.0)
        ]
    for point in places:
        yield keys_of(alone, point)[key]


def _between(kind: str, ends: tuple[Any, ...], share: float) -> float:
    value = float(ends[0] + share * (ends[1] - ends[0]))
    return round(value) if kind == "randint" else value


def _breaks_a_rule_between_keys(values: dict[str, Any]) -> bool:
    """Whether every value has its type and bounds, and only a rule among several keys refuses them together."""
    try:
        Config.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        return all(item["type"] == "value_error" for item in error.errors())
    return False
