"""Parse plain values into a validated configuration, with error messages for users."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fcos.config.base import Section
from fcos.errors import ConfigError, Mistake, suggest

SectionT = TypeVar("SectionT", bound=Section)


def parse(schema: type[SectionT], values: dict[str, Any]) -> SectionT:
    """Validate plain values against a schema.

    Raises ConfigError naming every wrong key with its value, the rule, and suggestions for unknown keys.
    """
    try:
        # As strict JSON, where a list is a tuple, but neither true nor "10" is a number.
        return schema.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(*(_explain(schema, item) for item in error.errors())) from None


def _explain(schema: type[Section], item: Any) -> Mistake | str:
    """Return the mistake behind one validation error; the text of a validator of ours."""
    key, value = ".".join(str(part) for part in item["loc"]), repr(item.get("input"))
    match item["type"]:
        case "extra_forbidden":
            *parents, last = item["loc"]
            known = known_keys(schema, [str(part) for part in parents])
            hint = suggest(str(last), known) or f"known here: {', '.join(known)}"
            return Mistake("no such key", key, value, hint=hint)
        case "missing":
            return Mistake("a value is needed", key)
        case "value_error":
            message = str(item["ctx"]["error"])
            return f"{key}.{message}" if key else message
        case _:
            return Mistake(f"{item['msg'][0].lower()}{item['msg'][1:]}", key, value)


def known_keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys of a schema below a path of section names.

    Returns an empty list where the path does not exist.
    """
    for part in path:
        field = schema.model_fields.get(part)
        if field is None:
            return []
        annotations = [field.annotation, *getattr(field.annotation, "__args__", ())]
        sections = [kind for kind in annotations if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            return []
        schema = sections[0]
    return list(schema.model_fields)


def set_value(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return plain values with one dotted key set.

    Sections on the path are copied, the original is unchanged. Raises ConfigError where the path leads through a value.
    """
    return _set_below(values, key.split("."), value, key)


def _set_below(values: dict[str, Any], path: list[str], value: Any, key: str) -> dict[str, Any]:
    first, *remaining = path
    if not remaining:
        return {**values, first: value}
    section = values.get(first)
    if section is None:
        section = {}
    if not isinstance(section, dict):
        raise ConfigError(f"{key}: {first} is a value, not a section")
    return {**values, first: _set_below(section, remaining, value, key)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; of a key given twice the last value is taken."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat


def with_keys(config: SectionT, keys: Mapping[str, Any]) -> SectionT:
    """Return a config with some dotted keys set; raises ConfigError where the schema refuses one."""
    values = config.model_dump(mode="json")
    for key, value in keys.items():
        values = set_value(values, key, value)
    return parse(type(config), values)
