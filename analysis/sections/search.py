"""Content of a search's report: its trainings best first, the best settings, and how to confirm them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, format_number, shorten_metric
from analysis.reader.sweep import Search, Sweep, Trial
from analysis.render import search_plots
from analysis.render.tables import Column, Table, make_caption
from analysis.sections.content import Figure, ReportContent, render_figure
from analysis.sections.gallery import build_gallery
from analysis.sections.provenance import describe_provenance_differences, describe_shared_trainings
from analysis.stats.importance import compute_importance, is_unset
from analysis.stats.search_path import order_path
from fcos.installation import command
from fcos.storage.store_conventions import MetricPrefix

# Overrides that belong to the search itself or to its storage, and not to the trainings.
SEARCH_KEYS = ("search", "name", "dry_run", "tracking", "experiment.search", "experiment.seeds")
NUM_SEEDS = 3
# Room for the suffix in a sweep's name of at most 64 characters.
MAX_NAME = 54
SEARCH_COLUMNS = ["trial", "state", "step", "value", "failure"]


def build_search_content(sweep: Sweep, search: Search) -> ReportContent:
    """Collect everything that a search tried; reads the store for pictures alone."""
    frame = collect_search_values(sweep, search)
    best = find_best(frame)
    shares = compute_importance(frame, search)
    gallery = build_gallery(sweep if best is None else _keep_arm(sweep, str(best["trial"])))
    return ReportContent(
        kind="search",
        has_training=not search.metric.startswith(MetricPrefix.COVERAGE),
        values=frame,
        tables=(_make_table(frame, search), *([_make_importance_table(shares, search)] if len(shares) else [])),
        legend=_make_legend(search, len(shares) > 0),
        method=tuple(describe_shared_trainings(sweep)),
        limitations=(*_describe_limitations(frame, search), *describe_provenance_differences(sweep.finished)),
        figures=tuple(_plot_figures(frame, search)),
        gallery=gallery,
        notes=gallery.notes,
        recommended_settings=None if best is None else _format_best_settings(sweep, search, best, shares),
        importance=shares,
    )


def collect_search_values(sweep: Sweep, search: Search) -> pd.DataFrame:
    """Return a row for each training, best first: SEARCH_COLUMNS, number (its turn), and the keys of the space.

    Finished trainings by their value, then pruned ones by the step they reached, then those without a value.
    """
    of_metric = sweep.points[sweep.points["key"] == search.metric].sort_values("step")
    last = of_metric.drop_duplicates("run_id", keep="last").set_index("run_id")
    rows = []
    for trial in sorted(sweep.current, key=lambda trial: trial.arm):
        state = _get_state(trial)
        has_value = trial.run_id in last.index and state in ("finished", "pruned")
        rows.append(
            {
                "trial": trial.arm,
                "state": state,
                "step": last["step"].get(trial.run_id, float("nan")),
                "value": float(last["value"][trial.run_id]) if has_value else float("nan"),
                "failure": trial.failure,
                **{key: trial.sampled.get(key, MISSING) for key in search.space},
            }
        )
    # As objects: a sampled null must not become NaN.
    frame = pd.DataFrame(rows, columns=[*SEARCH_COLUMNS, *search.space], dtype=object)
    frame = frame.astype({"step": float, "value": float})
    frame.insert(1, "number", range(len(frame)))
    return _sort_best_first(frame, search.mode)


def _sort_best_first(frame: pd.DataFrame, mode: str) -> pd.DataFrame:
    pruned_step = frame["step"].where(frame["state"] == "pruned", 0)
    order = frame.assign(
        _group=frame["state"].map({"finished": 0, "pruned": 1}).fillna(2),
        _step=-pruned_step.fillna(0),
        _value=frame["value"] * (-1 if mode == "max" else 1),
    )
    order = order.sort_values(["_group", "_step", "_value", "trial"], ignore_index=True)
    return order.drop(columns=["_group", "_step", "_value"])


def _get_state(trial: Trial) -> str:
    return "pruned" if trial.is_pruned else trial.status.lower()


def find_best(frame: pd.DataFrame) -> Mapping[str, Any] | None:
    """Return the row of the best finished training, None where none has a value."""
    finished = frame[(frame["state"] == "finished") & frame["value"].notna()]
    return None if finished.empty else finished.iloc[0].to_dict()


def _keep_arm(sweep: Sweep, arm: str) -> Sweep:
    return replace(sweep, trials=tuple(trial for trial in sweep.trials if trial.arm == arm))


def _make_table(frame: pd.DataFrame, search: Search) -> Table:
    metric = search.metric
    columns = [
        Column("trial", "trial", lambda row: str(row["trial"]), "left"),
        Column(shorten_metric(metric), "value", lambda row: format_number(row["value"], metric)),
        Column("step", "step", lambda row: MISSING if pd.isna(row["step"]) else f"{row['step']:.0f}"),
        Column("state", "state", _format_state_cell, "left"),
        *(Column(header, key, partial(_format_key_cell, key)) for key, header in _shorten_keys(search.space).items()),
    ]
    order = "highest" if search.mode == "max" else "lowest"
    return Table(f"{make_caption(metric)}, {order} first", frame, columns)


def _format_state_cell(row: Mapping[str, Any]) -> str:
    reason = str(row["failure"]).splitlines()
    return f"{row['state']}: {reason[0]}" if row["state"] == "failed" and reason else str(row["state"])


def _format_key_cell(key: str, row: Mapping[str, Any]) -> str:
    return format_value(row[key])


def format_value(value: Any) -> str:
    """Format a sampled value in a few characters; level ranges by the ends between them."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and value and all(isinstance(item, list) and len(item) == 2 for item in value):
        return " | ".join(str(high) for _, high in value[:-1])
    return "null" if value is None else str(value)


def _shorten_keys(keys: Mapping[str, Any]) -> dict[str, str]:
    """Return key -> its last part, or the whole key where another one has the same last part."""
    last = [key.split(".")[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def _make_legend(search: Search, with_importance: bool) -> str:
    lines = ["One training for each point. Level ranges are given by the ends between the levels."]
    if search.strategy.early_stopping != "none":
        lines.append("Pruned: stopped early, with its value at that step, below all that were trained to the end.")
    if with_importance:
        lines.append(
            "Importance: PED-ANOVA (arXiv 2304.10255) over the finished trainings, of keys that all of them have."
        )
    return " ".join(lines)


def _describe_limitations(frame: pd.DataFrame, search: Search) -> list[str]:
    lines = []
    count = int(frame["value"].notna().sum())
    if count:
        lines.append(
            f"The best of {count} was chosen by the number shown here, in one seed: expect a worse one in other seeds. "
            "Only a comparison over seeds shows what the settings are worth; its command is among the best settings."
        )
    if len(frame) < search.trials and search.strategy.searcher != "grid":
        lines.append(f"{len(frame)} of {search.trials} trainings have been sampled.")
    return lines


def _format_best_settings(sweep: Sweep, search: Search, best: Mapping[str, Any], shares: pd.DataFrame) -> str:
    """Return the best settings as YAML, and commands that hold them against the base over other seeds."""
    keys = {key: best[key] for key in search.space if not is_unset(best[key])}
    result = f"{shorten_metric(search.metric)} {format_number(best['value'], search.metric)}"
    lines = [f"# best: {best['trial']}, {result} in one seed"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    lines += [f"# over {NUM_SEEDS} other seeds:", f"# {make_confirmation_command(sweep, search, keys)}"]
    path = order_path(keys, search, shares)
    if len(path) > 1:
        lines += ["# from the base to them, one key at a time:", f"# {make_path_command(sweep, search, path)}"]
    return "\n".join(lines) + "\n"


def make_confirmation_command(sweep: Sweep, search: Search, keys: Mapping[str, Any]) -> str:
    """Return the command of an ablation of the best settings against the search's base, over unused seeds."""
    return _make_command(sweep, search, {"best": keys}, "confirmed")


def make_path_command(sweep: Sweep, search: Search, path: Mapping[str, Any]) -> str:
    """Return the command of an ablation whose arms each change one more key, over the same seeds.

    Its first and last arm are those of the confirmation, and are taken over from it. path: see
    analysis.stats.search_path.
    """
    names = _shorten_keys(path)
    arms = {names[key]: {key: value} for key, value in path.items()}
    return _make_command(sweep, search, arms, "path", "experiment.cumulative=true")


def _make_command(sweep: Sweep, search: Search, arms: Mapping[str, Mapping[str, Any]], suffix: str, *more: str) -> str:
    """Return the command of an ablation of arms against the search's base, over seeds that it did not use."""
    kept = [override for override in search.overrides if not _is_search_override(override)]
    first = max(sweep.experiment.seeds, default=0) + 1
    seeds = ",".join(str(seed) for seed in range(first, first + NUM_SEEDS))
    changes = {
        arm: ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items()) for arm, keys in arms.items()
    }
    listed = ", ".join(f"{arm}: {{{keys}}}" for arm, keys in {"base": "", **changes}.items())
    overrides = [
        *kept,
        "experiment.search=null",
        f"name={sweep.name[:MAX_NAME]}_{suffix}",
        "experiment.baseline=base",
        f"experiment.arms={{{listed}}}",
        *more,
        f"experiment.seeds=[{seeds}]",
    ]
    return " ".join([command("sweep"), *(shlex.quote(override) for override in overrides)])


def _is_search_override(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in SEARCH_KEYS)


def _make_importance_table(shares: pd.DataFrame, search: Search) -> Table:
    columns = [
        Column("key", "key", lambda row: str(row["key"]), "left"),
        Column("importance", "importance", lambda row: f"{100 * row['importance']:.0f} %"),
    ]
    return Table(f"Importance of the keys for {shorten_metric(search.metric)}", shares, columns)


def _plot_figures(frame: pd.DataFrame, search: Search) -> Sequence[Figure]:
    with_value = frame[frame["value"].notna()].sort_values("number")
    if with_value.empty:
        return []
    name = shorten_metric(search.metric)
    return [
        render_figure(
            f"{name} of each training",
            "Filled: trained to the end. Hollow: pruned. The line is the best of those trained to the end so far.",
            partial(search_plots.plot_search_history, with_value, search.metric, search.mode),
        ),
        render_figure(
            f"{name} over each key",
            "Filled: trained to the end. Hollow: pruned.",
            partial(search_plots.plot_values_by_key, with_value, search, _shorten_keys(search.space)),
        ),
    ]
