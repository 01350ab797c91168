"""What a search says: its trainings best first, the settings of the best, and how to confirm them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis.formatting import MISSING, metric_name, number
from analysis.reader.sweep import Search, Sweep
from analysis.render import search_plots
from analysis.render.tables import Column, Table, caption
from analysis.sections.findings import Figure, Findings, drawn
from analysis.sections.gallery import gallery
from analysis.sections.provenance import differences_in_provenance, shared_trainings
from analysis.stats.importance import importance
from fcos.installation import command

# Overrides that belong to the search itself, or to where it was kept.
OF_THE_SEARCH = ("search", "name", "dry_run", "tracking", "experiment.search", "experiment.seeds")
NUM_SEEDS = 3


def search_findings(sweep: Sweep, search: Search) -> Findings:
    """Everything that a search tried and what came out best; touches the store only for pictures."""
    frame = search_values(sweep, search)
    best = best_of(frame)
    finished = sweep.current[sweep.current["status"] == "FINISHED"]
    shares = importance(frame, search)
    shown = gallery(sweep) if best is None else gallery(_only(sweep, str(best["trial"])))
    return Findings(
        trains=not search.metric.startswith("coverage/"),
        compares=False,
        values=frame,
        tables=(_table(frame, search), *([_shares_table(shares, search)] if len(shares) else [])),
        legend=_legend(search, len(shares) > 0),
        shows=tuple(shared_trainings(sweep)),
        cannot=(*_cannot(frame, search), *differences_in_provenance(finished)),
        figures=tuple(_figures(frame, search)),
        gallery=shown,
        notes=shown.notes,
        advice=None if best is None else _advice(sweep, search, best),
    )


def search_values(sweep: Sweep, search: Search) -> pd.DataFrame:
    """trial, number, state, step, value, failure and a column for each key of the space; best first.

    Finished trainings by their value, then those stopped early by how far they came, then those without a value.
    """
    of_metric = sweep.points[sweep.points["key"] == search.metric].sort_values("step")
    last = of_metric.drop_duplicates("run_id", keep="last").set_index("run_id")
    rows = []
    for trial in sweep.current.sort_values("arm").to_dict("records"):
        tags = trial["tags"]
        state = _state(trial["status"], tags)
        has_value = trial["run_id"] in last.index and state in ("finished", "pruned")
        keys = json.loads(tags.get("fcos.drawn", "{}"))
        rows.append(
            {
                "trial": trial["arm"],
                "state": state,
                "step": last["step"].get(trial["run_id"], float("nan")),
                "value": float(last["value"][trial["run_id"]]) if has_value else float("nan"),
                "failure": tags.get("fcos.failure", ""),
                **{key: keys.get(key, MISSING) for key in search.space},
            }
        )
    # As objects: a null that was drawn must not become NaN.
    frame = pd.DataFrame(rows, columns=["trial", "state", "step", "value", "failure", *search.space], dtype=object)
    frame = frame.astype({"step": float, "value": float})
    frame.insert(1, "number", range(len(frame)))
    # Of two pruned ones the one that came further is the better one.
    come = frame["step"].where(frame["state"] == "pruned", 0)
    order = frame.assign(
        _group=frame["state"].map({"finished": 0, "pruned": 1}).fillna(2),
        _come=-come.fillna(0),
        _value=frame["value"] * (-1 if search.mode == "max" else 1),
    )
    order = order.sort_values(["_group", "_come", "_value", "trial"], ignore_index=True)
    return order.drop(columns=["_group", "_come", "_value"])


def _state(status: str, tags: Mapping[str, str]) -> str:
    if status == "KILLED" and "fcos.pruned" in tags:
        return "pruned"
    return status.lower()


def best_of(frame: pd.DataFrame) -> Mapping[str, Any] | None:
    """The row of the best finished training, None where none has a value."""
    finished = frame[(frame["state"] == "finished") & frame["value"].notna()]
    return None if finished.empty else finished.iloc[0].to_dict()


def _only(sweep: Sweep, arm: str) -> Sweep:
    from dataclasses import replace

    return replace(sweep, trials=sweep.trials[sweep.trials["arm"] == arm])


def _table(frame: pd.DataFrame, search: Search) -> Table:
    metric = search.metric
    columns = [
        Column("trial", "trial", lambda row: str(row["trial"]), "left"),
        Column(metric_name(metric), "value", lambda row: number(row["value"], metric)),
        Column("step", "step", lambda row: MISSING if pd.isna(row["step"]) else f"{row['step']:.0f}"),
        Column("state", "state", _state_cell, "left"),
        *(Column(header, key, partial(_key_cell, key)) for key, header in _headers(search.space).items()),
    ]
    words = "highest" if search.mode == "max" else "lowest"
    return Table(f"{caption(metric)}, {words} first", frame, columns)


def _state_cell(row: Mapping[str, Any]) -> str:
    reason = str(row["failure"]).splitlines()
    return f"{row['state']}: {reason[0]}" if row["state"] == "failed" and reason else str(row["state"])


def _key_cell(key: str, row: Mapping[str, Any]) -> str:
    return text_of(row[key])


def text_of(value: Any) -> str:
    """A drawn value in a few characters; ranges by the ends between them."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and value and all(isinstance(item, list) and len(item) == 2 for item in value):
        return " | ".join(str(high) for _, high in value[:-1])
    return "null" if value is None else str(value)


def _headers(keys: Mapping[str, Any]) -> dict[str, str]:
    """Each key by its last word, where no other key has the same."""
    last = [key.split(".")[-1] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}


def _legend(search: Search, with_shares: bool) -> str:
    lines = ["One training for each point. Level ranges are given by the ends between the levels."]
    if search.strategy.get("early_stopping", "none") != "none":
        lines.append("Pruned: stopped early, with its value at that step, below all that were trained to the end.")
    if with_shares:
        lines.append(
            "Importance: PED-ANOVA (arXiv 2304.10255) over the finished trainings, of keys that all of them have."
        )
    return " ".join(lines)


def _cannot(frame: pd.DataFrame, search: Search) -> list[str]:
    lines = []
    count = int(frame["value"].notna().sum())
    if count:
        lines.append(
            f"The best of {count} was chosen by the very number it stands here with, in one seed: expect less of it in "
            "others. Only the comparison over seeds below tells."
        )
    drawn_so_far = len(frame)
    if drawn_so_far < search.trials and search.strategy.get("searcher") != "grid":
        lines.append(f"{drawn_so_far} of {search.trials} trainings have been drawn.")
    return lines


def _advice(sweep: Sweep, search: Search, best: Mapping[str, Any]) -> str:
    """The best settings as YAML, and the command that holds them against the base over other seeds."""
    keys = {key: best[key] for key in search.space if not (isinstance(best[key], str) and best[key] == MISSING)}
    what = f"{metric_name(search.metric)} {number(best['value'], search.metric)}"
    lines = [f"# best: {best['trial']}, {what} in one seed"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    lines += [f"# over {NUM_SEEDS} other seeds:", f"# {confirming_command(sweep, search, keys)}"]
    return "\n".join(lines) + "\n"


def confirming_command(sweep: Sweep, search: Search, keys: Mapping[str, Any]) -> str:
    """An ablation of the best settings against what the search started from, over seeds it did not see."""
    kept = [word for word in search.overrides if not _is_of_the_search(word)]
    first = max(sweep.experiment.seeds, default=0) + 1
    seeds = ",".join(str(seed) for seed in range(first, first + NUM_SEEDS))
    arm = ", ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())
    words = [
        *kept,
        "experiment.search=null",
        f"name={sweep.name[:54]}_confirmed",
        "experiment.baseline=base",
        f"experiment.arms={{base: {{}}, best: {{{arm}}}}}",
        f"experiment.seeds=[{seeds}]",
    ]
    return " ".join([command("sweep"), *(shlex.quote(word) for word in words)])


def _is_of_the_search(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in OF_THE_SEARCH)


def _shares_table(shares: pd.DataFrame, search: Search) -> Table:
    columns = [
        Column("key", "key", lambda row: str(row["key"]), "left"),
        Column("importance", "importance", lambda row: f"{100 * row['importance']:.0f} %"),
    ]
    return Table(f"What moves {metric_name(search.metric)}", shares, columns)


def _figures(frame: pd.DataFrame, search: Search) -> Sequence[Figure]:
    valued = frame[frame["value"].notna()].sort_values("number")
    if valued.empty:
        return []
    name = metric_name(search.metric)
    return [
        drawn(
            f"{name}, training by training",
            "Filled: trained to the end. Hollow: pruned. The line is the best of those trained to the end so far.",
            lambda theme: search_plots.history(valued, search.metric, search.mode, theme),
        ),
        drawn(
            f"{name} over each key",
            "Filled: trained to the end. Hollow: pruned.",
            lambda theme: search_plots.over_keys(valued, search, _headers(search.space), theme),
        ),
    ]
