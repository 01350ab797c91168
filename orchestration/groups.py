"""The config groups of conf/, and those whose options an arm may choose."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcos.parsing import flatten
from fcos.section import ConfigError

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
# Hydra's own word for a file whose keys are counted from the top; only such a file says all that it changes.
GLOBAL = "# @package _global_"


def groups() -> dict[str, list[str]]:
    """The config groups with their options."""
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
        if group != "experiment" and all(_is_global(CONF / group / f"{option}.yaml") for option in options)
    }


def expand_presets(arms: Mapping[str, Any]) -> dict[str, Any]:
    """Arms as dotted keys, every `group: option` replaced by the keys of that file; an arm's other keys come on top.

    Raises ConfigError with near matches for an option that does not exist.
    """
    known = presets()
    return {arm: _expanded(arm, changes, known) for arm, changes in arms.items()}


def _expanded(arm: str, changes: Any, known: Mapping[str, Sequence[str]]) -> Any:
    from omegaconf import OmegaConf

    if not isinstance(changes, Mapping):
        return changes
    keys: dict[str, Any] = {}
    for group in (key for key in changes if key in known):
        option = str(changes[group])
        if option not in known[group]:
            raise ConfigError(f"experiment.arms.{arm}.{group}={option}: no such {group}; {near(option, known[group])}")
        values = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml"))
        assert isinstance(values, dict)
        keys.update(flatten({str(key): value for key, value in values.items()}))
    return keys | flatten({key: value for key, value in changes.items() if key not in known})


def near(word: str, known: Sequence[str]) -> str:
    """What a misspelt word may have meant, as the end of a message."""
    matches = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"there are: {', '.join(known)}"


def _is_global(file: Path) -> bool:
    with file.open() as lines:
        return lines.readline().strip() == GLOBAL
