"""Content of a noise floor's report: one training beside itself, its variance by source of chance."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, format_count, format_number, format_share, join_words, shorten_metric
from analysis.reader.sweep import Sweep
from analysis.render.noise_plots import plot_power, plot_values_by_source
from analysis.render.tables import Column, Table, make_caption
from analysis.sections.content import Figure, ReportContent
from analysis.sections.noise_words import describe_findings, describe_limitations, describe_method
from analysis.stats import noise
from analysis.stats.noise import SOURCES, ArmNoise, ResolvedDifference, SourceSum, ValidationNoise
from fcos.statistics.power import MIN_PAIRS, POWER
from fcos.storage.noise_floor import SETTING_SECTIONS, NoiseFloor, Spread

LEGEND = (
    "sd: sample standard deviation over seeds of one training, with its 95 % chi-square interval, which few seeds "
    "leave wide. Share: of the variance where all sources vary. A difference of two means over n paired seeds counts "
    "for nothing below the half-width of its interval: of the t-interval, and of the exact sign-flip test's, by which "
    f"fewer than {MIN_PAIRS} seeds show nothing (∞). Found: the true difference that {format_share(POWER)} of such "
    "sweeps find. All as if pairing bought nothing: two runs differ by √2 times the sd."
)


def build_noise_content(
    sweep: Sweep, values: pd.DataFrame, baseline: str, validation: ValidationNoise | None = None
) -> ReportContent:
    """Split the variance of one training by its sources of chance; `validation` is that of the validation sample.

    values: see analysis.stats.paired.collect_final_values.
    """
    metric = sweep.experiment.metrics[0]
    noises = noise.summarise_noise(values, sweep.experiment, baseline)
    total = noise.sum_sources(noises, metric, baseline)
    spread = noise.find_spread(noises, metric, baseline)
    resolutions = () if spread is None else noise.compute_resolutions(spread)
    labels = label_arms(noise.find_sources(sweep.experiment))
    tables = [_make_source_table(noises, labels, metric, total, validation)]
    if resolutions:
        tables.append(_make_resolution_table(resolutions, metric))
    return ReportContent(
        kind="noise_floor",
        has_training=True,
        values=_make_frame(noises),
        tables=(*tables, *_make_other_metrics_table(noises, baseline, sweep.experiment.metrics[1:])),
        legend=LEGEND,
        findings=tuple(describe_findings(metric, baseline, resolutions, noises, total)),
        method=tuple(describe_method(sweep)),
        limitations=tuple(describe_limitations(sweep, spread, validation)),
        figures=(_plot_values(values, labels, metric), *([] if spread is None else _plot_power(spread, metric))),
        noise=_make_noise_floor(sweep, noises, baseline),
        noises=noises,
        source_sum=total,
        validation=validation,
        resolutions=resolutions,
    )


def _make_frame(noises: Sequence[ArmNoise]) -> pd.DataFrame:
    """Return the rows of table.csv."""
    columns = ["metric", "arm", "sources", "n", "mean", "deviation", "low", "high", "share", "missing"]
    rows = [
        (
            item.metric,
            item.arm,
            " ".join(item.sources),
            item.n,
            item.mean,
            *_list_spread(item.spread),
            item.share,
            item.missing,
        )
        for item in noises
    ]
    return pd.DataFrame(rows, columns=columns)


def _list_spread(spread: Spread | None) -> tuple[float, float, float]:
    """Return a deviation with the ends of its interval, NaN where it is unknown."""
    return (math.nan,) * 3 if spread is None else (spread.deviation, spread.low, spread.high)


def label_arms(sources: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return for each arm what varies in it, in words; see analysis.stats.noise.find_sources."""

    def label(arm: str, varying: tuple[str, ...]) -> str:
        if varying == SOURCES:
            return "all"
        return join_words(varying) if varying else f"nothing ({arm})"

    return {arm: label(arm, varying) for arm, varying in sources.items()}


def _make_source_table(
    noises: Sequence[ArmNoise],
    labels: Mapping[str, str],
    metric: str,
    total: SourceSum | None,
    validation: ValidationNoise | None,
) -> Table:
    """Return the table of the first metric: a row for each arm, their sum, and the validation sample where given."""
    rows: list[tuple[str, float, float, float, float, float, float]] = []
    of_all = math.nan
    for item in noises:
        if item.metric == metric:
            deviation, low, high = _list_spread(item.spread)
            varies = labels.get(item.arm, item.arm)
            of_all = deviation if varies == "all" else of_all
            rows.append((varies, item.n, item.mean, deviation, low, high, item.share))
    if total is not None:
        rows.append(
            (f"sum of {join_words(total.sources)}", math.nan, math.nan, *_list_spread(total.spread), total.share)
        )
    if validation is not None and rows:
        share = validation.variance / of_all**2 if of_all else math.nan
        deviation = math.sqrt(validation.variance)
        rows.append(("validation images", math.nan, math.nan, deviation, math.nan, math.nan, share))
    columns = [
        Column("varies", "varies", lambda row: str(row["varies"]), "left"),
        Column("n", "n", lambda row: MISSING if math.isnan(row["n"]) else f"{row['n']:.0f}"),
        Column("mean", "mean", lambda row: format_number(row["mean"], metric), optional=True),
        *_make_spread_columns(metric),
        Column("share", "share", lambda row: format_share(row["share"])),
    ]
    frame = pd.DataFrame(rows, columns=["varies", "n", "mean", "deviation", "low", "high", "share"])
    return Table(f"Noise of {make_caption(metric)}", frame, columns)


def _make_spread_columns(metric: str | None = None) -> list[Column]:
    """Return the columns of a deviation and its interval; of the row's own metric where none is given."""

    def format_range(row: Mapping[str, Any]) -> str:
        low, high = (format_number(row[key], metric or row["metric"]) for key in ("low", "high"))
        return MISSING if low == MISSING else f"{low} to {high}"

    return [
        Column("sd", "deviation", lambda row: format_number(row["deviation"], metric or row["metric"])),
        Column("95 % interval", "low", format_range),
    ]


def _make_resolution_table(resolutions: Sequence[ResolvedDifference], metric: str) -> Table:
    def number(key: str) -> Column:
        header = {"t": "counts from (t)", "counts_from": "counts from (sign flip)", "shows": "found"}[key]
        return Column(header, key, lambda row: format_number(row[key], metric))

    def format_range(row: Mapping[str, Any]) -> str:
        if math.isinf(row["shows"]):
            return MISSING
        return f"{format_number(row['shows_low'], metric)} to {format_number(row['shows_high'], metric)}"

    columns = [
        Column("seeds", "seeds", lambda row: f"{row['seeds']:.0f}"),
        *(number(key) for key in ("t", "counts_from", "shows")),
        Column("found, over the interval of the sd", "shows_low", format_range, optional=True),
    ]
    frame = pd.DataFrame([vars(item) for item in resolutions])
    return Table(f"Difference of two arms in {make_caption(metric)}, by number of seeds", frame, columns)


def _make_other_metrics_table(noises: Sequence[ArmNoise], baseline: str, metrics: Sequence[str]) -> list[Table]:
    rows = _make_frame([item for item in noises if item.arm == baseline and item.metric in metrics])
    if rows.empty:
        return []
    columns = [
        Column("metric", "metric", lambda row: shorten_metric(row["metric"]), "left"),
        Column("n", "n", lambda row: str(row["n"])),
        Column("mean", "mean", lambda row: format_number(row["mean"], row["metric"])),
        *_make_spread_columns(),
    ]
    return [Table("Noise of the other metrics, all sources varying", rows, columns)]


def _plot_values(values: pd.DataFrame, labels: Mapping[str, str], metric: str) -> Figure:
    return Figure.of_plot(
        f"{shorten_metric(metric)} of one configuration, by what varies with the seed",
        "A dot is a training; bars are means.",
        partial(plot_values_by_source, values[values["metric"] == metric], labels, metric),
    )


def _plot_power(spread: Spread, metric: str) -> list[Figure]:
    if not spread.deviation:
        return []
    return [
        Figure.of_plot(
            f"Power: which differences in {shorten_metric(metric)} a sweep finds",
            f"Exact sign-flip test over paired seeds, at an sd of {format_number(spread.deviation, metric)} (from "
            f"{format_count(spread.seeds, 'seed')}). The line is at {format_share(POWER)}.",
            partial(plot_power, spread.deviation, metric),
        )
    ]


def _make_noise_floor(sweep: Sweep, noises: Sequence[ArmNoise], baseline: str) -> NoiseFloor | None:
    """Return what noise.json holds; None where no metric has a spread."""
    metrics = noise.collect_metric_noise(noises, baseline)
    trial = next((trial for trial in sweep.finished if trial.arm == baseline), None)
    if not metrics or trial is None:
        return None
    settings = {key: value for key, value in sorted(trial.params.items()) if key.startswith(SETTING_SECTIONS)}
    return NoiseFloor(
        sweep=sweep.name,
        run_id=sweep.run_id,
        metrics=metrics,
        settings=settings,
        data_digest=trial.provenance.data_digest,
        extends=trial.provenance.extends,
    )
