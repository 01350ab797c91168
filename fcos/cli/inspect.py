"""python -m fcos inspect FOLDER: what a data set holds and what is wrong with it, before anything is trained."""

import argparse
from pathlib import Path

from fcos.cli.options import Commands, show_progress


def add_parser(commands: Commands) -> None:
    """Add the parser of the command."""
    summary = "count a data set, find what is wrong with it, and write a page with samples"
    parser = commands.add_parser("inspect", help=summary, description=summary)
    parser.add_argument(
        "words", nargs="+", metavar="WORD",
        help="a folder of labelled images in any format, or a run's folder; or the words of a training, such as "
        "data.root=... data.train.annotations=... data.train.images=... (and model=NAME or "
        "model.assignment.ranges=..., whose level ranges are shown)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("inspection.html"), help="the page (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Inspect the data, print the summary and write the page; returns the exit code.

    Raises ConfigError and DataError for data that cannot be found or read at all.
    """
    from fcos.errors import ConfigError
    from fcos.inspection.page import render_page
    from fcos.inspection.run import inspect_data
    from fcos.inspection.source import find_data
    from fcos.inspection.summary import summary_lines
    from fcos.storage.files import write_atomically

    if options.output.is_dir():
        raise ConfigError(f"--output {options.output}: is a folder; give the file of the page in it")
    source = find_data(options.words)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    inspection = inspect_data(source, lambda work, done, total: show_progress(done, total, f"({work})"))
    print("\n".join(summary_lines(inspection)))
    page = render_page(inspection)
    write_atomically(options.output, page)
    print(f"written: {options.output} ({len(page.encode()) / 1e6:.1f} MB)")
    if source.train_command:
        print(f"train on it: {source.train_command}")
    return 0
