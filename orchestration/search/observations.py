"""Observations of a search: finished trainings of other sweeps as points of its space (pure functions)."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestration.config.search import Distribution
from orchestration.search.space import Coordinate, Point, coordinates, point_keys


class Observation(BaseModel):
    """A point, and the means of the searched metrics over its trainings in the store."""

    model_config = ConfigDict(frozen=True)

    point: Point
    values: list[float]
    # MLflow runs of the trainings.
    runs: list[str]


class OutsideError(Exception):
    """A training is no point of the space; the message names the key and its value."""


def point_of(space: Mapping[str, Distribution], values: Mapping[str, Any], base: Mapping[str, Any]) -> Point:
    """Return the point at which a training with these values lies.

    values, base: config values by dotted key, of the training and of the search's starting point. Raises OutsideError
    for a value that the point would not set; a key whose condition does not hold has to be as in the starting point.
    """
    point: Point = {}
    for key, distribution in space.items():
        point |= _coordinates_of(key, distribution, values.get(key)) or _middle(key, distribution)
    set_by_point = point_keys(space, point)
    for key in space:
        if key not in values or values[key] != set_by_point.get(key, base.get(key)):
            raise OutsideError(f"{key}={values.get(key)!r}")
    return point


def _coordinates_of(key: str, distribution: Distribution, value: Any) -> Point | None:
    """Return the coordinates of a key's value; None where the distribution does not hold it."""
    if distribution.choice is not None:
        return {key: distribution.choice.index(value)} if value in distribution.choice else None
    numbers = _inner_ends(value) if distribution.ranges else value if distribution.rising else [value]
    names = coordinates({key: distribution})
    if not isinstance(numbers, list) or len(numbers) != len(names):
        return None
    for number, (_, (low, high)) in zip(numbers, names.values(), strict=True):
        if not isinstance(number, int | float) or isinstance(number, bool) or not low <= number <= high:
            return None
    return dict(zip(names, numbers, strict=True))


def _inner_ends(value: Any) -> list[Any] | None:
    """Return the ends between touching level ranges [0, a], [a, b], ... [z, null]."""
    try:
        return [high for _, high in value][:-1]
    except (TypeError, ValueError):
        return None


def _middle(key: str, distribution: Distribution) -> Point:
    """Return coordinates for a key that is not set: a point has all of them."""
    return {name: _middle_of(kind, bounds) for name, (kind, bounds) in coordinates({key: distribution}).items()}


def _middle_of(kind: Coordinate, bounds: tuple[Any, ...]) -> Any:
    if kind == "choice":
        return bounds[0]
    low, high = bounds
    if kind == "loguniform":
        return math.sqrt(low * high)
    return (low + high) // 2 if kind == "randint" else (low + high) / 2
