"""What a person types: overrides held against groups and schema before Hydra sees them, and the help."""

import typing
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from fcos.parsing import known_keys
from fcos.section import ConfigError
from orchestration.config import LabConfig, shut_out_environment
from orchestration.groups import CONF, groups, near

# Flags that Hydra answers itself (show the config, where values come from, shell completion).
HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--resolve", "--package", "-p")


def is_for_hydra(arguments: Sequence[str]) -> bool:
    """Whether the command line asks Hydra to show something instead of running."""
    return any(argument.split("=")[0] in HYDRA_FLAGS for argument in arguments)


def show_with_hydra(arguments: Sequence[str]) -> None:
    """Let Hydra answer --cfg, --info and shell completion."""
    import sys

    import hydra

    shut_out_environment()
    overrides = [word for word in arguments if "=" in word and not word.startswith("-")]
    flags = [word for word in arguments if word not in overrides]
    completing = "-sc" in flags or "--shell-completion" in flags
    sys.argv = [sys.argv[0], *flags, *(overrides if completing else check_overrides(overrides))]
    hydra.main(config_path=str(CONF), config_name="config", version_base=None)(lambda config: None)()


def check_overrides(arguments: Sequence[str]) -> list[str]:
    """Overrides in Hydra's own words, where every valid key may be set without a plus sign.

    The schema has defaults that the YAML files do not spell out; Hydra would refuse those keys, so values
    are handed on as `++key=value` once the schema knows the key. Raises ConfigError with near matches.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    for argument in arguments:
        _check_form(argument)
    try:
        parsed = OverridesParser.create().parse_overrides(list(arguments))
    except OverrideParseException as error:
        raise ConfigError(f"{error.override}: not readable; lists and mappings need quotes in a shell") from None
    options = groups()
    checked = []
    for override in parsed:
        line = str(override.input_line)
        key, _, value = line.partition("=")
        key = key.lstrip("+")
        if override.is_sweep_override():
            raise ConfigError(f"{line}: several values; arms and seeds belong into an experiment")
        if override.is_delete():
            checked.append(line)
        elif key in options and not value.strip().startswith("{"):
            _check_option(key, value, options[key])
            checked.append(f"{'+' if key == 'experiment' else ''}{key}={value}")
        else:
            check_key(key, line)
            checked.append(f"++{key}={value}")
    return checked


def _check_form(argument: str) -> None:
    if argument in ("-m", "--multirun"):
        raise ConfigError("--multirun: a sweep is what an experiment file says; use +experiment=<name>")
    if argument.startswith("-"):
        raise ConfigError(f"{argument}: no such option; values are given as key=value, see --help")
    if "=" not in argument and not argument.startswith("~"):
        raise ConfigError(f"{argument}: give a value as {argument}=...")


def _check_option(group: str, option: str, options: Sequence[str]) -> None:
    name = option.strip().strip("'\"")
    if name not in options:
        raise ConfigError(f"{group}={name}: no such {group}; {near(name, options)}")


def check_key(key: str, line: str) -> None:
    """Raises ConfigError with near matches for a dotted key that the schema does not know."""
    parts = key.split(".")
    # Below an arm or a space stands a dotted key of its own; an arm's name is free.
    if parts[:2] in (["experiment", "arms"], ["experiment", "paper"]) or parts[:3] == ["experiment", "search", "space"]:
        return
    for place, part in enumerate(parts):
        known = known_keys(LabConfig, parts[:place])
        if part in known:
            continue
        ends = [full for full in dotted_keys(LabConfig) if full.split(".")[-1] == parts[-1]]
        if known and not ends:
            parent = ".".join(parts[:place])
            ends = [f"{parent}.{name}" if parent else name for name in known]
        raise ConfigError(f"{line}: no such key {key}; {near(key, ends or dotted_keys(LabConfig))}")


def dotted_keys(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """Every leaf that a schema knows, as a dotted key."""
    keys = []
    for name, field in schema.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            keys += dotted_keys(sections[0], f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def help_text(script: str, purpose: str, examples: Sequence[str]) -> str:
    """Groups with their options, the experiments with their claims, and a few lines to start from."""
    lines = [purpose, "", f"usage: python orchestration/{script} [group=option] [key=value] ...", ""]
    lines.append("Groups")
    for group, options in groups().items():
        if group != "experiment":
            lines.append(f"  {group:<12} {', '.join(options)}")
    lines += ["", "Experiments (+experiment=<name>)"]
    lines += [f"  {name:<22} {_claim(CONF / 'experiment' / f'{name}.yaml')}" for name in groups()["experiment"]]
    lines += ["", "Examples"]
    lines += [f"  python orchestration/{script} {example}".rstrip() for example in examples]
    lines += [
        "",
        "What a command line comes to: --cfg job. All keys: fcos/config.py, orchestration/config.py.",
        "",
    ]
    return "\n".join(lines)


def _claim(file: Path) -> str:
    for line in file.read_text().splitlines():
        if line.strip().startswith("claim:"):
            return line.split(":", 1)[1].strip().strip("'\"")
    return ""
