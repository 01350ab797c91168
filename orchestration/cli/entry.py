"""What both entries share: help, exit codes, signals, one message for each mistake."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

OK, SOME_FAILED, MISTAKE, HELD, STOPPED = 0, 1, 2, 3, 4


class OutputClosed(KeyboardInterrupt):
    """Whoever read standard output is gone; an interrupt, so that all ends in order and Ray lets it through."""


def run_entry(
    arguments: Sequence[str], main: Callable[[Sequence[str]], int], help_text: Callable[[Sequence[str]], str]
) -> int:
    """Answer --help and Hydra's own flags, else run; returns the exit code.

    0 done, 1 a training failed, 2 a user's mistake, 3 the folder is in use,
    4 stopped for want of budget, space or the cluster's head, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP,
    141 standard output was closed.
    """
    from fcos.streams import flush_output, leave_closed_output, print_any_character

    print_any_character()
    try:
        code = _run(arguments, main, help_text)
        with _closing():
            flush_output()
    except OutputClosed:
        return leave_closed_output("stopped: standard output was closed; the same command goes on")
    return code


def _run(
    arguments: Sequence[str], main: Callable[[Sequence[str]], int], help_text: Callable[[Sequence[str]], str]
) -> int:
    from fcos.errors import ConfigError, Transient
    from orchestration.cli.lock import FolderHeld
    from orchestration.config.overrides import is_hydra_command, run_hydra_command

    caught: list[int] = []
    try:
        check_script(Path(sys.argv[0]))
        if any(argument in ("-h", "--help") for argument in arguments):
            with _closing():
                print(help_text(arguments), flush=True)
            return OK
        if is_hydra_command(arguments):
            with _closing():
                run_hydra_command(arguments)
            return OK
        with signals_raise() as caught:
            return main(arguments)
    except (ConfigError, Transient) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except FolderHeld as error:
        print(f"error: {error}", file=sys.stderr)
        return HELD
    except OutputClosed:
        raise
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoints", file=sys.stderr)
        return 128 + (caught[0] if caught else signal.SIGINT)


def check_script(script: Path) -> None:
    """Raise ConfigError where a checkout's script would run with the packages of another installation."""
    from fcos.errors import ConfigError

    package = Path(__file__).resolve().parents[1]
    folder = script.resolve().parent
    if script.suffix == ".py" and folder.name == package.name and folder != package:
        raise ConfigError(
            f"{script}: would run with the code in {package.parent}, which this Python has installed; in "
            f"{folder.parent} run `uv sync` or `pip install -e .`"
        )


@contextmanager
def _closing() -> Iterator[None]:
    """Raise OutputClosed where printing finds standard output closed."""
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None


@contextmanager
def signals_raise() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, which Ray lets through, and are ignored from then on.

    Yields the list that the signal's number is put into.
    """
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        caught.append(number)
        raise KeyboardInterrupt

    # What is ignored from the start, as nohup asks for, stays ignored.
    heard = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
