"""Section of a report on other images: the differences for other seeds and images, beside those for other seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.formatting import (
    MISSING,
    format_confidence,
    format_count,
    format_difference,
    format_interval,
    join_words,
    shorten_metric,
)
from analysis.reader.sweep import Sweep
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.render.tables import Column, Table
from analysis.sections.resampling import Resampling, resample_trials
from analysis.stats.comparison import Comparison
from analysis.stats.other_images import ImageComparison, compare_on_other_images


@dataclass(frozen=True)
class OtherImages:
    """Table and lines of the section, and notes on evaluations that are missing. table: None without any evaluation."""

    table: Table | None
    lines: tuple[str, ...]
    notes: tuple[str, ...]
    # What the table shows.
    compared: tuple[ImageComparison, ...] = ()


def build_other_images(
    sweep: Sweep,
    evaluations: SweepEvaluations,
    comparisons: Sequence[Comparison],
    baseline: str | None,
    resampling: Resampling,
) -> OtherImages | None:
    """Compare the arms for other images too, as far as evaluations are saved; None where nothing is to be compared."""
    paired = [comparison for comparison in comparisons if comparison.num_pairs]
    if baseline is None or not paired or not resampling.resamples:
        return None
    arms = {baseline, *(comparison.arm for comparison in paired)}
    trials = [trial for trial in sweep.finished if trial.arm in arms]
    resampled = resample_trials(evaluations, trials, sweep.experiment.metrics, resampling)
    compared = compare_on_other_images(resampled.trials, paired, baseline, resampled.num_images)
    if not compared:
        return OtherImages(None, (), resampled.notes)
    lines = (_describe_method(resampled.num_images, resampling.resamples), *_describe_verdicts(compared, baseline))
    notes = (*resampled.notes, *_describe_other_pairs(compared))
    return OtherImages(_make_table(compared), lines, notes, tuple(compared))


def _describe_method(num_images: int, resamples: int) -> str:
    return (
        f"Of the {format_count(num_images, 'validation image')} {resamples} resamples are drawn with replacement, the "
        "same for every arm and seed, and every metric is computed anew on each from the saved detections. The "
        "interval for seeds and images adds what resamples vary by to the spread over seeds; it takes both as normal "
        "and has the confidence of the interval beside it."
    )


def _describe_other_pairs(compared: Sequence[ImageComparison]) -> list[str]:
    """Return a note on arms whose pairs with an evaluation are not all of their pairs."""
    arms = dict.fromkeys(item.comparison.arm for item in compared if not item.has_all_pairs)
    if not arms:
        return []
    return [
        f"{join_words(list(arms))}: the pairs with saved evaluations are not all of those with values. On other images "
        "the difference and the interval for seeds and images are of the pairs with evaluations; the interval from "
        "seeds, of all pairs, is left out there."
    ]


def _describe_verdicts(compared: Sequence[ImageComparison], baseline: str) -> list[str]:
    """Return on which interval the verdicts stand, and which of them hold for other images too."""
    tested = [item for item in compared if item.comparison.is_tested]
    lines = [
        "The verdicts stand on the intervals from seeds: they hold for these validation images and other seeds. None "
        "rests on the intervals for seeds and images."
    ]
    clear = [item for item in tested if item.comparison.test.is_rejected and item.interval is not None]
    holding = [item.comparison.arm for item in clear if _has_same_direction(item)]
    others = [item.comparison.arm for item in clear if item.comparison.arm not in holding]
    if holding:
        lines.append(
            f"On other images of this kind too the difference to {baseline} is clear of zero: {join_words(holding)}."
        )
    if others:
        lines.append(f"On other images of this kind the difference to {baseline} may vanish: {join_words(others)}.")
    return lines


def _has_same_direction(item: ImageComparison) -> bool:
    """Return whether the interval for seeds and images leaves zero out on the side of the verdict."""
    assert item.interval is not None
    return item.interval.low > 0 if item.comparison.difference > 0 else item.interval.high < 0


def _make_table(compared: Sequence[ImageComparison]) -> Table:
    frame = pd.DataFrame([_make_row(item) for item in compared])
    columns = [
        Column("metric", "metric", lambda row: shorten_metric(row["metric"]), "left"),
        Column("arm", "arm", lambda row: str(row["arm"]), "left"),
        Column("pairs", "pairs", _format_pairs),
        Column("difference", "difference", lambda row: format_difference(row["difference"], row["metric"])),
        Column("confidence", "level", lambda row: format_confidence(row["level"]), optional=True),
        Column("interval from seeds", "seeds_low", lambda row: _format_range(row, "seeds")),
        Column("interval from seeds and images", "both_low", lambda row: _format_range(row, "both")),
        Column("share of images", "image_share", _format_share),
    ]
    return Table("Differences for other seeds, and for other images too", frame, columns)


def _make_row(item: ImageComparison) -> dict[str, Any]:
    comparison, interval = item.comparison, item.interval
    return {
        "metric": comparison.metric,
        "arm": comparison.arm,
        "pairs": len(item.seeds),
        "all_pairs": comparison.num_pairs,
        "difference": item.difference,
        "level": comparison.test.level,
        "seeds_low": comparison.test.low if item.has_all_pairs else math.nan,
        "seeds_high": comparison.test.high if item.has_all_pairs else math.nan,
        "both_low": math.nan if interval is None else interval.low,
        "both_high": math.nan if interval is None else interval.high,
        "image_share": math.nan if interval is None else interval.image_share,
    }


def _format_pairs(row: Mapping[str, Any]) -> str:
    """Return the pairs with evaluations, and of how many where these are more."""
    pairs, of_all = row["pairs"], row["all_pairs"]
    return str(pairs) if pairs == of_all else f"{pairs} of {of_all}"


def _format_range(row: Mapping[str, Any], kind: str) -> str:
    return format_interval(row[f"{kind}_low"], row[f"{kind}_high"], row["metric"])


def _format_share(row: Mapping[str, Any]) -> str:
    return MISSING if math.isnan(row["image_share"]) else f"{row['image_share']:.0%}"
