"""Coverage beside the papers: figures without chance, so each stands on its own digits, not on seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.formatting import number, signed
from analysis.paper import PaperRow
from analysis.store import read_artifact
from analysis.sweep import Sweep

if TYPE_CHECKING:
    from analysis.plots import Theme

PREFIX = "coverage/"
OBJECTIVE = "coverage/objective"
TABLE = "coverage/coverage.json"


@dataclass(frozen=True)
class Beside:
    """One figure of an arm beside the one that a paper prints for the same row."""

    arm: str
    metric: str
    source: str
    ours: str
    printed: str
    deviation: str
    verdict: str


def is_coverage(sweep: Sweep) -> bool:
    """Whether a sweep measures coverage and trains nothing."""
    return all(metric.startswith(PREFIX) for metric in sweep.experiment.metrics)


def beside_papers(values: pd.DataFrame, rows: Mapping[str, Mapping[str, PaperRow]], on_coco: bool) -> list[Beside]:
    """Every figure of every arm that a paper prints too; reproduced where all printed digits agree.

    values: arm, metric, value. on_coco: whether the boxes are those of COCO val2017, which the papers counted.
    """
    found = []
    for (arm, metric), value in values.groupby(["arm", "metric"], sort=False)["value"].first().items():
        for source, row in rows.get(str(arm), {}).items():
            if str(metric) not in row.metrics or pd.isna(value):
                continue
            ours, printed = number(float(value), str(metric)), number(row.metrics[str(metric)], str(metric))
            # What is printed is compared: the difference of the digits, not of what lies behind them.
            gap = signed((float(ours) - float(printed)) / 100, str(metric))
            verdict = ("reproduced" if ours == printed else f"not to the digit ({gap})") if on_coco else "other data"
            found.append(Beside(str(arm), str(metric), source, ours, printed, gap, verdict))
    return found


def read_tables(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """The counts that each finished arm left in the store."""
    tables = {}
    finished = sweep.current[sweep.current["status"] == "FINISHED"]
    for arm, run_id in zip(finished["arm"], finished["run_id"], strict=True):
        content = read_artifact(sweep.uri, str(run_id), TABLE)
        if content is not None:
            tables[str(arm)] = json.loads(content)
    return tables


def advice(sweep: Sweep, tables: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The settings with the highest objective, and how far they are above the baseline's; None for other sweeps."""
    scores = {arm: table["metrics"].get(OBJECTIVE) for arm, table in tables.items()}
    scores = {arm: score for arm, score in scores.items() if score is not None}
    baseline = sweep.experiment.baseline
    if sweep.experiment.metrics[0] != OBJECTIVE or not scores:
        return None
    best = max(scores, key=lambda arm: scores[arm])
    lines = [f"# best: {best}, objective {100 * scores[best]:.2f}"]
    if baseline in scores and baseline != best:
        lines[0] += f", {100 * (scores[best] - scores[baseline]):+.2f} over {baseline} ({100 * scores[baseline]:.2f})"
    for key in ("bpr", "ambiguous", "evenness"):
        ours = tables[best]["metrics"][PREFIX + key]
        theirs = f", {baseline} {100 * tables[baseline]['metrics'][PREFIX + key]:.2f}" if baseline in scores else ""
        lines.append(f"# {key} {100 * ours:.2f}{theirs}")
    return "\n".join(lines) + "\n" + str(tables[best]["config_block"])


def shown_arms(tables: Mapping[str, Mapping[str, Any]], baseline: str | None, most: int = 6) -> list[str]:
    """The arms that the figures show: the baseline and those of the highest objective, or simply the first."""
    scored = [arm for arm, table in tables.items() if OBJECTIVE in table["metrics"]]
    ranked = sorted(scored, key=lambda arm: -tables[arm]["metrics"][OBJECTIVE]) if baseline else scored
    head = [baseline] if baseline in scored else []
    return list(dict.fromkeys([*head, *ranked]))[:most]


def box_sizes(tables: Mapping[str, Mapping[str, Any]], arms: Sequence[str], theme: "Theme") -> bytes:
    """A histogram of the boxes' longest sides, and under it each arm's level ranges.

    A level is drawn over the longest sides that its range can serve: max(l, t, r, b) is at least half of them.
    """
    from analysis.plots import figure_of, label_of, svg_of

    figure, axes = figure_of(theme, (6.4, 2.6 + 0.35 * len(arms)))
    sizes = tables[arms[0]]["longest_side"]
    ends = sizes["ends"]
    axes.stairs(sizes["boxes"], ends, fill=True, color=theme.quiet, alpha=0.5)
    top = max(sizes["boxes"]) or 1
    for line, arm in enumerate(arms):
        table = tables[arm]
        y = -(line + 1) * 0.14 * top
        for place, (low, high) in enumerate(table["assignment"]["ranges"]):
            left, right = max(low, ends[0]), min(high or ends[-1], ends[-1])
            axes.plot(
                [left, right], [y, y], color=theme.arms[place % len(theme.arms)], linewidth=7, solid_capstyle="butt"
            )
            middle = (left * right) ** 0.5
            axes.text(middle, y, f"P{table['levels'][place]}", ha="center", va="center", fontsize=7, color=theme.ink)
        axes.text(ends[0], y, label_of(arm) + " ", ha="right", va="center", fontsize=8, color=theme.ink)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ends[0], ends[-1])
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.1 * top])
    axes.set_xlabel("longest side, and max(l, t, r, b) of the ranges (pixels)")
    axes.set_ylabel("boxes")
    return svg_of(figure)


def positives_per_level(tables: Mapping[str, Mapping[str, Any]], arms: Sequence[str], theme: "Theme") -> bytes:
    """Share of the positives on each level, a bar for each arm."""
    from analysis.plots import figure_of, label_of, legend_of, svg_of

    figure, axes = figure_of(theme, (6.4, 3.3))
    levels = sorted({level for arm in arms for level in tables[arm]["levels"]})
    width = 0.8 / len(arms)
    for place, arm in enumerate(arms):
        shares = [100 * tables[arm]["metrics"].get(f"coverage/positives_P{level}", 0.0) for level in levels]
        x = [position + (place - (len(arms) - 1) / 2) * width for position in range(len(levels))]
        axes.bar(x, shares, width, color=theme.arms[place % len(theme.arms)], label=label_of(arm))
    axes.set_xticks(range(len(levels)), [f"P{level}" for level in levels])
    axes.set_ylabel("positives, percent")
    legend_of(axes, theme)
    return svg_of(figure)
