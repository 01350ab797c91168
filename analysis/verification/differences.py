"""Hold two JSON values against each other, number by number."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Relative difference up to which two numbers are one: another processor adds in another order.
ROUNDING = 1e-9


@dataclass(frozen=True)
class JsonComparison:
    """What two JSON values have in common.

    numbers: compared in all. rounded: of these, those that differ by rounding alone; largest: such a one, relative.
    differences: a line for each value that is another, with its JSON path.
    """

    numbers: int
    rounded: int
    largest: float
    differences: tuple[str, ...]


def compare_json(stored: Any, again: Any) -> JsonComparison:
    """Compare a stored JSON value with one that was computed again."""
    numbers, largest, rounded, differences = 0, 0.0, 0, []
    for path, ours, theirs in _iterate_leaves("$", stored, again):
        if _is_number(ours) and _is_number(theirs):
            numbers += 1
            difference = measure_difference(ours, theirs)
            if difference <= ROUNDING and not (isinstance(ours, int) and isinstance(theirs, int)):
                rounded += difference > 0
                largest = max(largest, difference)
                continue
        if ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
            differences.append(f"{path}: is {_shorten(ours)}, computed again {_shorten(theirs)}")
    return JsonComparison(numbers, rounded, largest, tuple(differences))


def measure_difference(first: float, second: float) -> float:
    """Return the relative difference of two numbers, 0 for equal ones; NaN equals NaN."""
    if first == second:
        return 0.0
    try:
        first, second = float(first), float(second)
    except OverflowError:
        # Whole numbers beyond every float.
        return math.inf
    if math.isnan(first) and math.isnan(second):
        return 0.0
    difference = abs(first - second) / max(abs(first), abs(second))
    return difference if math.isfinite(difference) else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_ABSENT = object()


def _iterate_leaves(path: str, stored: Any, again: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield path and values of each leaf that either has; a part that one lacks is a leaf."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for key in dict.fromkeys([*stored, *again]):
            where = f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]"
            yield from _iterate_leaves(where, stored.get(key, _ABSENT), again.get(key, _ABSENT))
    elif isinstance(stored, list) and isinstance(again, list):
        for index in range(max(len(stored), len(again))):
            ours, theirs = (each[index] if index < len(each) else _ABSENT for each in (stored, again))
            yield from _iterate_leaves(f"{path}[{index}]", ours, theirs)
    else:
        yield path, stored, again


def _shorten(value: Any) -> str:
    if value is _ABSENT:
        return "missing"
    try:
        text = json.dumps(value)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= 120 else f"{text[:120]}…"
