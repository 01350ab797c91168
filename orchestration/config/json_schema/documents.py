"""JSON schemas for editors and programs: of the whole configuration, and of each kind of config file.

They stand in docs/config.schema.json and docs/config_files/, as `python orchestration/sweep.py --schema` and
`--schema=<kind>` print them. A config file holds a part of the configuration, so that none of its keys is required.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from orchestration.config.experiment import ARM_SECTIONS, SEED_KEYS
from orchestration.config.groups import presets
from orchestration.config.json_schema.sections import (
    DIALECT,
    JsonSchema,
    dotted_properties,
    section_name,
    section_schema,
)
from orchestration.config.schema import LabConfig

# Files whose keys are counted from the top (`# @package _global_`): experiments, and presets that an arm may choose.
EXPERIMENT = "experiment"
# Groups whose files hold one section of the configuration.
GROUPS = ("model", "data", "schedule", "cluster", "tracking", "search")
KINDS = (EXPERIMENT, *GROUPS)
# Seeds within a section; the section of seeds itself is for noise floors.
REFUSED = tuple(key for key in SEED_KEYS if "." in key)
# Text that Hydra replaces (`${...}`), or a value that the command line has to give.
REPLACED = {"type": "string", "pattern": r"^(\$\{.+\}|\?\?\?)$"}
DEFAULTS = {
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": ["string", "null"]}}]},
    "description": "Options of groups that this file is laid over, such as `- override /model: fcos_v2_r50`.",
}


def make_config_schema() -> JsonSchema:
    """Return the schema of a whole configuration, as config.json of a run and `--cfg job` have it."""
    schema = section_schema(LabConfig)
    keys = dict(_arm_keys(schema))
    leaves = {key: value for key, value in keys.items() if section_name(value) is None}
    _give_experiment_keys(schema, _closed(leaves), "Dotted keys that an arm changes.")
    return {"$schema": DIALECT, "title": "Configuration of FCOS Lab", **schema}


def make_file_schema(kind: str) -> JsonSchema:
    """Return the schema of the config files of a kind (KINDS)."""
    model = LabConfig if kind == EXPERIMENT else _section_of(kind)
    schema = section_schema(model)
    if kind == "data":
        # Resolved to coco before the configuration is validated.
        schema["properties"]["name"]["enum"].append("auto")
    if kind == EXPERIMENT:
        chosen = {group: {"type": "string", "description": f"A {group}, whose keys are set."} for group in presets()}
        text = "Dotted or nested keys that an arm changes."
        _give_experiment_keys(schema, _closed({**chosen, **dict(_arm_keys(schema))}), text)
        schema["properties"]["hydra"] = {"type": "object", "description": "Settings of Hydra itself."}
    for definition in (schema, *schema.get("$defs", {}).values()):
        _make_partial(definition)
    schema["properties"] = {"defaults": DEFAULTS, **schema["properties"]}
    return {"$schema": DIALECT, "title": f"FCOS Lab: {kind} file", **schema}


def schema_text(schema: JsonSchema) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=1) + "\n"


def _section_of(group: str) -> type[BaseModel]:
    model = LabConfig.model_fields[group].annotation
    assert isinstance(model, type) and issubclass(model, BaseModel)
    return model


def _arm_keys(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the sections and dotted keys that an arm may name."""
    for section in ARM_SECTIONS:
        value = schema["properties"][section]
        name = section_name(value)
        assert name is not None
        keys = [(section, value), *dotted_properties(schema, name, f"{section}.")]
        yield from (
            (key, {part: of_key for part, of_key in each.items() if part != "default"})
            for key, each in keys
            if key not in REFUSED
        )


def _closed(properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _give_experiment_keys(schema: JsonSchema, arm: JsonSchema, text: str) -> None:
    """Let arms, levels and search spaces hold keys of the configuration alone."""
    definitions = schema["$defs"]
    definitions["Arm"] = {**arm, "description": text}
    keys = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Arm"}}
    experiment, search = definitions["ExperimentConfig"]["properties"], definitions["SearchConfig"]["properties"]
    experiment["arms"] = {**experiment["arms"], **keys}
    experiment["factors"] = {**experiment["factors"], "additionalProperties": keys}
    drawn = {"anyOf": [{"$ref": "#/$defs/Distribution"}, {"type": "null"}]}
    # A section holds nested keys; a preset cannot be drawn.
    space = {
        key: drawn if section_name(value) is None else {"type": "object"}
        for key, value in arm["properties"].items()
        if key.partition(".")[0] in ARM_SECTIONS
    }
    search["space"] = {**search["space"], **_closed(space)}


def _make_partial(definition: JsonSchema) -> None:
    """Require no key, and let each value but a section be what Hydra replaces."""
    definition.pop("required", None)
    properties = definition.get("properties", {})
    for key, value in properties.items():
        if section_name(value) is None and value.get("type") != "object":
            properties[key] = _or_replaced(value)


def _or_replaced(value: JsonSchema) -> JsonSchema:
    about: dict[str, Any] = {part: value[part] for part in ("description", "default") if part in value}
    rest = {part: of_value for part, of_value in value.items() if part not in about}
    options = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {**about, "anyOf": [*options, REPLACED]}
