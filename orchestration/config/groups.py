"""The config groups of conf/, and those whose options an arm may choose."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from fcos.errors import ConfigError
from orchestration.config.conf_files import check_files_in_use, defaults_of, is_global, read_conf

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def groups() -> dict[str, list[str]]:
    """The config groups with their options.

    Raises ConfigError where the config files are missing.
    """
    if not CONF.is_dir():
        raise ConfigError(
            f"{CONF}: no such folder; an installed package holds no config files; work in a checkout of the "
            "repository, installed with `pip install -e .`"
        )
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(CONF.iterdir())
        if folder.is_dir()
    }


def presets() -> dict[str, list[str]]:
    """The groups that an arm may choose from, with their options."""
    return {
        group: options
        for group, options in groups().items()
        if group != "experiment" and all(is_global(CONF / group / f"{option}.yaml") for option in options)
    }


def expand_presets(arms: Mapping[str, Any]) -> dict[str, Any]:
    """Arms as dotted keys, every `group: option` replaced by the keys of that file; an arm's other keys come on top.

    Raises ConfigError with near matches for an option that does not exist.
    """
    known = presets()
    return {arm: _expanded(arm, changes, known) for arm, changes in arms.items()}


def _expanded(arm: str, changes: Any, known: Mapping[str, Sequence[str]]) -> Any:
    if not isinstance(changes, Mapping):
        return changes
    keys: dict[str, Any] = {}
    for group in (key for key in changes if key in known):
        option = str(changes[group])
        if option not in known[group]:
            raise ConfigError(f"experiment.arms.{arm}.{group}={option}: no such {group}; {near(option, known[group])}")
        keys.update(flatten(read_conf(CONF / group / f"{option}.yaml")))
    return keys | flatten({key: value for key, value in changes.items() if key not in known})


def near(word: str, known: Sequence[str]) -> str:
    """What a misspelt word may have meant, as the end of a message."""
    matches = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"there are: {', '.join(known)}"


def default_options() -> dict[str, str | None]:
    """What each group stands at in conf/config.yaml; None where it may be left out."""
    return defaults_of(read_conf(CONF / "config.yaml"))


def check_files(chosen: Mapping[str, str | None]) -> None:
    """Raises ConfigError naming file, line and rule for a slip in a file that a command reads.

    `chosen` are the options that the command line names.
    """
    check_files_in_use(CONF, chosen)
