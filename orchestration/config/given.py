"""What a command line and the files it names set, so that data=auto leaves what was chosen by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcos.config.parse import flatten
from orchestration.config.conf_files import is_global, option_file, parse_defaults, read_conf
from orchestration.config.groups import groups


@dataclass(frozen=True)
class Given:
    """Config groups that were chosen, and dotted keys that were set."""

    groups: frozenset[str]
    keys: frozenset[str]

    def sets(self, *keys: str) -> bool:
        """Return whether one of the keys, or a part of it, was set."""
        return any(given == key or given.startswith(f"{key}.") for given in self.keys for key in keys)


def given_by(overrides: Sequence[str], experiment: Mapping[str, Any] | None, own: Path | None) -> Given:
    """Return what checked overrides set, the files of absolute keys that they choose, and the experiment.

    `experiment` is the composed section, whose arms and levels are dotted keys by now.
    """
    known = groups(own)
    chosen: dict[str, str | None] = {}
    keys: set[str] = set()
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if name in known and not value.lstrip().startswith("{"):
            chosen[name] = value.strip().strip("'\"") or None
        else:
            keys.add(name)
    pending = list(chosen.items())
    while pending:
        group, option = pending.pop()
        file = option_file(group, option, own)
        if option is None or not file.exists() or not is_global(file):
            continue
        values = read_conf(file)
        for inner, inner_option in parse_defaults(values).items():
            if inner in known and inner not in chosen:
                chosen[inner] = inner_option
                pending.append((inner, inner_option))
        keys |= set(flatten({key: value for key, value in values.items() if key not in ("defaults", "experiment")}))
    arms = (experiment or {}).get("arms") or {}
    factors = (experiment or {}).get("factors") or {}
    sections = [arms, *(levels for levels in factors.values() if isinstance(levels, Mapping))]
    space = ((experiment or {}).get("search") or {}).get("space") or {}
    changed = [changes for section in sections for changes in section.values() if isinstance(changes, Mapping)]
    keys |= {key for changes in changed for key in flatten(changes)}
    return Given(frozenset(chosen), frozenset(keys | set(space)))
