"""The errors of data that cannot be used."""

from fcos.section import ConfigError


class DataError(ConfigError):
    """A data set cannot be used as it is; the message names the file, the entry in it and the rule."""


class DataChanged(DataError):
    """The data where a training runs are not those that it was planned with."""
