"""The errors of data: those that cannot be used, and those that cannot be had just now."""

from fcos.section import ConfigError, Transient


class DataError(ConfigError):
    """A data set cannot be used as it is; the message names the file, the entry in it and the rule."""


class DataChanged(DataError):
    """The data where a training runs are not those that it was planned with."""


class ReadError(Transient, OSError):
    """A file cannot be read just now, which says nothing about the file; the message names it and the reason."""


class SharedMemoryError(Transient, RuntimeError):
    """A loader process has no shared memory left to hand over a batch; the message names what gives it more."""
