"""Files on disks that fail for a moment: retried reads, atomic writes, and caches of bounded size."""

import errno
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from fcos.errors import ConfigError

# Which errors pass is a rule of this project, so `retried` is all that a library such as tenacity would replace.
# Seconds before each further attempt.
PAUSES: Final = (0.1, 0.4, 1.5)
# Error numbers of reading that another attempt gives again: the file is missing, or this user may not read it.
LASTING: Final = frozenset(
    (
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
        errno.EINVAL, errno.EILSEQ,
    )
)  # fmt: skip
# The same for writing.
LASTING_IN_WRITING: Final = LASTING | {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EEXIST}

ResultT = TypeVar("ResultT")


def is_transient(error: OSError) -> bool:
    """Return whether another attempt may succeed: after EIO, ESTALE, ETIMEDOUT and all that is not LASTING."""
    # Lack of memory is not the disk's fault and is handled elsewhere.
    return error.errno not in LASTING and error.errno != errno.ENOMEM


def retried(read: Callable[[], ResultT], path: Path) -> ResultT:
    """Call `read`, and call it again after a transient OSError.

    Raises the last such error, and any other OSError at once.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if not is_transient(error):
                raise
            logging.getLogger(__name__).warning("%s: %s; tried again in %g s", path, reason_of(error), pause)
        time.sleep(pause)
    return read()


def reason_of(error: OSError) -> str:
    """Return the reason of an error without its number and path."""
    return error.strerror or str(error) or type(error).__name__


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a crash leaves its old or its new content, never a part.

    Text is written as UTF-8. The data are flushed to disk under a temporary name in the same folder, which then
    replaces the path. The temporary file is removed on failure; a killed process leaves one with the suffix of the
    path. Raises OSError.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The new name itself; some file systems cannot flush a folder.
    with suppress(OSError):
        flush_to_disk(path.parent)


def link_file(file: Path, path: Path) -> bool:
    """Let a path be another name of a file, without a copy of its content; return False where that cannot be.

    For files that are only ever replaced whole: the other name then keeps what it had.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        os.link(file, partial)
        partial.replace(path)
    except OSError:
        # Another disk, or one without links.
        return False
    finally:
        # A link that replaces one to the same file stays.
        partial.unlink(missing_ok=True)
    return True


def flush_to_disk(path: Path) -> None:
    """Flush a file or a folder to disk; raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def evict_least_recently_used(
    files: Iterable[Path], max_bytes: int, remove: Callable[[Path], object], *, keep_newest: bool = False
) -> None:
    """Remove the files whose modification time is oldest until the others hold at most `max_bytes`.

    `keep_newest` spares the newest file, whatever its size. Files that another process removes meanwhile are skipped.
    """
    stats = []
    for file in files:
        with suppress(FileNotFoundError):
            stats.append((file.stat(), file))
    stats.sort(key=lambda pair: pair[0].st_mtime, reverse=True)
    total = 0
    for position, (stat, file) in enumerate(stats):
        total += stat.st_size
        if total > max_bytes and not (keep_newest and position == 0):
            with suppress(FileNotFoundError):
                remove(file)


def user_cache() -> Path:
    """Return the user's cache folder for this project.

    Raises ConfigError where the user has no home folder.
    """
    configured = os.environ.get("XDG_CACHE_HOME")
    return (Path(configured) if configured else expanded("~/.cache", "data.cache_dir=null")) / "fcos-lab"


def expanded(text: str, key: str) -> Path:
    """Expand `~` in a path.

    Raises ConfigError naming the setting where the user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{key}: this user (uid {os.getuid()}) has no home folder; give data.cache_dir=<folder that may be "
            "written> and paths without ~, or set HOME or XDG_CACHE_HOME"
        ) from None
