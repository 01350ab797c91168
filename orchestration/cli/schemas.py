"""JSON schemas that a command prints: --schema for the configuration, --schema=NAME for files of it, or for events."""

import json
import sys
from collections.abc import Sequence

SCHEMA_OPTION = "--schema"
EVENTS = "events"


def requested_schema(arguments: Sequence[str]) -> str | None:
    """Return the name that --schema gives, "" for the whole configuration; None without the option."""
    options = [argument.partition("=") for argument in arguments]
    return next((name for option, _, name in options if option == SCHEMA_OPTION), None)


def print_schema(name: str) -> None:
    """Print a schema; raises ConfigError for an unknown name."""
    from fcos.errors import ConfigError
    from orchestration.config.json_schema.documents import KINDS, make_config_schema, make_file_schema, schema_text

    if name == "":
        text = schema_text(make_config_schema())
    elif name == EVENTS:
        text = _events_text()
    elif name in KINDS:
        text = schema_text(make_file_schema(name))
    else:
        known = ", ".join((*KINDS, EVENTS))
        raise ConfigError(f"{SCHEMA_OPTION}={name}: no such schema; there are {known}, and {SCHEMA_OPTION} alone")
    sys.stdout.write(text)
    sys.stdout.flush()


def _events_text() -> str:
    from orchestration.cli.event_records import Event
    from orchestration.config.json_schema.sections import DIALECT

    schema = {"$schema": DIALECT, **Event.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=1) + "\n"
