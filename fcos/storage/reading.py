"""Read files and folders of a data set; failures become DataError or ReadError."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from fcos.errors import DataError, ReadError
from fcos.storage.files import LASTING_IN_WRITING, is_transient, reason_of, retried

ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT", bound=BaseModel)
# Called with the number of items done and their total.
CountCallback = Callable[[int, int], None]
# Called with a description of the work, the number of items done and their total.
ProgressCallback = Callable[[str, int, int], None]


def read_bytes(path: Path, description: str) -> bytes:
    """Read a whole file; `description` is its kind in messages.

    Raises DataError where it is missing or must not be read, and ReadError where another attempt may succeed.
    """
    return _read(path.read_bytes, path, description)


def read_block(path: Path, start: int, length: int, description: str) -> bytes:
    """Read at most `length` bytes of a file from a position on; raises as `read_bytes`."""
    return _read(partial(_block, path, start, length), path, description)


def _block(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def read_open(path: Path, read: Callable[[BufferedReader], ResultT], description: str) -> ResultT:
    """Open a file and return what `read` returns of it, which may seek; raises as `read_bytes`."""
    return _read(partial(_opened, path, read), path, description)


def _opened(path: Path, read: Callable[[BufferedReader], ResultT]) -> ResultT:
    with path.open("rb") as file:
        return read(file)


def read_digest(path: Path, description: str) -> str:
    """Return the sha256 of a file, of which only a block is in memory; raises as `read_bytes`."""
    return read_open(path, lambda file: hashlib.file_digest(file, "sha256").hexdigest(), description)


def read_model(path: Path, model: type[ModelT], description: str) -> ModelT | None:
    """Return the record in a JSON file, None where it is missing or holds something else; raises as `read_bytes`."""
    if file_stat(path) is None:
        return None
    try:
        return model.model_validate_json(read_bytes(path, description))
    except ValidationError:
        return None


def _read(read: Callable[[], ResultT], path: Path, description: str) -> ResultT:
    try:
        return retried(partial(_read_regular, read, path, description), path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such {description}") from None
    except OSError as error:
        raise_read_error(path, error)


def _read_regular(read: Callable[[], ResultT], path: Path, description: str) -> ResultT:
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        # Opening one would wait for ever, or never reach its end.
        raise DataError(f"{path}: is a pipe, a socket or a device, and no {description}")
    return read()


def file_stat(path: Path) -> os.stat_result | None:
    """Return the stat of a file or folder, or None where it is missing.

    Raises as `read_bytes`.
    """
    try:
        return retried(path.stat, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise_read_error(path, error)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder or a link to one; raises as `read_bytes`."""
    stat_result = file_stat(path)
    return stat_result is not None and stat.S_ISDIR(stat_result.st_mode)


def raise_read_error(path: Path, error: OSError) -> NoReturn:
    """Raise DataError or ReadError for an OSError of reading.

    Lack of memory is raised as it is.
    """
    if error.errno == errno.ENOMEM:
        raise error
    reason = reason_of(error)
    if is_transient(error):
        raise ReadError(f"{path}: cannot be read now ({reason})") from error
    raise DataError(f"{path}: cannot be read ({reason})") from error


def raise_cache_error(cache: Path, error: OSError) -> NoReturn:
    """Raise DataError or ReadError for an OSError of the cache folder, which names that folder if no file of it.

    Lack of memory, and a ReadError, are raised as they are.
    """
    if isinstance(error, ReadError) or error.errno == errno.ENOMEM:
        raise error
    if error.filename is None and error.errno is not None:
        # Writing, unlike opening, names no file; whose disk is full is found by it.
        error.filename = str(cache)
    kind = DataError if error.errno in LASTING_IN_WRITING else ReadError
    raise kind(f"data.cache_dir={cache}: cannot be written ({reason_of(error)})") from error
