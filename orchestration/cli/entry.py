"""Shared entry point of the commands: help, schemas, events for programs, exit codes, signals and error messages."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from orchestration.cli.event_stream import EventStream

# After which a signal that came where it cannot be raised is sent again.
RETRY_SECONDS = 0.05
# Functions, by module, under which Python calls back what was registered for an import or a fork. It swallows what is
# raised there, and locks that the callbacks took for the time of an import or a fork stay taken.
WITH_CALLBACKS = (
    ("importlib._bootstrap", None),
    ("_frozen_importlib", None),
    ("subprocess", "_execute_child"),
    ("multiprocessing.popen_fork", "_launch"),
)
OK, TRAINING_FAILED, USER_ERROR, FOLDER_IN_USE, STOPPED = 0, 1, 2, 3, 4
# A command, with its arguments and the stream of its events.
Main = Callable[[Sequence[str], "EventStream"], int]
HelpText = Callable[[Sequence[str]], str]
# What --json makes of a command: lines that end with the result, one object (of a command that only reads), or nothing,
# as there is no such option.
Json = Literal["lines", "object", "none"]


class OutputClosed(KeyboardInterrupt):
    """The reader of standard output is gone; as a KeyboardInterrupt it ends a sweep in order and passes through Ray."""


def run_entry(arguments: Sequence[str], main: Main, help_text: HelpText, *, json: Json = "lines") -> int:
    """Handle --help, --schema, --json and Hydra's flags, or run the command; return the exit code.

    0 done, 1 a training failed, 2 a user's mistake, 3 the folder is in use,
    4 stopped for lack of budget, disk space, memory or the cluster's head, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP,
    141 standard output was closed.
    """
    from fcos.streams import exit_code_of_closed_output, flush_output, replace_unprintable_characters
    from orchestration.cli.event_stream import JSON_OPTION, SILENT, open_stream

    replace_unprintable_characters()
    words = arguments if json == "none" else [argument for argument in arguments if argument != JSON_OPTION]
    try:
        if len(words) < len(arguments) and not _prints_text(words):
            with open_stream() as stream:
                return _run_for_programs(words, main, stream, json)
        code = _run(words, main, help_text, SILENT, json)
        with _detect_closed_output():
            flush_output()
    except OutputClosed:
        return exit_code_of_closed_output(f"stopped: standard output was closed{_advice(json)}")
    return code


def _prints_text(arguments: Sequence[str]) -> bool:
    """Return whether the command only prints help, a schema or what Hydra shows, which are no events."""
    from orchestration.cli.hydra_flags import is_hydra_command
    from orchestration.cli.schemas import requested_schema

    return _asks_for_help(arguments) or requested_schema(arguments) is not None or is_hydra_command(arguments)


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return any(argument in ("-h", "--help") for argument in arguments)


def _advice(json: Json, where: str = "") -> str:
    """Return what a command that is stopped has left to do; one that only reads has nothing."""
    return "" if json == "object" else f"; the same command goes on{where}"


def _run_for_programs(arguments: Sequence[str], main: Main, stream: "EventStream", json: Json) -> int:
    """Run a command whose output is events; the last one is the result, also where an error of our own ends it."""
    from orchestration.cli.event_records import result_of

    code, ends_with_result = TRAINING_FAILED, json == "lines"
    try:
        code = _run(arguments, main, lambda _: "", stream, json)
    except OutputClosed:
        ends_with_result = False
        raise
    finally:
        if ends_with_result:
            stream.emit(result_of(code))
    return code


def _run(arguments: Sequence[str], main: Main, help_text: HelpText, stream: "EventStream", json: Json) -> int:
    from fcos.errors import ConfigError, Transient
    from orchestration.cli.lock import FolderInUse

    caught: list[int] = []
    try:
        check_script(Path(sys.argv[0]))
        if _print_text(arguments, help_text):
            return OK
        with interrupt_on_signals() as caught:
            return main(arguments, stream)
    except (ConfigError, Transient) as error:
        return _report_error(stream, error, "config", USER_ERROR)
    except FolderInUse as error:
        return _report_error(stream, error, "folder_in_use", FOLDER_IN_USE)
    except OutputClosed:
        raise
    except KeyboardInterrupt:
        print(f"stopped{_advice(json, ' from the last checkpoints')}", file=sys.stderr)
        return 128 + (caught[0] if caught else signal.SIGINT)


def _print_text(arguments: Sequence[str], help_text: HelpText) -> bool:
    """Print the help, a schema or what Hydra shows, where one is requested; return whether one was."""
    from orchestration.cli.hydra_flags import is_hydra_command
    from orchestration.cli.schemas import print_schema, requested_schema

    with _detect_closed_output():
        if _asks_for_help(arguments):
            print(help_text(arguments), flush=True)
        elif (schema := requested_schema(arguments)) is not None:
            print_schema(schema)
        elif is_hydra_command(arguments):
            from orchestration.config.overrides import run_hydra_command

            run_hydra_command(arguments)
        else:
            return False
    return True


def _report_error(stream: "EventStream", error: Exception, kind: Literal["config", "folder_in_use"], code: int) -> int:
    """Show an error to people and to programs; return the exit code."""
    print(f"error: {error}", file=sys.stderr)
    if stream.is_open:
        from fcos.errors import ConfigError
        from fcos.storage.events import ErrorEvent

        mistakes = error.mistakes if isinstance(error, ConfigError) else (str(error),)
        stream.emit(ErrorEvent.of(kind, code, mistakes))
    return code


def check_script(script: Path) -> None:
    """Raise ConfigError where a checkout's script would import the packages of another installation."""
    from fcos.errors import ConfigError

    package = Path(__file__).resolve().parents[1]
    folder = script.resolve().parent
    if script.suffix == ".py" and folder.name == package.name and folder != package:
        raise ConfigError(
            f"{script}: would run with the code in {package.parent}, which this Python has installed; in "
            f"{folder.parent} run `uv sync` or `pip install -e .`"
        )


@contextmanager
def _detect_closed_output() -> Iterator[None]:
    """Convert BrokenPipeError in the block to OutputClosed."""
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None


@contextmanager
def interrupt_on_signals() -> Iterator[list[int]]:
    """Let Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, which passes through Ray; ignore later ones.

    During an import and while a process is forked it is raised a moment later: Python swallows what is raised in the
    callbacks that clean up behind them, and is left with the import lock, or that of filelock, taken, so that the
    process neither stops nor goes on.
    Yields a list to which the number of the signal is appended.
    """
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if _is_in_callbacks(frame):
            again = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        # Set by Ray's own handler where the signal came while Ray started; it would abort the process.
        signal.alarm(0)
        caught.append(number)
        raise KeyboardInterrupt

    # Signals that are already ignored, such as under nohup, stay ignored.
    handled = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_callbacks(frame: FrameType | None) -> bool:
    """Return whether a frame was called, however deep, by an import or by the start of a process."""
    while frame is not None:
        module, function = frame.f_globals.get("__name__"), frame.f_code.co_name
        if any(module == name and under in (None, function) for name, under in WITH_CALLBACKS):
            return True
        frame = frame.f_back
    return False
