"""fcos.configure: a configuration from the options of conf/ and changed settings."""

from collections.abc import Mapping
from typing import Any

from fcos.api.user_errors import check_type, raises_config_error
from fcos.config.parse import parse, set_value
from fcos.config.presets import option_brought_along, read_option
from fcos.config.run import Config
from fcos.errors import ConfigError

# Of conf/config.yaml.
DEFAULT_SCHEDULE = "embedded"


@raises_config_error
def configure(
    *,
    model: str = "fcos_small",
    data: str = "synthetic",
    schedule: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Config:
    """Build a configuration of one training.

    model, data, schedule: options of conf/model, conf/data and conf/schedule. Without a schedule the model's own is
    taken where it names one, else `embedded`. changes: settings by their dotted keys, as on a command line. Unlike a
    command it reads no experiment, and chooses neither by what a folder holds (data=auto) nor an augmentation.
    Raises ConfigError that names each wrong key with its value and rule.

        >>> config = fcos.configure(changes={"schedule.steps": 300, "seed": 1})
        >>> config.model.backbone.name, config.schedule.steps
        ('small_resnet', 300)
        >>> fcos.configure(changes={"schedule.stepz": 300})
        Traceback (most recent call last):
        fcos.errors.ConfigError: schedule.stepz=300: no such key; did you mean steps?
    """
    check_type("changes", changes or {}, Mapping, 'give a mapping, such as {"schedule.steps": 300}')
    if data == "auto":
        raise ConfigError(
            "data=auto: is chosen by commands alone; write COCO files with fcos.convert and give data='coco' with "
            "data.root, data.train.* and data.val.*"
        )
    chosen = schedule or option_brought_along("model", model, "schedule") or DEFAULT_SCHEDULE
    values: dict[str, Any] = {
        "model": read_option("model", model),
        "data": read_option("data", data),
        "schedule": read_option("schedule", chosen),
    }
    for key, value in (changes or {}).items():
        check_type("changes", key, str, "its keys are dotted names of settings")
        values = set_value(values, key, value)
    return parse(Config, values)
