"""Sentences of a noise floor's report: what was found, how, and what it does not show."""

import math
from collections.abc import Sequence

from analysis.formatting import format_count, format_number, format_share, join_words, shorten_metric
from analysis.reader.sweep import Sweep
from analysis.sections.provenance import describe_provenance_differences
from analysis.stats.noise import (
    ArmNoise,
    ResolvedDifference,
    SourceSum,
    ValidationNoise,
    find_spread,
    share_factor,
    validation_share,
)
from fcos.storage.noise_floor import Spread


def describe_findings(
    metric: str,
    baseline: str,
    resolutions: Sequence[ResolvedDifference],
    noises: Sequence[ArmNoise],
    total: SourceSum | None,
) -> list[str]:
    """Return the size of the noise, its sources, and the differences below which nothing counts.

    resolutions: of all sources together, empty where their spread is unknown.
    """
    name, spread = shorten_metric(metric), find_spread(noises, metric, baseline)
    if spread is None:
        return [f"Fewer than two seeds have a value of {name}: its noise is unknown."]
    low, deviation, high = (format_number(value, metric) for value in (spread.low, spread.deviation, spread.high))
    bounds = [
        f"{format_number(item.counts_from, metric)} over {item.seeds} seeds"
        for item in resolutions
        if math.isfinite(item.counts_from)
    ]
    never = [item.seeds for item in resolutions if math.isinf(item.counts_from)]
    never_shown = f"; over {join_words(never)} no exact test shows any" if never else ""
    return [
        f"Two trainings of this configuration differ by chance: {name} has a standard deviation of {deviation} over "
        f"{format_count(spread.seeds, 'seed')} (95 % interval {low} to {high})",
        f"A difference of two arms in {name} counts for nothing below {join_words(bounds)}{never_shown}",
        *_describe_shares([item for item in noises if item.metric == metric], spread, total),
    ]


def _describe_shares(noises: Sequence[ArmNoise], whole: Spread, total: SourceSum | None) -> list[str]:
    """Return the shares of single sources, with the factor within which the least known of them is known."""
    single = [item for item in noises if len(item.sources) == 1 and math.isfinite(item.share)]
    if not single:
        return []
    shares = join_words([f"{item.sources[0]} {format_share(item.share)}" for item in single])
    together = "" if total is None or math.isnan(total.share) else f", together {format_share(total.share)}"
    fewest = min(item.n for item in single)
    seeds = format_count(whole.seeds, "seed") if fewest == whole.seeds else f"{fewest} seeds beside {whole.seeds}"
    return [
        f"Of the variance where all sources vary, single ones have {shares}{together}; over {seeds} a share is known "
        f"to a factor of {share_factor(fewest, whole.seeds):.2g} either way"
    ]


def describe_method(sweep: Sweep) -> list[str]:
    """Return lines on what is varied, and where kernels stand."""
    lines = [
        "One configuration is trained with several seeds. In an arm the seeds of the other sources are fixed, so that "
        "what is left follows from its own source. Arms of equal seeds are one training, as where a seed equals "
        "the fixed ones (seed 0 of all arms): the samples of the arms are not quite independent."
    ]
    deterministic = {trial.params.get("schedule.deterministic") for trial in sweep.finished}
    if deterministic == {True}:
        lines.append(
            "schedule.deterministic=true: on one machine's CPU equal seeds give equal numbers, so kernels add none. "
            "On a GPU only operations without a deterministic kernel can, of which torch warns."
        )
    elif deterministic:
        lines.append(
            "schedule.deterministic=false: on a GPU kernels add noise that no seed sets. It is part of every row; an "
            "arm with all seeds fixed measures it alone."
        )
    return lines


def describe_limitations(sweep: Sweep, spread: Spread | None, validation: ValidationNoise | None) -> list[str]:
    """Return lines on what the numbers do not show."""
    lines = [
        "The variance of a source is taken around one value of the others' seeds. Sources interact: their variances "
        "need not add to that of all.",
        "Arms of one seed share initial weights and the order of images, so pairing may cancel some of the noise; how "
        "much depends on the arms, and is left out here.",
    ]
    if validation is None:
        lines.append("How much other validation images would add is not measured here.")
    elif spread is not None:
        share = validation_share(spread.deviation, validation)
        lines.append(
            "Other validation images would add to that: of the variance over seeds and images together, "
            f"{format_share(share)} is from the {validation.images} images (bootstrap, "
            f"{format_count(validation.resamples, 'resample')})."
        )
    return [*lines, *describe_provenance_differences(sweep.finished)]
