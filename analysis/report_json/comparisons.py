"""Comparisons and verdicts of a report as records of report.json."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.report_json.schema import ComparisonRecord, PaperVerdictRecord, VerdictRecord
from analysis.stats.paired import CONFIDENCE
from analysis.stats.verdicts import Verdict


def make_comparison_records(results: pd.DataFrame) -> Iterator[ComparisonRecord]:
    """Yield a record for each arm that has pairs. results: see analysis.render.tables.collect_results."""
    for row in results[results["num_pairs"].notna()].to_dict("records"):
        yield ComparisonRecord(
            metric=row["metric"],
            arm=row["arm"],
            difference=row["difference"],
            low=row["low"],
            high=row["high"],
            level=1 - CONFIDENCE,
            p=row["p_sign_flip"],
            adjusted_p=row["p_sign_flip"],
            smallest=min(_get_differences(row, results), default=math.nan),
            largest=max(_get_differences(row, results), default=math.nan),
            num_pairs=int(row["num_pairs"]),
            num_higher=int(row["num_higher"]),
            correlation=math.nan,
            seeds_replaced=math.nan,
        )


def _get_differences(row: Mapping[str, Any], results: pd.DataFrame) -> list[float]:
    of_baseline = results[(results["metric"] == row["metric"]) & results["is_baseline"]].iloc[0]
    pairs = [(row[key], of_baseline[key]) for key in results.columns if key.startswith("seed ")]
    return [ours - base for ours, base in pairs if isinstance(ours, float) and isinstance(base, float)]


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
