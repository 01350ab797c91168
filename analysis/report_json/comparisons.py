"""Comparisons and verdicts of a report as records of report.json."""

import math
from collections.abc import Iterator, Sequence

from analysis.report_json.comparison_records import (
    ComparisonRecord,
    OtherImagesRecord,
    PaperVerdictRecord,
    VerdictRecord,
)
from analysis.report_json.search_records import ConfirmationRecord, FrontRecord
from analysis.sections.search.confirmation import Confirmation
from analysis.sections.search.front import Front
from analysis.stats.comparison import Comparison
from analysis.stats.other_images import ImageComparison
from analysis.stats.verdicts import Verdict


def make_comparison_records(comparisons: Sequence[Comparison]) -> Iterator[ComparisonRecord]:
    """Yield a record for each arm that is compared, metric by metric."""
    for item in comparisons:
        test, pairing = item.test, item.pairing
        has_p_value = item.is_tested and item.num_pairs > 0
        yield ComparisonRecord(
            metric=item.metric,
            arm=item.arm,
            difference=item.difference,
            low=test.low,
            high=test.high,
            level=test.level,
            p=test.p if has_p_value else None,
            adjusted_p=test.adjusted_p if has_p_value else None,
            smallest=item.smallest,
            largest=item.largest,
            num_pairs=item.num_pairs,
            num_higher=item.num_higher,
            correlation=None if pairing is None else pairing.correlation,
            seeds_replaced=None if pairing is None else pairing.seeds_replaced,
        )


def make_confirmation_record(confirmation: Confirmation | None) -> ConfirmationRecord | None:
    """Return the record of a search's confirmed winner."""
    if confirmation is None:
        return None
    compared = [] if confirmation.comparison is None else [confirmation.comparison]
    return ConfirmationRecord(
        winner=confirmation.winner,
        seeds=confirmation.seeds,
        value=confirmation.value,
        num_search_seeds=confirmation.search_seeds,
        search_value=confirmation.search_value,
        gap=confirmation.gap,
        comparison=next(make_comparison_records(compared), None),
        earlier=tuple(make_comparison_records(confirmation.earlier)),
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
            difference=item.difference,
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
