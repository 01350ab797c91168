"""Sentences of a noise floor's report: what was found, how, and what it does not show."""

import math

import pandas as pd

from analysis.formatting import format_count, format_number, format_share, join_words, shorten_metric
from analysis.reader.sweep import Sweep
from analysis.sections.provenance import describe_provenance_differences
from analysis.stats.noise import SourceSum, ValidationNoise, share_factor, validation_share
from fcos.storage.noise_floor import Spread


def describe_findings(
    metric: str, spread: Spread | None, resolutions: pd.DataFrame | None, frame: pd.DataFrame, total: SourceSum | None
) -> list[str]:
    """Return the size of the noise, its sources, and the differences below which nothing counts.

    spread, resolutions: of all sources together; see analysis.stats.noise.compute_resolutions, summarise_noise.
    """
    name = shorten_metric(metric)
    if spread is None or resolutions is None:
        return [f"Fewer than two seeds have a value of {name}: its noise is unknown."]
    low, deviation, high = (format_number(value, metric) for value in (spread.low, spread.deviation, spread.high))
    seeds = format_count(spread.seeds, "seed")
    lines = [
        f"Two trainings of this configuration differ by chance: {name} has a standard deviation of {deviation} over "
        f"{seeds} (95 % interval {low} to {high})"
    ]
    shown = [row for row in resolutions.to_dict("records") if math.isfinite(row["counts_from"])]
    never = [str(row["seeds"]) for row in resolutions.to_dict("records") if math.isinf(row["counts_from"])]
    bounds = [f"{format_number(row['counts_from'], metric)} over {row['seeds']} seeds" for row in shown]
    lines.append(f"A difference of two arms in {name} counts for nothing below {join_words(bounds)}")
    if never:
        lines[-1] += f"; over {join_words(never)} no exact test shows any"
    of_metric = frame[(frame["metric"] == metric) & frame["share"].notna()]
    shares = [
        f"{row['sources'][0]} {format_share(row['share'])}"
        for row in of_metric.to_dict("records")
        if len(row["sources"]) == 1
    ]
    if shares:
        together = "" if total is None or math.isnan(total.share) else f", together {format_share(total.share)}"
        lines.append(
            f"Of the variance where all sources vary, single ones have {join_words(shares)}{together}; over {seeds} a "
            f"share is known to a factor of {share_factor(spread.seeds):.2g} either way"
        )
    return lines


def describe_method(sweep: Sweep) -> list[str]:
    """Return lines on what is varied, and where kernels stand."""
    lines = [
        "One configuration is trained with several seeds. In an arm the seeds of the other sources are fixed, so that "
        "what is left follows from its own source. Arms of equal seeds are one training."
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
