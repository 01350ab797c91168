"""Report of a whole paper: every table as printed, beside it what the tracking store has run for each row."""

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.papers.rows import Version

if TYPE_CHECKING:
    from analysis.paper_report.tables import PaperDocument

FILES = ("report.html", "report.md", "table.csv")


def paper_report(
    version: Version, tracking_uri: str, output: Path | None = None, experiment: str | None = None
) -> "tuple[PaperDocument, Path]":
    """Write the three files and give what they say and their folder; raises StoreError without a store."""
    document = build(version, tracking_uri, experiment)
    folder = output or Path("outputs") / f"paper_{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render(document).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return document, folder


def build(version: Version, tracking_uri: str, experiment: str | None = None) -> "PaperDocument":
    """Read all sweeps of the store that name rows of papers, and lay them beside the paper's tables."""
    from analysis.paper_report.matches import fillings
    from analysis.paper_report.tables import PaperDocument, paper_tables
    from analysis.reader.runs import read_sweeps_beside_papers
    from orchestration.store_conventions import public_uri

    sweeps, unknown = read_sweeps_beside_papers(tracking_uri, experiment)
    found, notes = fillings(sweeps, version)
    return PaperDocument(version, public_uri(tracking_uri), paper_tables(version, found), (*unknown, *notes))


def render(document: "PaperDocument") -> dict[str, str]:
    """The text of each file."""
    from analysis.paper_report import tables as laid
    from analysis.render import tables
    from analysis.render.templates import environment

    names = {"document": document, "tables": tables, "laid": laid}
    return {
        "report.html": environment(True).get_template("paper.html.j2").render(names),
        "report.md": environment(False).get_template("paper.md.j2").render(names),
        "table.csv": tables.to_csv(laid.numbers(document.version, document.tables)),
    }


def show(document: "PaperDocument", path: Path) -> None:
    """How much of each table has been run, and the path, on the console."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from analysis.paper_report.tables import SUMMARY_COLUMNS, summary
    from analysis.render import tables
    from analysis.render.console import ReportConsole

    console = ReportConsole()
    title = Text(f"FCOS {document.version} (arXiv {document.arxiv}): rows that have been run")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    for column in SUMMARY_COLUMNS:
        table.add_column(column.header, justify=column.align)
    for row in tables.cells(summary(document.tables), SUMMARY_COLUMNS):
        table.add_row(*(Text(text) for text in row))
    console.print(table)
    for note in document.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    console.print(Text(f"report: {path}"), soft_wrap=True)
