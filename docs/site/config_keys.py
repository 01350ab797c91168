"""Make the page of every config key, with default, unit and effect, from docs/config.schema.json.

The schema is that of the pydantic models, with the comment above each field as its effect; a test holds it to them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docs.site.documents import DOCS
from docs.site.units import UNIT_OF, UNSAID

SCHEMA = DOCS / "config.schema.json"
# What a configuration file of a user names by itself, in place of a key.
FREE_NAMES = {"experiment.search.space": "experiment.search.space.<key>"}
INTRODUCTION = """# Every config key

Each key with its effect, the values that it takes, its default and unit. A command sets it as `key=value`
([Running](running.md)). The default is that of the schema: files of `conf/` set others, such as `model=fcos_v1_r50` for
a detector, and `python orchestration/train.py model=fcos_v1_r50 --cfg job` shows what they resolve to. Where no default
is given, one of those files has the value. Rules over several keys are checked when a command starts.

The same as a JSON schema, for editors and programs: [config.schema.json](config.schema.json).
"""

JsonSchema = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """A setting as the page shows it."""

    name: str
    effect: str
    values: str
    default: str | None
    unit: str | None


@dataclass(frozen=True)
class KeySection:
    """The settings that share all but the last part of their names."""

    name: str
    about: str
    keys: tuple[Key, ...]


def read_sections() -> list[KeySection]:
    """Return all sections of the schema, those without a key of their own left out."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [section for section in _sections(schema, schema, "") if section.keys]


def config_keys_page() -> str:
    """Return the page: a heading for each section, below it one for each key."""
    return "\n".join([INTRODUCTION, *(_section_text(section) for section in read_sections())])


def _sections(schema: JsonSchema, part: JsonSchema, prefix: str) -> Iterator[KeySection]:
    keys, below = [], []
    for key, value in part.get("properties", {}).items():
        name = f"{prefix}{key}"
        reference = _section_reference(value)
        if reference is None:
            keys.append(_read_key(name, value))
        if reference is not None or name in FREE_NAMES:
            below.append((FREE_NAMES.get(name, name), reference or "Distribution"))
    yield KeySection(prefix.rstrip("."), part.get("description", ""), tuple(keys))
    for name, reference in below:
        yield from _sections(schema, schema["$defs"][reference], f"{name}.")


def _section_reference(value: JsonSchema) -> str | None:
    """Return the name of the section that a key holds; None for a value."""
    options = [value, *value.get("anyOf", ())]
    return next((each["$ref"].rpartition("/")[2] for each in options if "$ref" in each), None)


def _read_key(name: str, value: JsonSchema) -> Key:
    default = json.dumps(value["default"], ensure_ascii=False) if "default" in value else None
    return Key(name, value.get("description", ""), _values_text(value), default, UNIT_OF.get(name))


def _values_text(value: JsonSchema) -> str:
    """Return which values a key takes, in words."""
    options = value.get("anyOf", [value])
    if all("const" in option for option in options):
        return "one of " + ", ".join(f"`{json.dumps(option['const'])}`" for option in options)
    texts = [_option_text(option) for option in options if option.get("type") != "null"]
    null = ["`null`"] if len(texts) < len(options) else []
    return " or ".join(dict.fromkeys([*texts, *null]))


def _option_text(option: JsonSchema) -> str:
    if "enum" in option:
        return "one of " + ", ".join(f"`{each}`" for each in option["enum"])
    match option.get("type"):
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return "whole number" + _bounds_text(option)
        case "number":
            return "number" + _bounds_text(option)
        case "array":
            return _list_text(option)
        case "object":
            return "mapping"
        case _:
            return "text"


def _list_text(option: JsonSchema) -> str:
    if "prefixItems" in option:
        return f"list of {len(option['prefixItems'])}: " + ", ".join(map(_values_text, option["prefixItems"]))
    items = option.get("items", {})
    return f"list, each a {_values_text(items)}" if "enum" not in items else f"list, each {_values_text(items)}"


def _bounds_text(option: JsonSchema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    bounds = [f"{word} {option[bound]:g}" for bound, word in words.items() if bound in option]
    return "".join(f", {bound}" for bound in bounds)


def _section_text(section: KeySection) -> str:
    about = f"{_escaped(section.about)}\n\n" if section.about and section.name else ""
    title = section.name or "The command"
    return f"## {_escaped(title)}\n\n{about}" + "\n".join(_key_text(key) for key in section.keys)


def _key_text(key: Key) -> str:
    facts = [f"Values: {key.values}"]
    facts += [f"Default: `{key.default}`"] if key.default is not None else ["No default"]
    facts += [f"Unit: {key.unit}"] if key.unit is not None and key.unit not in UNSAID else []
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"### `{key.name}` {{ #{key.name.replace('<key>', 'key')} }}\n\n{_escaped(key.effect)}\n\n{lines}\n"


def _escaped(text: str) -> str:
    """Return plain text as Markdown that shows it as it is, but for code in backticks."""
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        for mark in "\\*_[":
            parts[index] = parts[index].replace(mark, f"\\{mark}")
        parts[index] = parts[index].replace("<", "&lt;")
    return "`".join(parts)
