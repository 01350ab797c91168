"""Config groups with their options, and the presets that an arm may choose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from fcos.errors import ConfigError, Mistake, suggest
from orchestration.config import conf_files
from orchestration.config.conf_files import GLOBAL, is_global, option_file, parse_defaults, read_conf


def groups(own: Path | None = None) -> dict[str, list[str]]:
    """Return the config groups with their options, those in the user's own folder included.

    Raises ConfigError where the built-in config files are missing.
    """
    if not conf_files.CONF.is_dir():
        raise ConfigError(
            f"{conf_files.CONF}: no such folder; the config files belong beside the packages: work in a checkout, or "
            "install the wheel again"
        )
    return {
        folder.name: sorted({file.stem for file in (*folder.glob("*.yaml"), *_own_files(own, folder.name))})
        for folder in sorted(conf_files.CONF.iterdir())
        if folder.is_dir()
    }


def _own_files(own: Path | None, group: str) -> list[Path]:
    return [] if own is None else list((own / group).glob("*.yaml"))


def check_own_folder(own: Path) -> None:
    """Check the folder of --config-dir.

    Raises ConfigError for one that is missing or holds no options, and for a file that a built-in one would hide.
    """
    if not own.is_dir():
        what = "is no folder" if own.exists() else "no such folder"
        raise ConfigError(Mistake(f"{what} ({own.absolute()})", "--config-dir", str(own)))
    files = [file for group in groups() for file in _own_files(own, group)]
    if not files:
        raise ConfigError(
            f"--config-dir={own}: holds no config files; an experiment of your own is {own}/experiment/<name>.yaml, "
            f"and the other groups are: {', '.join(group for group in groups() if group != 'experiment')}"
        )
    for file in (own / "config.yaml", *sorted(files)):
        built_in = conf_files.CONF / file.relative_to(own)
        if file.exists() and built_in.exists():
            rule = "Hydra would read the built-in file of this name instead"
            raise ConfigError(Mistake(rule, file=str(file), hint="give it another name"))


def presets() -> dict[str, list[str]]:
    """Return the groups that an arm may choose from, with their built-in options."""
    return {
        group: options
        for group, options in groups().items()
        if group != "experiment" and all(is_global(option_file(group, option)) for option in options)
    }


def expand_presets(
    arms: Mapping[str, Any], own: Path | None = None, section: str = "experiment.arms"
) -> dict[str, Any]:
    """Return arms as dotted keys: each `group: option` becomes the keys of that file, an arm's own keys come on top.

    section: that holds the arms, or the levels of a factor. Raises ConfigError with close matches for an option that
    does not exist.
    """
    options = groups(own)
    known = {group: options[group] for group in presets()}
    return {arm: _expanded(f"{section}.{arm}", changes, known, own) for arm, changes in arms.items()}


def _expanded(key: str, changes: Any, known: Mapping[str, Sequence[str]], own: Path | None) -> Any:
    if not isinstance(changes, Mapping):
        return changes
    keys: dict[str, Any] = {}
    for group in (key for key in changes if key in known):
        option = str(changes[group])
        if option not in known[group]:
            hint = suggest_or_list(option, known[group])
            raise ConfigError(Mistake(f"no such {group}", f"{key}.{group}", option, hint=hint))
        file = option_file(group, option, own)
        if not is_global(file):
            raise ConfigError(
                f"{key}.{group}={option}: {file}, line 1: must be `{GLOBAL}`, as the keys of a {group} "
                "file are counted from the top"
            )
        keys.update(flatten(read_conf(file)))
    return keys | flatten({key: value for key, value in changes.items() if key not in known})


def suggest_or_list(word: str, known: Sequence[str]) -> str:
    """Return "did you mean ...?" with close matches for a misspelt word, or else all known words."""
    return suggest(word, known) or f"there are: {', '.join(known)}"


def default_options() -> dict[str, str | None]:
    """Return each group's option in conf/config.yaml, None where it may be left out."""
    return parse_defaults(read_conf(conf_files.CONF / "config.yaml"))
