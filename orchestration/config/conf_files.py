"""Read and check the YAML files of conf/ and --config-dir, with one message per mistake, before Hydra reads them."""

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from fcos.errors import ConfigError, Mistake
from fcos.installation import conf_folder

# The built-in config files.
CONF = conf_folder()
# Hydra's header of a file whose keys are absolute; only such a file contains all keys that it changes.
GLOBAL = "# @package _global_"
_IS_GLOBAL = re.compile(rb"\s*#\s*@package\s+_global_\s*")
_HEADER = re.compile(r"\s*#\s*@")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# PyYAML's problem -> how to fix it.
_HINTS = {
    "found character '\\t'": "indent with blanks, not with a tab",
    "mapping values are not allowed here": "a value that holds ': ' needs quotes",
    "found duplicate key": "each key may be given once",
}


def conf_text(path: Path) -> str:
    """Return the text of a config file.

    Raises ConfigError for a file that cannot be read, is not UTF-8 or has a byte order mark.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(Mistake(f"cannot be read ({error.strerror})", file=_shown(path))) from None
    if content.startswith(_BYTE_ORDER_MARK):
        rule = "begins with a byte order mark, which hides that line from Hydra"
        raise ConfigError(Mistake(rule, file=_shown(path), line=1, hint="save the file as UTF-8 without one"))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        rule = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise ConfigError(Mistake(rule, file=_shown(path), line=line, hint="save the file as UTF-8")) from None


def read_conf(path: Path) -> dict[str, Any]:
    """Return the keys of a config file as plain values, with unresolved interpolations.

    Raises ConfigError naming file, line and rule for invalid YAML and for YAML that is not a mapping.
    """
    text = conf_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if _HEADER.match(first) and len(first.strip().lstrip("#").split()) != 2:
        raise ConfigError(f"{_shown(path)}: {first.strip()}: is no header; Hydra knows `{GLOBAL}`")
    return deepcopy(_parsed(text, _shown(path)))


@lru_cache(maxsize=256)
def _parsed(text: str, shown: str) -> dict[str, Any]:
    """Parse the text of a config file, which takes long, and which a command needs more than once."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "text"
            line, hint = node.start_mark.line + 1, "a config file is a mapping, key: value"
            raise ConfigError(Mistake(f"holds {kind}", file=shown, line=line, hint=hint))
        values = OmegaConf.to_container(OmegaConf.create(text))
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_mistake(error, text, shown)) from None
    except OmegaConfBaseException as error:
        raise ConfigError(Mistake(str(error).splitlines()[0], file=shown)) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def read_experiment(path: Path) -> dict[str, Any]:
    """Return the keys of an experiment's file.

    Raises ConfigError as `read_conf` does, and for a file without an experiment or without absolute keys.
    """
    values = read_conf(path)
    if not values:
        raise ConfigError(Mistake("is empty", file=_shown(path), hint="an experiment's file holds the key experiment"))
    if not is_global(path):
        raise ConfigError(
            f"{_shown(path)}, line 1: must be `{GLOBAL}`, as the keys of an experiment's file are counted from the top"
        )
    if not isinstance(values.get("experiment"), Mapping):
        hint = "it holds name, arms, baseline and seeds"
        raise ConfigError(Mistake("has no section experiment", file=_shown(path), hint=hint))
    return values


def experiment_claim(path: Path) -> str:
    """Return the claim of an experiment; "" where its file has none.

    Faster than `read_experiment`, which would take seconds for all files; raises ConfigError as that does.
    """
    import yaml

    text = conf_text(path)
    try:
        node = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        plain = _is_plain(node) and is_global(path)
        claim = _below(_below(node, "experiment"), "claim") if plain else None
    except (yaml.YAMLError, LookupError):
        claim = None
    if isinstance(claim, yaml.ScalarNode):
        return str(claim.value)
    return str(read_experiment(path)["experiment"].get("claim", ""))


def _is_plain(node: Any) -> bool:
    """Return whether all keys below a node are scalars and none is repeated."""
    import yaml

    pending, seen = [node], set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, yaml.MappingNode):
            keys = [key.value for key, _ in each.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(each.value):
                return False
            pending += [value for _, value in each.value]
        elif isinstance(each, yaml.SequenceNode):
            pending += each.value
    return True


def _below(node: Any, key: str) -> Any:
    """Return the node of a key; raise LookupError where it is absent."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise LookupError(key)
    return {name.value: value for name, value in node.value}[key]


def is_global(path: Path) -> bool:
    """Return whether a file has the header GLOBAL; True for an unreadable file."""
    try:
        with path.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"")
    except OSError:
        # The error is raised when the option is chosen.
        return True
    return _IS_GLOBAL.fullmatch(first) is not None


def option_file(group: str, option: str | None, own: Path | None = None) -> Path:
    """Return the file of a group's option: the built-in one, or that in the user's own folder.

    The built-in one comes first, as for Hydra.
    """
    path = CONF / group / f"{option}.yaml"
    if own is None or path.is_symlink() or path.exists():
        return path
    return own / group / f"{option}.yaml"


def check_files_in_use(chosen: Mapping[str, str | None], own: Path | None = None) -> None:
    """Check the files that a command reads.

    `chosen` are the options that the command line names, `own` is the folder of --config-dir.
    Raises ConfigError naming file, line and rule for the first file with a mistake.
    """
    options = parse_defaults(read_conf(CONF / "config.yaml"))
    experiment = chosen.get("experiment")
    if experiment is not None:
        options |= parse_defaults(read_experiment(option_file("experiment", experiment, own)))
    for group, option in {**options, **chosen}.items():
        path = option_file(group, option, own)
        # Hydra reports an option that does not exist.
        if option is not None and (path.is_symlink() or path.exists()):
            read_conf(path)


def parse_defaults(values: Mapping[str, Any]) -> dict[str, str | None]:
    """Return group -> option of a file's defaults list, whose entries may be like `override /model: fcos_small`."""
    entries = values.get("defaults") or ()
    pairs = [pair for entry in entries if isinstance(entry, Mapping) for pair in entry.items()]
    return {str(key).split()[-1].strip("/"): None if option is None else str(option) for key, option in pairs}


def _yaml_mistake(error: Exception, text: str, shown: str) -> Mistake:
    """Return the file and line of a YAML error, its rule and a hint."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        position = getattr(error, "position", 0)
        return Mistake(str(error).splitlines()[0], file=shown, line=text[:position].count("\n") + 1)
    hint = next((hint for prefix, hint in _HINTS.items() if str(problem).startswith(prefix)), None)
    return Mistake(str(problem), file=shown, line=mark.line + 1, hint=hint)


def _shown(path: Path) -> str:
    """Return a file's path for messages: a built-in one as conf/..., another one as its folder was given."""
    return f"conf/{path.relative_to(CONF)}" if path.is_relative_to(CONF) else str(path)
