"""Settings from conf/: the options of its groups, and the presets of FCOS's implementations."""

from typing import Any

import yaml

from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse, set_value
from fcos.errors import ConfigError, suggest
from fcos.installation import conf_folder

CONF = conf_folder()
# The model that every preset changes.
BASE = "fcos_v2_r50"


def load_presets() -> dict[str, ModelConfig]:
    """Load the models of conf/implementation by name.

    The first is official_v1, to which the others are compared. Raises ConfigError where there are none.
    """
    folder = CONF / "implementation"
    names = sorted((path.stem for path in folder.glob("*.yaml")), key=lambda name: (name != "official_v1", name))
    if not names:
        raise ConfigError(
            f"{folder}: no presets there; the config files belong beside the packages: work in a checkout, or install "
            "the wheel again"
        )
    base = yaml.safe_load((CONF / "model" / f"{BASE}.yaml").read_text())
    models = {}
    for name in names:
        values: dict[str, Any] = base
        for key, value in flatten(yaml.safe_load((folder / f"{name}.yaml").read_text())["model"]).items():
            values = set_value(values, key, value)
        models[name] = parse(ModelConfig, values)
    return models


def read_option(group: str, name: str) -> dict[str, Any]:
    """Return the settings of conf/GROUP/NAME.yaml on top of those of the same group in its defaults list.

    Overrides of other groups are left out. Raises ConfigError for a name that the group does not have.
    """
    own = _read_file(group, name)
    bases = [entry for entry in own.pop("defaults", ()) if isinstance(entry, str) and entry != "_self_"]
    values: dict[str, Any] = {}
    for part in (*(read_option(group, base) for base in bases), own):
        for key, value in flatten(part).items():
            values = set_value(values, key, value)
    return values


def option_brought_along(group: str, name: str, other: str) -> str | None:
    """Return the option of another group that conf/GROUP/NAME.yaml overrides in its defaults list, or None."""
    for entry in _read_file(group, name).get("defaults", ()):
        for key, option in entry.items() if isinstance(entry, dict) else ():
            if key.removeprefix("override /").partition("@")[0] == other:
                return str(option)
    return None


def _read_file(group: str, name: str) -> dict[str, Any]:
    folder = CONF / group
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise ConfigError(f"{group}={name}: no such option; {suggest(name, names) or 'known: ' + ', '.join(names)}")
    content: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return content
