"""Errors that a user can cause or that may be transient; each message names key or file, value and rule."""

import difflib
import errno
from collections.abc import Iterable
from dataclasses import dataclass

# Parts of the messages of torch, CUDA and its libraries, C++ and Ray, in lower case.
MEMORY_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "low on memory",
)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean a or b?" with up to three known words close to a word.

    Returns an empty text without any.
    """
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""


@dataclass(frozen=True)
class Mistake:
    """A mistake of a user, of which a message is made: what is wrong, where, and the way out.

    key: or an option. value: as it was given. line: of the file.
    """

    rule: str
    key: str | None = None
    value: str | None = None
    file: str | None = None
    line: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file}, line {self.line}"
        key = self.key if self.value is None else f"{self.key}={self.value}"
        where = "".join(f"{each}: " for each in (file, key) if each is not None)
        return f"{where}{self.rule}" + ("" if self.hint is None else f"; {self.hint}")


class ConfigError(ValueError):
    """A setting that is refused; the message names key, value and rule.

    It is made of mistakes whose parts are known, or of texts.
    """

    def __init__(self, *mistakes: Mistake | str) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(map(str, self.mistakes))


class Transient(Exception):
    """Mixin for errors that the next attempt may not meet: they do not end a training for good."""


class DataError(ConfigError):
    """A data set that cannot be used.

    The message names the file, the entry in it and the rule.
    """


class DataChanged(DataError):
    """The data at the training differ from the data it was planned with."""


class ReadError(Transient, OSError):
    """A read that failed for now, whatever the content of the file.

    The message names the file and the reason.
    """


class SharedMemoryError(Transient, RuntimeError):
    """A loader process had no shared memory left for a batch.

    The message names how to provide more.
    """


def is_allocation_failure(error: BaseException) -> bool:
    """Return whether an error is a failed allocation, on the CPU or on a GPU."""
    # Torch and Ray each have an error of that name, on the GPU and from the monitor of a machine's memory.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in MEMORY_MESSAGES)
