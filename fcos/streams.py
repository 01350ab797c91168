"""Standard output that neither a character nor a reader who leaves can end with a traceback."""

import io
import os
import signal
import sys
from contextlib import suppress
from typing import IO

# What a shell reports of a program that wrote into a closed pipe.
BROKEN_PIPE = 128 + signal.SIGPIPE


def print_any_character() -> None:
    """Print a question mark for each character that the output's encoding does not have."""
    # Standard error never fails for a character.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def drop_output(stream: IO[str]) -> None:
    """Let all that is written to a stream from now on go nowhere; what is buffered would fail again at the end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def leave_closed_output(words: str) -> int:
    """The exit code where standard output is closed, whose writer says so on standard error if that is still read."""
    drop_output(sys.stdout)
    try:
        print(words, file=sys.stderr, flush=True)
    except OSError:
        drop_output(sys.stderr)
    return BROKEN_PIPE


def flush_output() -> None:
    """Write out what is buffered, while a reader who left can still be noticed; raises BrokenPipeError."""
    if sys.stdout is not None:
        sys.stdout.flush()
