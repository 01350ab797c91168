"""A search space held against the schema: every key known, of the right type, and with an effect (pure)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from fcos.config import Config
from fcos.parsing import parse, set_value
from fcos.section import ConfigError
from orchestration.experiment import check_arm_key, deciding_fingerprint
from orchestration.space import Draw, coordinates, keys_of


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
