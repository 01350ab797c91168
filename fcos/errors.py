"""Errors that a user can cause or that may pass; each message names key or file, value and rule."""


class ConfigError(ValueError):
    """A setting that cannot be honoured; the message names key, value and rule."""


class Transient(Exception):
    """Mark an error that may have passed by the next attempt: it does not end a training for good."""


class DataError(ConfigError):
    """A data set that cannot be used as it is; the message names the file, the entry in it and the rule."""


class DataChanged(DataError):
    """The data where a training runs are not those that it was planned with."""


class ReadError(Transient, OSError):
    """A file that cannot be read just now, which says nothing about the file; the message names it and the reason."""


class SharedMemoryError(Transient, RuntimeError):
    """A loader process has no shared memory left to hand over a batch; the message names what gives it more."""
