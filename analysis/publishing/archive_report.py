"""The report of an archive, made of the archive alone: by publish.py to put it in, by verify.py to hold it against."""

from collections.abc import Callable
from pathlib import Path

from analysis.reader.published import published_uri
from analysis.reader.runs import read_sweep
from analysis.reader.sweep_evaluations import open_evaluations
from analysis.report import render_pages
from analysis.sections.document import build_document
from analysis.sections.resampling import Resampling
from fcos.published.records import ArchiveHeader
from fcos.storage.noise_floor import NOISE

# All but the tables that report.json has too, and the explorer, which needs pictures of all images.
PAGES = ("report.html", "report.md", "report.json", NOISE)


def render_archive_report(
    folder: Path, header: ArchiveHeader, show_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, str]:
    """Return the text of the report's files by their names in the archive; raises StoreError and ArchiveError."""
    sweep = read_sweep(published_uri(folder), header.run_id)
    with open_evaluations(sweep) as evaluations:
        document = build_document(sweep, evaluations, Resampling(header.resamples, show_progress))
    pages = render_pages(document, is_explored=False)
    return {f"report/{name}": pages[name] for name in PAGES if name in pages}
