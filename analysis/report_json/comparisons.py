"""Comparisons and verdicts of a report as records of report.json."""

import math
from collections.abc import Iterator, Sequence

from analysis.report_json.schema import ComparisonRecord, OtherImagesRecord, PaperVerdictRecord, VerdictRecord
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
