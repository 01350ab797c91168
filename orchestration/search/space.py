"""Search spaces: their coordinates, points and validity (pure functions)."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal

from pydantic import ValidationError

from fcos.config.parse import flatten, parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.search import Distribution
from orchestration.experiment.trials import check_arm_key, deciding_fingerprint

# A sampled point: one plain value for each coordinate.
Point = dict[str, Any]
Coordinate = Literal["choice", "uniform", "loguniform", "randint"]


def coordinates(space: Mapping[str, Distribution]) -> dict[str, tuple[Coordinate, tuple[Any, ...]]]:
    """Return the scalars that a searcher samples, with their bounds: one for each inner bound of a list.

    A choice is sampled by index, because its values may be lists.
    """
    result: dict[str, tuple[Coordinate, tuple[Any, ...]]] = {}
    for key, distribution in space.items():
        bounds = getattr(distribution, distribution.kind)
        if distribution.kind == "choice":
            result[key] = ("choice", tuple(range(len(bounds))))
        elif distribution.kind in ("rising", "ranges"):
            for index in range(bounds[2]):
                result[f"{key}.{index}"] = ("loguniform", (float(bounds[0]), float(bounds[1])))
        else:
            result[key] = (distribution.kind, bounds)  # type: ignore[assignment]
    return result


def point_keys(space: Mapping[str, Distribution], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dotted keys that a point sets, without those whose condition does not hold."""
    values = {key: _value(key, distribution, point) for key, distribution in space.items()}
    return {
        key: value
        for key, value in values.items()
        if all(values[other] == required for other, required in space[key].when.items())
    }


def _value(key: str, distribution: Distribution, point: Mapping[str, Any]) -> Any:
    if distribution.choice is not None:
        return distribution.choice[point[key]]
    if distribution.randint is not None:
        return int(point[key])
    bounds = distribution.rising or distribution.ranges
    if bounds is None:
        return float(point[key])
    rising = _increasing_integers([point[f"{key}.{index}"] for index in range(bounds[2])], *bounds[:2])
    if distribution.rising is not None:
        return rising
    return [[low, high] for low, high in zip([0, *rising], [*rising, None], strict=True)]


def _increasing_integers(values: list[float], low: int, high: int) -> list[int]:
    """Round to distinct sorted integers: move equal ones up, and then down where they exceed the upper bound."""
    integers = sorted(round(value) for value in values)
    for i in range(1, len(integers)):
        integers[i] = max(integers[i], integers[i - 1] + 1)
    for i in reversed(range(len(integers))):
        integers[i] = min(integers[i], high - (len(integers) - 1 - i))
    return integers


def grid_points(space: Mapping[str, Distribution]) -> Iterator[Point]:
    """Yield every combination of choices, the last key varying fastest.

    Raises ConfigError for a space with other distributions than choices.
    """
    for key, distribution in space.items():
        if distribution.choice is None:
            raise ConfigError(
                f"experiment.search.space.{key}: {distribution.kind} has no grid; give choice, or search=random"
            )
    options = [range(len(distribution.choice or ())) for distribution in space.values()]
    for combination in product(*options):
        yield dict(zip(space, combination, strict=True))


def check_space(base: Config, space: Mapping[str, Distribution]) -> None:
    """Raise ConfigError for an unknown key, a value of the wrong type, and a key without effect on results."""
    plain = base.model_dump(mode="json")
    for key, distribution in space.items():
        try:
            check_arm_key(key)
            for inner in (name for value in distribution.choice or () for name in flatten({key: value})):
                check_arm_key(inner)
            _check_values(plain, key, distribution, _conditions(space, key))
        except ConfigError as error:
            raise ConfigError(f"experiment.search.space.{key}: {error}") from None


def _conditions(space: Mapping[str, Distribution], key: str) -> dict[str, Any]:
    """Return the values of other keys that a key depends on, transitively.

    Raises ConfigError for conditions that contradict each other.
    """
    conditions: dict[str, Any] = {}
    pending = [key]
    while pending:
        for other, value in space[pending.pop()].when.items():
            if other == key or (other in conditions and conditions[other] != value):
                raise ConfigError(f"when: its conditions can never hold together (see {other})")
            if other not in conditions:
                conditions[other] = value
                pending.append(other)
    return conditions


def _check_values(
    plain: Mapping[str, Any], key: str, distribution: Distribution, conditions: Mapping[str, Any]
) -> None:
    seen: dict[str, Any] = {}
    valid = 0
    for value in _examples(key, distribution):
        values = dict(plain)
        for name, required in (*conditions.items(), (key, value)):
            values = set_value(values, name, required)
        if _violates_only_joint_rules(values):
            # Other keys of the space may make it valid; invalid points are skipped when they are sampled.
            continue
        text = deciding_fingerprint(parse(Config, values))
        if text in seen and distribution.kind == "choice":
            raise ConfigError(f"{seen[text]!r} and {value!r} resolve to the same config")
        seen[text] = value
        valid += 1
    if valid > 1 and len(seen) == 1:
        raise ConfigError("has no effect on a result")


def _examples(key: str, distribution: Distribution) -> Iterator[Any]:
    """Yield every choice; for other distributions the values at both bounds and one between them."""
    alone = {key: distribution.model_copy(update={"when": {}})}
    bounds = coordinates(alone)
    if distribution.kind == "choice":
        points: list[Point] = [{key: index} for index in bounds[key][1]]
    else:
        points = [
            {name: _interpolate(kind, limits, t) for name, (kind, limits) in bounds.items()} for t in (0.0, 0.37, 1.0)
        ]
    for point in points:
        yield point_keys(alone, point)[key]


def _interpolate(kind: str, limits: tuple[Any, ...], t: float) -> float:
    value = float(limits[0] + t * (limits[1] - limits[0]))
    return round(value) if kind == "randint" else value


def _violates_only_joint_rules(values: dict[str, Any]) -> bool:
    """Return whether values are invalid although each one alone is valid: only a rule for several keys fails."""
    try:
        Config.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        return all(item["type"] == "value_error" for item in error.errors())
    return False
