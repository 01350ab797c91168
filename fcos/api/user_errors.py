"""One kind of error for what a user got wrong, whose text names arguments where a command's names options."""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from types import UnionType
from typing import Any, Final, ParamSpec, TypeVar

from fcos.errors import ConfigError, Mistake, Transient, suggest
from fcos.storage.checkpoint_folder import CheckpointError

# Of a path that a user gave; other errors of the system are no mistakes.
OF_A_PATH: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
# Options of the commands that are other words here; each other option has the name of its argument.
_ARGUMENTS: Final = {"set": "changes", "model": "published", "onnx": "export"}
_OPTION: Final = re.compile(r"(?<!\S)--([a-z][a-z-]+)\b")

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def raises_config_error(function: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """Make a public function raise ConfigError for whatever its caller got wrong.

    What may pass by itself, such as a failed read of a disk that is there, stays the error that it is.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> ResultT:
        try:
            return function(*args, **kwargs)
        except Transient:
            raise
        except ConfigError as error:
            renamed = [each if isinstance(each, Mistake) else with_arguments(each) for each in error.mistakes]
            if renamed == list(error.mistakes):
                raise
            raise type(error)(*renamed) from None
        except CheckpointError as error:
            raise ConfigError(with_arguments(str(error))) from None
        except OF_A_PATH as error:
            raise ConfigError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None

    return call


def with_arguments(message: str) -> str:
    """Return a command's message with names of arguments in place of options."""
    return _OPTION.sub(lambda option: _ARGUMENTS.get(option[1], option[1].replace("-", "_")), message)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ConfigError for a value that is none of the choices of an argument."""
    if value not in choices:
        hint = suggest(str(value), choices) or f"give {', '.join(choices)}"
        raise ConfigError(Mistake("no such choice", name, repr(value), hint=hint))


def check_type(name: str, value: object, kinds: type[Any] | UnionType, way_out: str) -> None:
    """Raise ConfigError for an argument of another type."""
    if not isinstance(value, kinds):
        raise ConfigError(Mistake("has another type", name, f"<{type(value).__name__}>", hint=way_out))


def check_count(name: str, value: object) -> None:
    """Raise ConfigError for an argument that is no whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(Mistake("must be a whole number, 1 or more", name, repr(value)))


def check_fraction(name: str, value: object) -> None:
    """Raise ConfigError for an argument that does not lie between 0 and 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ConfigError(Mistake("must lie between 0 and 1", name, repr(value)))
