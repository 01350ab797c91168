"""Report of a whole paper: every table as printed, beside it what the tracking store has for each row."""

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.papers.rows import Version

if TYPE_CHECKING:
    from analysis.paper_report.comparison import PaperDocument
    from fcos.storage.events import PaperReportEvent

FILES = ("report.html", "report.md", "table.csv")


def write_paper_report(
    version: Version, tracking_uri: str, output: Path | None = None, mlflow_experiment: str | None = None
) -> "tuple[PaperDocument, Path]":
    """Write the files of FILES; returns the document and their folder. Raises StoreError without a store."""
    document = build_paper_document(version, tracking_uri, mlflow_experiment)
    folder = output or Path("outputs") / f"paper_{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render_files(document).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return document, folder


def build_paper_document(version: Version, tracking_uri: str, mlflow_experiment: str | None = None) -> "PaperDocument":
    """Match the rows of a paper with all sweeps of the store that name them."""
    from analysis.paper_report.comparison import PaperDocument, make_comparison_tables
    from analysis.paper_report.matches import match_rows
    from analysis.reader.runs import read_sweeps_with_paper_rows
    from fcos.storage.store_conventions import public_uri

    sweeps, store_notes = read_sweeps_with_paper_rows(tracking_uri, mlflow_experiment)
    matches, row_notes = match_rows(sweeps, version)
    tables = make_comparison_tables(version, matches)
    return PaperDocument(version, public_uri(tracking_uri), tables, (*store_notes, *row_notes))


def render_files(document: "PaperDocument") -> dict[str, str]:
    """Return the text of each file."""
    from analysis.paper_report import comparison
    from analysis.render import tables
    from analysis.render.templates import make_environment

    context = {"document": document, "tables": tables, "comparison": comparison}
    return {
        "report.html": make_environment(True).get_template("paper.html.j2").render(context),
        "report.md": make_environment(False).get_template("paper.md.j2").render(context),
        "table.csv": tables.to_csv(comparison.collect_numbers(document.version, document.tables)),
    }


def print_paper_report(document: "PaperDocument", path: Path) -> None:
    """Print how many rows of each table have been run, the notes and the path."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from analysis.paper_report.comparison import COUNT_COLUMNS, count_rows
    from analysis.render.console import ReportConsole
    from analysis.render.tables import format_cells

    console = ReportConsole()
    title = Text(f"FCOS {document.version} (arXiv {document.arxiv}): rows that have been run")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    for column in COUNT_COLUMNS:
        table.add_column(column.header, justify=column.align)
    for cells in format_cells(count_rows(document.tables), COUNT_COLUMNS):
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for note in document.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    console.print(Text(f"report: {path}"), soft_wrap=True)


def make_paper_event(document: "PaperDocument", folder: Path) -> "PaperReportEvent":
    """Return the event of a written report, for programs."""
    from analysis.paper_report.comparison import count_rows
    from fcos.storage.events import PaperReportEvent, PaperTable, locate_files

    return PaperReportEvent(
        paper=document.version,
        folder=str(folder.absolute()),
        files=locate_files(folder, FILES),
        tables=tuple(PaperTable.model_validate(row) for row in count_rows(document.tables).to_dict("records")),
        notes=document.notes,
    )
