"""What all settings share: strictness, and the error for what cannot be honoured."""

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """What a user configured cannot be honoured; the message names key, value and rule."""


class Transient(Exception):
    """Marks an error that may have passed by the next attempt: it does not end a training for good."""


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
