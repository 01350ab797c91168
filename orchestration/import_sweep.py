"""Import a published sweep into one's own tracking store: python orchestration/import_sweep.py FILE"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status

    from orchestration.tracking.store import Store

# Folder in the output whose lock one import at a time holds.
LOCKED = ".import"

EPILOG = """
Reports name the laboratory of every trial that was trained elsewhere. With sweeps of one's own:

  python analysis/report.py MINE --join THEIRS             their seeds join the table of mine, arm by arm
  python analysis/report.py MINE --laboratories THEIRS     the laboratory as a factor beside the arms
"""


def cli() -> int:
    """Run the command `fcos-import-sweep`; returns the exit code."""
    from orchestration.cli.entry import run_entry

    return run_entry(
        sys.argv[1:], lambda arguments, _: main(arguments), lambda _: make_parser().format_help(), json="none"
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="import_sweep.py",
        description="Import a published sweep into a tracking store, marked by where it was trained.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="the zip file that publish.py wrote")
    parser.add_argument("--output", default="outputs", help="folder of the default store (default: outputs)")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or mlflow.db in --output)",
    )
    parser.add_argument("--experiment", default="fcos-lab", help="MLflow experiment of its runs (default: fcos-lab)")
    parser.add_argument("--laboratory", default="", help="who trained it, where the archive does not name them")
    parser.add_argument("--name", default="", help="name of the sweep here (default: <sweep>@<laboratory>)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Import an archive whose every file is intact; returns the exit code."""
    from datetime import datetime
    from functools import partial
    from pathlib import Path

    from fcos.errors import ConfigError
    from fcos.published.crate import compute_id, open_archive
    from fcos.published.layout import HEADER
    from fcos.published.records import ArchiveHeader, read_record
    from orchestration.cli.commands import report_command, verify_command
    from orchestration.cli.console import OutputConsole
    from orchestration.cli.entry import OK
    from orchestration.cli.lock import lock_folder
    from orchestration.tracking.import_runs import ArchiveOrigin, import_archive

    options, console = make_parser().parse_args(arguments), OutputConsole()
    output = Path(options.output).absolute()
    with open_archive(Path(options.file)) as folder:
        header = read_record(folder / HEADER, ArchiveHeader)
        laboratory = options.laboratory or header.laboratory
        if not laboratory:
            raise ConfigError(f"{options.file}: names no laboratory; give --laboratory=<who trained it>")
        origin, name = ArchiveOrigin(compute_id(folder), laboratory), options.name or f"{header.sweep}@{laboratory}"
        _make_folder(output / LOCKED)
        # Another import would delete what this one has not finished.
        with lock_folder(output / LOCKED, datetime.now().astimezone().isoformat(timespec="seconds"), "wait for it"):
            store = _open_store(options, output)
            with console.status(f"importing {name} ...") as status:
                imported = import_archive(store, folder, origin, name, partial(_show, status))
    text = f"imported: {imported.name}, {imported.trials} trials of {laboratory}, run {imported.run_id}"
    if not imported.is_new:
        text = f"nothing to do: this archive is in the store already, as run {imported.run_id}"
    unchecked = "its numbers are the publisher's: nothing was computed again"
    check = f"to do so: {verify_command(Path(options.file))}"
    for line in (text, f"{unchecked}; {check}", f"its report: {report_command(imported.run_id, store.uri)}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return OK


def _show(status: "Status", done: int, total: int) -> None:
    status.update(f"importing run {done} of {total} ...")


def _make_folder(folder: "Path") -> None:
    """Make a folder in the output folder, and that one; raises ConfigError where they cannot be made."""
    from fcos.errors import ConfigError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--output {folder.parent}: is no folder that can be written ({error.strerror}); give another"
        ) from None


def _open_store(options: argparse.Namespace, output: "Path") -> "Store":
    from fcos.storage.store_conventions import default_uri
    from orchestration.tracking.addresses import absolute_uri
    from orchestration.tracking.store import open_store
    from orchestration.tracking.tracker import artifact_folder

    uri = None if options.tracking_uri is None else absolute_uri(options.tracking_uri)
    return open_store(uri or default_uri(output), options.experiment, artifact_folder(uri, output))


if __name__ == "__main__":
    sys.exit(cli())
