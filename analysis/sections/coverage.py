"""What a sweep without training says: figures without chance, so each stands on its own digits, not on seeds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.formatting import format_count
from analysis.papers.recipe import coverage_departure
from analysis.papers.rows import PaperRow
from analysis.reader.client import read_artifact
from analysis.reader.sweep import Sweep
from analysis.render.coverage_plots import box_sizes, positives_per_level
from analysis.sections.coverage_table import OBJECTIVE, coverage_table, coverage_values
from analysis.sections.findings import Figure, Findings, drawn
from analysis.sections.gallery import picture_uri
from analysis.sections.provenance import differences_in_provenance, shared_trainings

PREFIX = "coverage/"
TABLE, MAPS = "coverage/coverage.json", "coverage/center_sampling.png"
MOST_ARMS = 6
MOST_MAPS = 2
MAP_SIDE = 2200
NO_CHANCE = (
    "Nothing is trained and nothing drawn by chance: the same annotations give the same figures, so an arm has one "
    "figure, without spread."
)
NO_AP = "Coverage bounds what a training can learn to find; how well it learns that is not measured here."


def is_coverage(sweep: Sweep) -> bool:
    """Whether a sweep measures coverage and trains nothing."""
    return all(metric.startswith(PREFIX) for metric in sweep.experiment.metrics)


def coverage_findings(
    sweep: Sweep, values: pd.DataFrame, baseline: str | None, rows: Mapping[str, Mapping[str, PaperRow]]
) -> Findings:
    """One table of all arms and what can be drawn of them; reads their counts and maps from the store.

    values: see comparison.final_values.
    """
    metrics = sweep.experiment.metrics
    finished = sweep.current[sweep.current["status"] == "FINISHED"]
    counted = _counted(sweep, dict.fromkeys(values["arm"]))
    departures = {
        arm: coverage_departure(params) for arm, params in zip(finished["arm"], finished["params"], strict=True)
    }
    frame = coverage_values(values, metrics, baseline, rows, departures, counted)
    fcos = {arm: table for arm, table in counted.items() if table["coverage"]["assignment"] == "fcos"}
    order = ranked(fcos, baseline, metrics[0] == OBJECTIVE)
    maps, notes = _maps(sweep, fcos, order)
    return Findings(
        trains=False,
        values=frame,
        tables=(coverage_table(frame, metrics),),
        legend=_legend(frame, metrics, counted, departures),
        shows=(NO_CHANCE, *shared_trainings(sweep)),
        cannot=(NO_AP, *differences_in_provenance(finished)),
        figures=(*_figures(fcos, order), *maps),
        notes=tuple(notes),
        advice=advice(counted, baseline) if metrics[0] == OBJECTIVE else None,
    )


def _counted(sweep: Sweep, arms: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The counts that each finished arm left in the store, in order of the arms."""
    runs = _runs(sweep)
    contents = {arm: read_artifact(sweep.uri, runs[arm], TABLE) for arm in arms if arm in runs}
    return {arm: json.loads(content) for arm, content in contents.items() if content is not None}


def _runs(sweep: Sweep) -> dict[str, str]:
    finished = sweep.current[sweep.current["status"] == "FINISHED"].drop_duplicates("arm")
    return dict(zip(finished["arm"], finished["run_id"], strict=True))


def _legend(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    counted: Mapping[str, Mapping[str, Any]],
    departures: Mapping[str, str | None],
) -> str:
    lines = []
    if metrics[0] == OBJECTIVE and counted:
        weights = next(iter(counted.values()))["coverage"]
        ambiguity, evenness = (f"{weights[key]:g}" for key in ("ambiguity_weight", "evenness_weight"))
        lines.append(
            f"Objective: bpr − {ambiguity} × ambiguous + {evenness} × evenness, highest first. "
            "Range ends are pixels of the network's input."
        )
    compared = [departures[arm] for arm in frame.loc[frame["papers"] != "", "arm"] if arm in departures]
    if compared:
        lines.append("Paper: what it prints for the same row.")
    if None in compared:
        lines.append("Reproduced: all printed digits agree; else the difference of the digits.")
    if any(compared):
        lines.append(
            "The papers count COCO val2017 at 800 pixels: beside others their figures only say where COCO lies."
        )
    return " ".join(lines)


def advice(counted: Mapping[str, Mapping[str, Any]], baseline: str | None) -> str | None:
    """The settings with the highest objective, and how far they are above the baseline's; None without any."""
    scores = {arm: table["metrics"][OBJECTIVE] for arm, table in counted.items() if OBJECTIVE in table["metrics"]}
    if not scores:
        return None
    best = max(scores, key=lambda arm: scores[arm])
    lines = [f"# best: {best}, objective {100 * scores[best]:.2f}"]
    if baseline in scores and baseline != best:
        lines[0] += f", {100 * (scores[best] - scores[baseline]):+.2f} over {baseline} ({100 * scores[baseline]:.2f})"
    for key in ("bpr", "ambiguous", "evenness"):
        ours = counted[best]["metrics"][PREFIX + key]
        theirs = f", {baseline} {100 * counted[baseline]['metrics'][PREFIX + key]:.2f}" if baseline in scores else ""
        lines.append(f"# {key} {100 * ours:.2f}{theirs}")
    return "\n".join(lines) + "\n" + str(counted[best]["config_block"])


def ranked(counted: Mapping[str, Mapping[str, Any]], baseline: str | None, by_objective: bool) -> list[str]:
    """The arms as figures show them: the baseline, then the highest objective first or in the plan's order."""
    arms = sorted(counted, key=lambda arm: -counted[arm]["metrics"][OBJECTIVE]) if by_objective else list(counted)
    return sorted(arms, key=lambda arm: arm != baseline)


def alike(counted: Mapping[str, Mapping[str, Any]], arms: Iterable[str]) -> dict[str, list[str]]:
    """The first arm of each set of levels and ranges -> the other arms that have the same."""
    first: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for arm in arms:
        key = json.dumps([counted[arm]["levels"], counted[arm]["assignment"]["ranges"]])
        if first.setdefault(key, arm) == arm:
            groups[arm] = []
        else:
            groups[first[key]].append(arm)
    return groups


def _label(arm: str, others: Sequence[str]) -> str:
    return f"{arm} (and {format_count(len(others), 'other')})" if others else arm


def _figures(counted: Mapping[str, Mapping[str, Any]], order: Sequence[str]) -> list[Figure]:
    groups = dict(list(alike(counted, order).items())[:MOST_ARMS])
    ranges = {_label(arm, others): counted[arm] for arm, others in groups.items()}
    spread = {arm: counted[arm] for arm in order if len(counted[arm]["levels"]) > 1}
    spread = dict(list(spread.items())[:MOST_ARMS])
    figures = []
    if ranges:
        caption = "A box is for the levels whose range meets the span from half its longest side to the whole of it."
        if any(groups.values()):
            caption += " Arms of the same levels and ranges are shown once."
        figures.append(drawn("Box sizes over the level ranges", caption, lambda theme: box_sizes(ranges, theme)))
    if spread:
        figures.append(
            drawn(
                "Positives per level",
                "Shares of all positives of an arm.",
                lambda theme: positives_per_level(spread, theme),
            )
        )
    return figures


def _maps(
    sweep: Sweep, counted: Mapping[str, Mapping[str, Any]], order: Sequence[str]
) -> tuple[list[Figure], list[str]]:
    runs, figures, notes = _runs(sweep), [], []
    # Other assignments than FCOS's own have no map with and without center sampling.
    mapped = {arm: table for arm, table in counted.items() if table["assignment"].get("kind", "fcos") == "fcos"}
    for arm, others in list(alike(mapped, [arm for arm in order if arm in mapped]).items())[:MOST_MAPS]:
        content = read_artifact(sweep.uri, runs[arm], MAPS)
        uri = None if content is None else picture_uri(content, MAP_SIDE)
        if uri is None:
            notes.append(f"The assignment map of {arm} cannot be read from the store.")
            continue
        figures.append(
            Figure(
                f"One image, and which box each location answers for: {_label(arm, others)}",
                uri,
                uri,
                "The same image without and with center sampling, level by level; the larger a dot, the higher its "
                "center-ness. Boxes that have no location on a level are thin there.",
                wide=True,
            )
        )
    return figures, notes
