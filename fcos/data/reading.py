"""Files and folders of a data set: read, or the DataError or ReadError that says why not."""

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

from fcos.errors import DataError, ReadError
from fcos.files import LASTING_IN_WRITING, is_transient, reason_of, retried


def read_bytes(path: Path, what: str) -> bytes:
    """Read a whole file; `what` names its kind.

    Raises DataError where it is not there or may not be read, and ReadError where another attempt may read it.
    """
    try:
        return retried(path.read_bytes, path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}") from None
    except OSError as error:
        raise_unread(path, error)


def file_facts(path: Path) -> os.stat_result | None:
    """Ask for size, time and kind of a file or folder, None where there is none.

    Raises as `read_bytes`.
    """
    try:
        return retried(path.stat, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise_unread(path, error)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, or a link to one; raises as `read_bytes`."""
    facts = file_facts(path)
    return facts is not None and stat.S_ISDIR(facts.st_mode)


def raise_unread(path: Path, error: OSError) -> NoReturn:
    """Raise DataError or ReadError for an OSError of reading.

    Want of memory is raised as it is.
    """
    if error.errno == errno.ENOMEM:
        raise error
    reason = reason_of(error)
    if is_transient(error):
        raise ReadError(f"{path}: cannot be read now ({reason})") from error
    raise DataError(f"{path}: cannot be read ({reason})") from error


def raise_unkept(cache: Path, error: OSError) -> NoReturn:
    """Raise DataError or ReadError for an OSError of the cache folder.

    Want of memory, and what a ReadError has named already, are raised as they are.
    """
    if isinstance(error, ReadError) or error.errno == errno.ENOMEM:
        raise error
    kind = DataError if error.errno in LASTING_IN_WRITING else ReadError
    raise kind(f"data.cache_dir={cache}: cannot be written ({reason_of(error)})") from error
