"""Comparisons and verdicts of a report as records of report.json."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.report_json.schema import (
    ComparisonRecord,
    ConfirmationRecord,
    FrontRecord,
    OtherImagesRecord,
    PaperVerdictRecord,
    VerdictRecord,
)
from analysis.sections.search.confirmation import Confirmation
from analysis.sections.search.front import Front
from analysis.stats.other_images import ImageComparison
from analysis.stats.verdicts import Verdict


def make_comparison_records(results: pd.DataFrame) -> Iterator[ComparisonRecord]:
    """Yield a record for each arm that is compared. results: see analysis.render.tables.collect_results."""
    for row in results[results["num_pairs"].notna()].to_dict("records"):
        yield ComparisonRecord.model_validate({name: row[name] for name in ComparisonRecord.model_fields})


def make_confirmation_record(confirmation: Confirmation | None) -> ConfirmationRecord | None:
    """Return the record of a search's confirmed winner."""
    if confirmation is None:
        return None
    compared = make_comparison_records(confirmation.table.frame) if confirmation.comparison else iter(())
    return ConfirmationRecord(
        winner=confirmation.winner,
        seeds=confirmation.seeds,
        value=confirmation.value,
        num_search_seeds=confirmation.search_seeds,
        search_value=confirmation.search_value,
        gap=confirmation.gap,
        comparison=next(compared, None),
    )


def make_front_records(front: Front | None) -> Iterator[FrontRecord]:
    """Yield a record for each point that has all objectives, those on the front first."""
    for row in [] if front is None else front.frame.to_dict("records"):
        yield FrontRecord(
            trial=row["trial"],
            is_front=row["is_front"],
            num_seeds=row["seeds"],
            share=row["share"],
            means={metric: row[metric] for metric in front.metrics} if front else {},
            deviations={metric: row[f"{metric} deviation"] for metric in front.metrics} if front else {},
        )


def make_other_images_records(compared: Sequence[ImageComparison]) -> Iterator[OtherImagesRecord]:
    """Yield a record for each comparison on other images."""
    for item in compared:
        interval = item.interval
        yield OtherImagesRecord(
            metric=item.comparison.metric,
            arm=item.comparison.arm,
            seeds=item.seeds,
            difference=item.comparison.difference if interval is None else interval.difference,
            low=math.nan if interval is None else interval.low,
            high=math.nan if interval is None else interval.high,
            image_share=math.nan if interval is None else interval.image_share,
        )


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
