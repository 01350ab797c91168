"""Numbers as the papers print them: percent with one decimal, signs, a true minus."""

import math
from collections.abc import Sequence
from typing import Any

from fcos.storage.store_conventions import MetricPrefix

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# Only the papers' tables have such metrics; no run logs them.
SPEED_PREFIX = "speed/"


def make_printable(text: str) -> str:
    """Replace what could steer a terminal, in a line with texts of a store or an archive."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def is_percentage(metric: str) -> bool:
    """Return whether a metric is a fraction that is shown in percent."""
    return not metric.startswith((MetricPrefix.TRAIN, SPEED_PREFIX, MetricPrefix.COVERAGE_COUNT, MetricPrefix.COST))


def to_display_units(value: Any, metric: str) -> Any:
    """Convert a number or pandas series of a metric to the unit it is shown in: percent for fractions."""
    return value * (100.0 if is_percentage(metric) else 1.0)


def shorten_metric(metric: str) -> str:
    """Return a metric's name without its group: AP for val/AP."""
    return metric.removeprefix(MetricPrefix.VAL).removeprefix(MetricPrefix.TRAIN).removeprefix(MetricPrefix.COVERAGE)


def format_number(value: float | None, metric: str) -> str:
    """Format a metric's value: 37.1 for an AP of 0.371."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    is_coverage = metric.startswith(MetricPrefix.COVERAGE)
    if is_percentage(metric):
        # The papers print two decimals for coverage.
        text = f"{value * 100:.2f}" if is_coverage else f"{value * 100:.1f}"
    else:
        text = f"{value:.0f}" if is_coverage else f"{value:.3g}"
    return text.replace("-", MINUS)


def format_difference(value: float | None, metric: str) -> str:
    """Format a difference with its sign: +3.6 for 0.036. What rounds to zero has no sign."""
    text = format_number(value, metric)
    if text == MISSING or text.startswith((MINUS, "∞")):
        return text.removeprefix(MINUS) if text in (f"{MINUS}0.0", f"{MINUS}0.00") else text
    return text if not float(text) else f"+{text}"


def format_mean(mean: float, deviation: float, metric: str) -> str:
    """Format a mean with its deviation: 37.1 ± 0.4, or 37.1 where the deviation is NaN."""
    if math.isnan(mean):
        return MISSING
    text = format_number(mean, metric)
    return text if math.isnan(deviation) else f"{text} ± {format_number(deviation, metric)}"


def format_interval(low: float, high: float, metric: str) -> str:
    """Format an interval of differences: +1.2 to +5.0. One that nothing bounds is left out."""
    is_missing = math.isnan(low) or (math.isinf(low) and math.isinf(high))
    return MISSING if is_missing else f"{format_difference(low, metric)} to {format_difference(high, metric)}"


def format_confidence(level: float) -> str:
    """Format the confidence of an interval from the level of its test: 95 % for 0.05, 98.3 % for 0.05 / 3."""
    return f"{100 * (1 - level):.3g} %"


def format_share(value: float) -> str:
    """Format a share in whole percent: 40 % for 0.4."""
    return MISSING if math.isnan(value) else f"{100 * value:.0f} %"


def format_count(count: int, noun: str) -> str:
    """Format a count with its noun: 3 pairs, 1 pair."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join_words(items: Sequence[object]) -> str:
    """Join items as in a sentence: a, b and c."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def join_some(items: Sequence[object], most: int = 5) -> str:
    """Join the first items as in a sentence, with the number of the others: a, b and 3 others."""
    more = [format_count(len(items) - most, "other")] if len(items) > most else []
    return join_words([*items[:most], *more])
