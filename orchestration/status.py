"""How far sweeps are, while they run and after: python orchestration/status.py [NAME]"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from fcos.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.cli.event_stream import EventStream
    from orchestration.cli.status_records import SweepsEvent, SweepStatusEvent

EPILOG = """
It reads the output folder or bucket alone, from any machine that sees it: neither Ray nor the tracking store, and
nothing is changed there. --json prints an object a reading, see docs/events.schema.json.

  python orchestration/status.py                               all sweeps of outputs/
  python orchestration/status.py ablation_centerness --follow  its trainings, drawn anew until it ends
"""
# A sweep in none of these states ends --follow.
GOES_ON = ("planning", "running")


def cli() -> int:
    """Run the command `fcos-status`; returns the exit code."""
    from orchestration.cli.entry import run_entry

    return run_entry(sys.argv[1:], main, lambda _: make_parser().format_help(), json="object")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the project, which programs read too."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="status.py",
        description="Show how far sweeps are: all of an output folder, or the trainings of one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a sweep's or single run's name, or its folder")
    parser.add_argument(
        "--output", default="outputs", help="output folder of the sweeps, or s3://bucket/folder (default: outputs)"
    )
    parser.add_argument("--follow", action="store_true", help="read again every few seconds, until Ctrl-C or the end")
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="between two readings of --follow (default: 3)")
    # Taken from the command line before; here for the help.
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of seconds from 0.1 to 86400")
    return seconds


def main(arguments: Sequence[str], stream: "EventStream") -> int:
    """Show all sweeps or one of them, once or until it ends; returns the exit code."""
    from pathlib import Path

    from fcos.storage.bucket.address import is_address
    from orchestration.cli.console import OutputConsole
    from orchestration.cli.entry import OK
    from orchestration.monitor.find_sweeps import find_sweep
    from orchestration.monitor.view import show

    options = make_parser().parse_args(arguments)
    if is_address(options.output):
        read = in_bucket(options.output, options.name)
    else:
        output = Path(options.output).absolute()
        folder = None if options.name is None else find_sweep(output, options.name)

        def read() -> "SweepsEvent | SweepStatusEvent":
            return read_all(output) if folder is None else read_one(folder)

    if options.follow:
        follow(read, stream, options.seconds)
    elif stream.is_open:
        stream.emit(read())
    else:
        show(OutputConsole(), read())
    return OK


def read_all(output: "Path", refresh: "Callable[[Sequence[Path]], None] | None" = None) -> "SweepsEvent":
    """Return how far all sweeps of an output folder are; those that still run come first, then by name."""
    import time

    from orchestration.cli.status_records import SweepsEvent
    from orchestration.monitor.find_sweeps import find_sweeps
    from orchestration.monitor.liveness import ignore
    from orchestration.monitor.read_sweep import settle

    found = find_sweeps(output)
    rows = [event.sweep for event in settle(found.folders, time.time, refresh or ignore)]
    rows.sort(key=lambda row: (row.state not in GOES_ON, row.name))
    return SweepsEvent(output=str(output), sweeps=tuple(rows), notes=found.notes)


def read_one(folder: "Path", refresh: "Callable[[Sequence[Path]], None] | None" = None) -> "SweepStatusEvent":
    """Return how far a sweep and its trainings are."""
    import time

    from orchestration.monitor.liveness import ignore
    from orchestration.monitor.read_sweep import settle

    (event,) = settle((folder,), time.time, refresh or ignore)
    return event


def in_bucket(address: str, name: str | None) -> "Callable[[], SweepsEvent | SweepStatusEvent]":
    """Return the function that reads all sweeps of a bucket, or one; raises ConfigError."""
    from orchestration.monitor.in_bucket import BucketSweeps

    sweeps = BucketSweeps.open(address)
    folder = None if name is None else sweeps.find(name)

    def read() -> "SweepsEvent | SweepStatusEvent":
        if folder is None:
            sweeps.fetch_all()
            return read_all(sweeps.folder, sweeps.refresh).model_copy(update={"output": address})
        sweeps.refresh([folder])
        return read_one(folder, sweeps.refresh)

    return read


def follow(read: "Callable[[], SweepsEvent | SweepStatusEvent]", stream: "EventStream", seconds: float) -> None:
    """Show each reading, on a terminal in the place of the one before; ends with Ctrl-C, or where a sweep has ended."""
    import time

    from rich.live import Live

    from orchestration.cli.console import OutputConsole
    from orchestration.cli.entry import OutputClosed
    from orchestration.monitor.view import render, show

    console = OutputConsole(plain=stream.is_open)
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    try:
        while True:
            event = read()
            if stream.is_open:
                stream.emit(event)
            elif live is not None:
                live.start()
                live.update(render(event, console.width, console.height), refresh=True)
            else:
                show(console, event)
                console.print()
            if not _goes_on(event):
                return
            time.sleep(seconds)
    except OutputClosed:
        raise
    except KeyboardInterrupt:
        # The way to end it, and nothing was interrupted.
        return
    finally:
        if live is not None:
            live.stop()


def _goes_on(event: "SweepsEvent | SweepStatusEvent") -> bool:
    from orchestration.cli.status_records import SweepsEvent

    return isinstance(event, SweepsEvent) or event.sweep.state in GOES_ON


if __name__ == "__main__":
    sys.exit(cli())
