"""The Pareto front of a search with several objectives, with what seeds leave uncertain."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.formatting import MISSING, format_count, format_mean, format_share, join_words, shorten_metric
from analysis.reader.sweep import Search, Sweep
from analysis.render.tables import Column, Table
from analysis.stats.pareto import find_front, measure_front_shares

# Formats a sampled value of a search's space.
FormatValue = Callable[[object], str]


@dataclass(frozen=True)
class Front:
    """The points of a search that have all objectives in all seeds, or in as many as any point has.

    frame: columns trial, seeds, is_front, share (of resampled seeds in which it is on the front, NaN below two seeds),
    and for each metric its mean and `<metric> deviation`; those on the front first. incomplete: other points.
    """

    metrics: tuple[str, ...]
    modes: tuple[str, ...]
    frame: pd.DataFrame
    common_seeds: int
    incomplete: tuple[str, ...] = ()

    @property
    def trials(self) -> list[str]:
        """Names of the points on the front, the best in the first metric first."""
        return [str(name) for name in self.frame.loc[self.frame["is_front"], "trial"]]


def build_front(sweep: Sweep, search: Search) -> Front | None:
    """Return the front of a search; None for one objective, or before a point has all of them."""
    if len(search.objectives) < 2:
        return None
    last = sweep.points.sort_values("step").drop_duplicates(["run_id", "key"], keep="last")
    by_run = last.pivot(index="run_id", columns="key", values="value").reindex(columns=list(search.objectives))
    of_point: dict[str, dict[int, list[float]]] = {}
    for trial in sweep.finished:
        values = by_run.loc[trial.run_id].tolist() if trial.run_id in by_run.index else [math.nan]
        if trial.seed in sweep.experiment.seeds and all(math.isfinite(value) for value in values):
            of_point.setdefault(trial.arm, {})[trial.seed] = values
    if not of_point:
        return None
    sets = Counter(frozenset(of_seed) for of_seed in of_point.values())
    # Means over other seeds than those of the others would make a front of luck.
    common = max(sets, key=lambda seeds: (len(seeds), sets[seeds]))
    of_point = {name: of_seed for name, of_seed in of_point.items() if set(of_seed) == common}
    begun = {trial.arm for trial in sweep.current if trial.seed in sweep.experiment.seeds}
    frame = _make_frame(of_point, sorted(common), search)
    return Front(
        tuple(search.objectives), tuple(search.modes), frame, len(common), tuple(sorted(begun - set(of_point)))
    )


def _make_frame(
    of_point: Mapping[str, Mapping[int, Sequence[float]]], common: Sequence[int], search: Search
) -> pd.DataFrame:
    means = np.array([np.mean(list(of_seed.values()), axis=0) for of_seed in of_point.values()])
    shares = _measure_shares(of_point, common, search.modes)
    rows = [
        {"trial": name, "seeds": len(of_seed), "is_front": bool(on_front), "share": share}
        | dict(zip(search.objectives, mean, strict=True))
        | {
            f"{metric} deviation": float(pd.Series(values).std(ddof=1))
            for metric, values in zip(search.objectives, zip(*of_seed.values(), strict=True), strict=True)
        }
        for (name, of_seed), on_front, share, mean in zip(
            of_point.items(), find_front(means, search.modes), shares, means, strict=True
        )
    ]
    return pd.DataFrame(rows).sort_values(
        ["is_front", search.objectives[0], "trial"],
        ascending=[False, search.modes[0] == "min", True],
        ignore_index=True,
    )


def _measure_shares(
    of_point: Mapping[str, Mapping[int, Sequence[float]]], seeds: Sequence[int], modes: Sequence[str]
) -> Sequence[float]:
    if len(seeds) < 2:
        return [math.nan] * len(of_point)
    values = np.array([[of_seed[seed] for seed in seeds] for of_seed in of_point.values()])
    return [float(share) for share in measure_front_shares(values, modes)]


def make_front_table(front: Front, keys: pd.DataFrame, headers: Mapping[str, str], format_key: FormatValue) -> Table:
    """Return the points on the front with their objectives and keys.

    keys: a row for each point, with column trial. headers: key -> its short name. format_key: formats a value of it.
    """
    frame = front.frame[front.frame["is_front"]].merge(keys[["trial", *headers]], on="trial", how="left")
    columns = [
        Column("trial", "trial", lambda row: str(row["trial"]), "left"),
        *(
            Column(_describe_objective(front, metric), metric, partial(_format_value, metric))
            for metric in front.metrics
        ),
        Column("seeds", "seeds", lambda row: str(row["seeds"])),
        Column("on the front", "share", lambda row: MISSING if pd.isna(row["share"]) else format_share(row["share"])),
        *(Column(header, key, partial(_format_key, key, format_key)) for key, header in headers.items()),
    ]
    return Table(f"Pareto front of {join_words([shorten_metric(metric) for metric in front.metrics])}", frame, columns)


def _describe_objective(front: Front, metric: str) -> str:
    mode = front.modes[front.metrics.index(metric)]
    return f"{shorten_metric(metric)} ({'higher' if mode == 'max' else 'lower'} is better)"


def _format_value(metric: str, row: Mapping[str, Any]) -> str:
    return format_mean(row[metric], row[f"{metric} deviation"], metric)


def _format_key(key: str, format_key: FormatValue, row: Mapping[str, Any]) -> str:
    return format_key(row[key])


def describe_front(front: Front) -> str:
    """Return what the front is, and what seeds leave uncertain about it."""
    count = len(front.trials)
    text = f"{count} of {len(front.frame)} points are on the front: no other is as good in all and better in one"
    if front.common_seeds < 2:
        return f"{text}. Its uncertainty is not known: the points have one seed"
    return (
        f"{text}. On the front: in how many of 1,000 resamples of the {front.common_seeds} seeds that they have, "
        "the same seeds for every point"
    )


def note_incomplete(front: Front | None) -> list[str]:
    """Return a note on the points that are not compared, as they lack seeds or objectives; none without any."""
    if front is None or not front.incomplete:
        return []
    seeds = format_count(front.common_seeds, "seed")
    return [
        f"Not among the points of the front, as they do not have all objectives in the {seeds} of the others: "
        f"{join_words(list(front.incomplete))}."
    ]
