"""What a command line and the files it names set, so that nothing is chosen that was given by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    # Of both, what the command line itself names, and no file that it chooses.
    named: frozenset[str] = frozenset()
    # The option of each group, whether it was chosen or not.
    options: Mapping[str, str | None] = field(default_factory=dict)

    def sets(self, *keys: str) -> bool:
        """Return whether one of the keys, or a part of it, was set."""
        return any(given == key or given.startswith(f"{key}.") for given in self.keys for key in keys)


def given_by(
    overrides: Sequence[str],
    experiment: Mapping[str, Any] | None,
    own: Path | None,
    options: Mapping[str, str | None],
) -> Given:
    """Return what checked overrides set, the files of absolute keys that they choose, and the experiment.

    `experiment` is the composed section, whose arms and levels are dotted keys by now, `options` are those composed.
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
    named = frozenset({*chosen, *keys})
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
    factors = _section(experiment, "factors")
    sections = [_section(experiment, "arms"), *(_section(factors, factor) for factor in factors)]
    changed = [changes for section in sections for changes in section.values() if isinstance(changes, Mapping)]
    keys |= {key for changes in changed for key in flatten(changes)}
    keys |= set(_section(_section(experiment, "search"), "space"))
    return Given(frozenset(chosen), frozenset(keys), named, options)


def _section(values: Any, key: str) -> Mapping[str, Any]:
    """Return the mapping below a key; empty where there is none, or what the schema refuses later."""
    section = values.get(key) if isinstance(values, Mapping) else None
    return section if isinstance(section, Mapping) else {}
