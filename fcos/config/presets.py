"""Presets of FCOS's implementations: the settings of their code, from conf/implementation."""

from typing import Any

import yaml

from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse, set_value
from fcos.errors import ConfigError
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
