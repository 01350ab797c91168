"""Comparisons and verdicts of a report as records of report.json."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.report_json.schema import ComparisonRecord, PaperVerdictRecord, VerdictRecord
from analysis.stats.verdicts import Verdict


def make_comparison_records(results: pd.DataFrame) -> Iterator[ComparisonRecord]:
    """Yield a record for each arm that is compared. results: see analysis.render.tables.collect_results."""
    for row in results[results["num_pairs"].notna()].to_dict("records"):
        yield ComparisonRecord.model_validate({name: row[name] for name in ComparisonRecord.model_fields})


def make_verdict_records(verdicts: Sequence[Verdict]) -> Iterator[VerdictRecord]:
    """Yield a record for each verdict."""
    for verdict in verdicts:
        papers = [
            PaperVerdictRecord(
                source=paper.source, difference=paper.difference, agreement=paper.agreement, text=paper.text
            )
            for paper in verdict.paper
        ]
        yield VerdictRecord(
            metric=verdict.metric,
            arm=verdict.arm,
            outcome=verdict.outcome,
            text=verdict.text,
            papers=tuple(papers),
        )
