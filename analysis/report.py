"""Report of a sweep, read from MLflow alone: report.html (one file), report.md, table.csv, table.tex.

python analysis/report.py                          the newest sweep of the store in outputs/
python analysis/report.py ablation_centerness      a sweep by name or run id
python analysis/report.py --paper v1               all tables of a paper, with what has been run for each row
"""

# Heavy imports wait inside the functions, so that --help answers at once.
import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from analysis.render.tables import Table
    from analysis.sections.document import Document

# Where no terminal sets a limit.
PLAIN_WIDTH = 200
FILES = ("report.html", "report.md", "table.csv", "table.tex")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and print its path; returns 0, 2 without a sweep to report on, 141 for a closed output."""
    options = parse_arguments(arguments)
    from analysis.reader.client import StoreError
    from analysis.render.console import printing
    from orchestration.store_conventions import default_uri

    options.tracking_uri = options.tracking_uri or default_uri(Path.cwd() / "outputs")

    try:
        shown = _paper(options) if options.paper is not None else _sweep(options)
    except (StoreError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return printing(shown)


def _sweep(options: argparse.Namespace) -> Callable[[], None]:
    """Write a sweep's report; returns what shows it."""
    document, folder = report(options.sweep, options.tracking_uri, options.output, options.experiment)
    return lambda: show(document, folder / FILES[0])


def _paper(options: argparse.Namespace) -> Callable[[], None]:
    """Write a paper's report; returns what shows it."""
    from analysis.paper_report import report

    laid, folder = report.paper_report(options.paper, options.tracking_uri, options.output, options.experiment)
    return lambda: report.show(laid, folder / report.FILES[0])


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Report of a sweep or a run: tables, figures, verdicts and provenance."
    )
    parser.add_argument("sweep", nargs="?", help="name or run id of the sweep; the newest if not given")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or outputs/mlflow.db here)",
    )
    parser.add_argument("--paper", choices=("v1", "v2"), help="instead of a sweep: all tables of this paper")
    parser.add_argument(
        "--output", type=Path, help="folder of the report (default: outputs/<sweep>/report, outputs/paper_<version>)"
    )
    parser.add_argument("--experiment", help="look only in the MLflow experiment of this name")
    options = parser.parse_args(arguments)
    if options.paper is not None and options.sweep is not None:
        parser.error(f"--paper {options.paper} {options.sweep}: give a sweep or a paper, not both")
    return options


def report(
    sweep: str | None, tracking_uri: str, output: Path | None = None, experiment: str | None = None
) -> "tuple[Document, Path]":
    """Write the four files and give what they say and their folder.

    Raises StoreError where the store or the sweep is missing.
    """
    from analysis.reader.runs import read_sweep
    from analysis.sections.document import build

    document = build(read_sweep(tracking_uri, sweep, experiment))
    folder = output or Path("outputs") / folder_name(document.sweep.name) / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render(document).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return document, folder


def folder_name(sweep: str) -> str:
    """A name from the store as the name of one folder: nothing in it can lead elsewhere."""
    return re.sub(r"[^\w.-]+", "_", sweep).lstrip(".") or "sweep"


def render(document: "Document") -> dict[str, str]:
    """The text of each file."""
    from analysis.render import tables
    from analysis.render.templates import environment

    names = {"document": document, "tables": tables}
    first = document.findings.tables[0]
    return {
        "report.html": environment(True).get_template("report.html.j2").render(names),
        "report.md": environment(False).get_template("report.md.j2").render(names),
        "table.csv": tables.to_csv(document.findings.values),
        "table.tex": tables.to_latex(first.frame, first.columns),
    }


def show(document: "Document", path: Path) -> None:
    """The first table, the verdicts and the path, on the console."""
    from rich.text import Text

    from analysis.render.console import ReportConsole

    console = ReportConsole()
    if not console.is_terminal:
        console = ReportConsole(width=PLAIN_WIDTH)
    findings = document.findings
    console.print(_table_that_fits(findings.tables[0], document.sweep.name, console))
    if findings.advice:
        console.print(Text(findings.advice), soft_wrap=True)
    for verdict in findings.verdicts:
        console.print(Text(f"{verdict.arm}: {verdict.text}"), soft_wrap=not console.is_terminal)
    if len(document.unfinished):
        console.print(Text(f"without a number: {len(document.unfinished)} of the planned trials (see the report)"))
    for note in document.sweep.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    console.print(Text(f"report: {path}"), soft_wrap=True)


def _table_that_fits(printed: "Table", sweep: str, console: "Console") -> "RichTable":
    """The table without its seeds; where the console is narrow set closer, then without what can be spared."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from analysis.render import tables

    columns = [column for column in printed.columns if not column.key.startswith("seed ")]
    needed = [column for column in columns if not column.spare]
    for shown, gap in ((columns, (0, 1)), (columns, (0, 1, 0, 0)), (needed, (0, 1, 0, 0))):
        # Text, not markup: names come from the store.
        title = Text(f"{sweep}: {printed.caption}")
        table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", padding=gap)
        for column in shown:
            table.add_column(Text(column.header), justify=column.align, overflow="fold")
        for row in tables.cells(printed.frame, shown):
            table.add_row(*(Text(cell) for cell in row))
        if console.measure(table, options=console.options.update(max_width=10_000)).maximum <= console.width:
            break
    return table


if __name__ == "__main__":
    sys.exit(main())
