"""Files on disks that fail for a moment: read again, and what may pass is kept apart from what is wrong with a file."""

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from fcos.errors import ConfigError

# Seconds before each further try.
PAUSES: Final = (0.1, 0.4, 1.5)
# Another try gives the same: nothing is there, or this user may not have it.
LASTING: Final = frozenset(
    (
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
        errno.EINVAL, errno.EILSEQ,
    )
)  # fmt: skip
# The same for writing.
LASTING_IN_WRITING: Final = LASTING | {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EEXIST}

ResultT = TypeVar("ResultT")


def may_pass(error: OSError) -> bool:
    """Whether another try may succeed: after EIO, ESTALE, ETIMEDOUT and all that is not LASTING."""
    # Want of memory is not the disk's, and is dealt with elsewhere.
    return error.errno not in LASTING and error.errno != errno.ENOMEM


def retried(read: Callable[[], ResultT], path: Path) -> ResultT:
    """Call `read`, and again after an OSError that may pass.

    Raises the last such error, and any other OSError at once.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if not may_pass(error):
                raise
            logging.getLogger(__name__).warning("%s: %s; tried again in %g s", path, words_of(error), pause)
        time.sleep(pause)
    return read()


def words_of(error: OSError) -> str:
    """Give the reason of an error without number and path."""
    return error.strerror or str(error) or type(error).__name__


def user_cache() -> Path:
    """The user's cache folder for this project; raises ConfigError where the user has no home to keep it in."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else expanded("~/.cache", "data.cache_dir=null")) / "fcos-lab"


def expanded(text: str, key: str) -> Path:
    """Expand `~` in a path; raises ConfigError naming the setting where the user has no home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{key}: this user (uid {os.getuid()}) has no home folder; give data.cache_dir=<folder that may be "
            "written> and paths without ~, or set HOME or XDG_CACHE_HOME"
        ) from None


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file whole or not at all: under another name, flushed to the disk, then renamed.

    Raises OSError, and leaves nothing behind, where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
