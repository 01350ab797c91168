"""Standard output: encodings without some characters, and readers that close the pipe, end in no traceback."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

# Exit code that a shell reports for a program that wrote into a closed pipe.
BROKEN_PIPE = 128 + signal.SIGPIPE


def replace_unprintable_characters() -> None:
    """Print a question mark for each character that the encoding of standard output lacks."""
    # Standard error replaces such characters already.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_output(stream: IO[str] | None) -> None:
    """Redirect a stream to the null device; otherwise flushing its buffer at exit would fail again.

    stream: None where it was closed when this process began.
    """
    if stream is None:
        return
    with suppress(OSError, ValueError):
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, stream.fileno())
        os.close(null_device)


@contextmanager
def reserve_output() -> Iterator[int]:
    """Redirect standard output, which is open, to standard error while the block runs; yield a descriptor of it.

    By the file descriptor, so that libraries and child processes print nothing between the lines of this process.
    """
    if sys.stderr is None:
        # Closed by the process that started the command. The next file to be opened would take its place.
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
        os.dup2(sys.stderr.fileno(), 2)
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield output
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os.dup2(output, 1)
        os.close(output)


def exit_code_of_closed_output(message: str) -> int:
    """Return the exit code for a closed standard output, after a message on standard error if that is open."""
    discard_output(sys.stdout)
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        discard_output(sys.stderr)
    return BROKEN_PIPE


def flush_output() -> None:
    """Flush standard output while a closed pipe can still be handled; raises BrokenPipeError."""
    if sys.stdout is not None:
        sys.stdout.flush()
