"""Report of a sweep, read from MLflow alone: report.html (one file), report.md, table.csv, table.tex.

python analysis/report.py                          the newest sweep of the store in outputs/
python analysis/report.py ablation_centerness      a sweep by name or run id
"""

# Heavy imports wait inside the functions, so that --help answers at once.
import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.document import Document

FILES = ("report.html", "report.md", "table.csv", "table.tex")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and say where; 2 where there is nothing to report on."""
    options = parse_arguments(arguments)
    from analysis.store import StoreError

    try:
        document, folder = report(options.sweep, options.tracking_uri, options.output, options.experiment)
    except (StoreError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    show(document, folder / FILES[0])
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="report.py", description="Report of a sweep or a run: tables, figures, verdicts and provenance."
    )
    parser.add_argument("sweep", nargs="?", help="name or run id of the sweep; the newest if not given")
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'outputs' / 'mlflow.db'}",
        help="MLflow store (default: $MLFLOW_TRACKING_URI, or outputs/mlflow.db here)",
    )
    parser.add_argument("--output", type=Path, help="folder of the report (default: outputs/<sweep>/report)")
    parser.add_argument("--experiment", help="look only in the MLflow experiment of this name")
    return parser.parse_args(arguments)


def report(
    sweep: str | None, tracking_uri: str, output: Path | None = None, experiment: str | None = None
) -> "tuple[Document, Path]":
    """Write the four files and give what they say and their folder.

    Raises StoreError where the store or the sweep is missing.
    """
    from analysis.document import build
    from analysis.runs import read_sweep

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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from analysis import formatting, tables

    columns = tables.result_columns(document.results)
    names: dict[str, Any] = {
        "document": document,
        "columns": columns,
        "tables": tables,
        "formatting": formatting,
    }

    def environment(autoescape: bool) -> Environment:
        built = Environment(
            loader=PackageLoader("analysis"),
            autoescape=autoescape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        built.filters["md"] = tables.escape_markdown
        return built

    return {
        "report.html": environment(True).get_template("report.html.j2").render(names),
        "report.md": environment(False).get_template("report.md.j2").render(names),
        "table.csv": tables.to_csv(document.results),
        "table.tex": tables.to_latex(document.of(document.metrics[0]), columns),
    }


def show(document: "Document", path: Path) -> None:
    """The table of the first metric, the verdicts and the path, on the console."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from analysis import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    if document.beside:
        _show_beside(document, console)
        console.print(Text(f"report: {path}"), soft_wrap=True)
        return
    metric = document.metrics[0]
    frame = document.of(metric)
    columns = [column for column in tables.result_columns(frame) if not column.key.startswith("seed ")]
    # Text, not markup: names come from the store.
    table = Table(box=SIMPLE_HEAD, title=Text(f"{document.sweep.name}: {tables.caption(metric)}"), title_justify="left")
    for column in columns:
        table.add_column(Text(column.header), justify=column.align)
    for row in tables.cells(frame, columns):
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if document.advice:
        console.print(Text(document.advice), soft_wrap=True)
    for verdict in document.verdicts:
        console.print(Text(f"{verdict.arm}: {verdict.text}"), soft_wrap=not console.is_terminal)
    if len(document.unfinished):
        console.print(Text(f"without a number: {len(document.unfinished)} of the planned trials (see the report)"))
    console.print(Text(f"report: {path}"), soft_wrap=True)


def _show_beside(document: "Document", console: "Console") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(document.sweep.name), title_justify="left")
    for header in ("arm", "metric", "ours", "paper", "source", "deviation", ""):
        table.add_column(header, justify="right" if header in ("ours", "paper", "deviation") else "left")
    for item in document.beside:
        cells = (item.arm, item.metric, item.ours, item.printed, item.source, item.deviation, item.verdict)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
