"""JSON schemas of configuration sections as pydantic makes them, with the comments of the source as descriptions."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from orchestration.config.json_schema.comments import field_comments

# A JSON schema, or a part of one.
JsonSchema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def section_schema(model: type[BaseModel]) -> JsonSchema:
    """Return the schema of a section, with those of the sections below it in `$defs`, by class name.

    Each property has its default and, where the source has a comment above it, a description.
    """
    schema = model.model_json_schema()
    models = {each.__name__: each for each in _sections(model)}
    for name, definition in {model.__name__: schema, **schema.get("$defs", {})}.items():
        _describe(definition, models[name])
    return schema


def section_name(value: JsonSchema) -> str | None:
    """Return the name of the section that a property holds, also where it may be null; None for other values."""
    references = [value, *value.get("anyOf", ())]
    return next((each["$ref"].rpartition("/")[2] for each in references if "$ref" in each), None)


def dotted_properties(schema: JsonSchema, name: str, prefix: str) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the properties of a section in `$defs`, and of those below it, under dotted keys that begin with prefix."""
    for key, value in schema["$defs"][name]["properties"].items():
        yield f"{prefix}{key}", value
        below = section_name(value)
        if below is not None:
            yield from dotted_properties(schema, below, f"{prefix}{key}.")


def _describe(definition: JsonSchema, model: type[BaseModel]) -> None:
    comments = field_comments(model)
    definition.pop("title", None)
    for name, value in definition.get("properties", {}).items():
        value.pop("title", None)
        if name in comments:
            value["description"] = comments[name]


def _sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a section and all below it, whether a field holds one, may be null, or maps names to them."""
    yield model
    for field in model.model_fields.values():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _sections(kind)


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _kinds(argument)
