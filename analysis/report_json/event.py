"""Event of a written report for programs (--json): where the files are, the verdicts and the rows of the table."""

from collections.abc import Iterable
from pathlib import Path

from analysis.sections.document import Document
from analysis.stats.paired import summarise
from fcos.storage.events import ReportEvent, TableRow, Verdict, locate_files


def make_report_event(document: Document, folder: Path, files: Iterable[str]) -> ReportEvent:
    """Return the event of a sweep's report; report.json among its files has every number with its run."""
    sweep, content = document.sweep, document.content
    values = document.final_values if content.kind == "comparison" else None
    return ReportEvent(
        sweep=sweep.name,
        run_id=sweep.run_id,
        kind=content.kind,
        state=document.state,
        folder=str(folder.absolute()),
        files=locate_files(folder, files),
        verdicts=tuple(
            Verdict(metric=each.metric, arm=each.arm, outcome=each.outcome, text=each.text) for each in content.verdicts
        ),
        table=tuple(
            TableRow(
                metric=row.metric,
                arm=row.arm,
                n=row.n,
                mean=row.mean,
                deviation=row.deviation,
                missing_seeds=row.missing,
            )
            for row in ([] if values is None else summarise(values).itertuples(index=False))
        ),
        recommended_settings=content.recommended_settings,
        findings=content.findings,
        missing=len(document.missing),
        notes=document.notes,
    )
