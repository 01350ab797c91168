"""How numbers are printed: percent with one decimal as in the papers, signs and a true minus."""

import math
from collections.abc import Sequence

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def is_percentage(key: str) -> bool:
    """Whether a metric is a fraction that is printed in percent."""
    return not key.startswith(("train/", "speed/", "coverage/num_"))


def scale(key: str) -> float:
    """What a metric is multiplied with before it is printed."""
    return 100.0 if is_percentage(key) else 1.0


def metric_name(key: str) -> str:
    """The short name of a metric key: AP for val/AP."""
    return key.removeprefix("val/").removeprefix("train/").removeprefix("coverage/")


def number(value: float | None, key: str) -> str:
    """37.1 for 0.371."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if is_percentage(key):
        # The papers print what needs no training with two decimals.
        text = f"{value * 100:.2f}" if key.startswith("coverage/") else f"{value * 100:.1f}"
    else:
        text = f"{value:.0f}" if key.startswith("coverage/") else f"{value:.3g}"
    return text.replace("-", MINUS)


def signed(value: float | None, key: str) -> str:
    """+3.6 for 0.036; what rounds to nothing has no sign."""
    text = number(value, key)
    if text == MISSING or text.startswith((MINUS, "∞")):
        return text.removeprefix(MINUS) if text in (f"{MINUS}0.0", f"{MINUS}0.00") else text
    return text if not float(text) else f"+{text}"


def mean_and_deviation(mean: float, deviation: float, key: str) -> str:
    """37.1 ± 0.4; a mean of one value has no deviation."""
    if math.isnan(mean):
        return MISSING
    return number(mean, key) if math.isnan(deviation) else f"{number(mean, key)} ± {number(deviation, key)}"


def interval(low: float, high: float, key: str) -> str:
    """+1.2 to +5.0"""
    return MISSING if math.isnan(low) else f"{signed(low, key)} to {signed(high, key)}"


def enumerate_words(items: Sequence[object]) -> str:
    """a, b and c"""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def plural(count: int, noun: str) -> str:
    """3 pairs, 1 pair"""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
