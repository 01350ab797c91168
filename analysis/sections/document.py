"""Everything that a report says, gathered from a sweep; how it looks is the templates' affair."""

from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_count, join_words
from analysis.papers.rows import PaperRow, rows_by_source
from analysis.reader.sweep import Sweep
from analysis.sections.ablation import training_findings
from analysis.sections.coverage import coverage_findings, is_coverage
from analysis.sections.findings import Findings
from analysis.sections.provenance import provenance, unfinished, versions
from analysis.sections.search import search_findings
from analysis.stats import paired
from orchestration.store_conventions import public_uri


@dataclass(frozen=True)
class Document:
    """A sweep, what it shows, and where its numbers come from."""

    sweep: Sweep
    store: str
    state: str
    findings: Findings
    unfinished: pd.DataFrame
    provenance: pd.DataFrame
    versions: tuple[tuple[str, dict[str, str]], ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]


def build(sweep: Sweep) -> Document:
    """Read, compare and judge; touches the store only for files of runs."""
    experiment, trials = sweep.experiment, sweep.current
    arms = list(dict.fromkeys([*experiment.arms, *trials["arm"]]))
    seeds = experiment.seeds or sorted(set(trials["seed"]))
    rows, row_notes = rows_by_source(experiment.paper)
    notes = [*sweep.notes, *_remarks(trials), *row_notes]
    metrics = experiment.metrics if experiment.search is None else [experiment.search.metric]
    values = paired.final_values(trials, sweep.points, metrics, arms, seeds)
    baseline = experiment.baseline if experiment.baseline in arms else None
    if experiment.baseline is not None and baseline is None:
        notes.append(f"The baseline {experiment.baseline} is no arm of this sweep: nothing is compared.")
    if experiment.search is not None:
        findings = search_findings(sweep, experiment.search)
    else:
        findings = (coverage_findings if is_coverage(sweep) else training_findings)(sweep, values, baseline, rows)
    return Document(
        sweep=sweep,
        store=public_uri(sweep.uri),
        state=_state(sweep, values),
        findings=findings,
        unfinished=_unfinished(values, findings),
        provenance=provenance(sweep),
        versions=tuple(versions(sweep)),
        rows=tuple({item.id: item for of_arm in rows.values() for item in of_arm.values()}.values()),
        notes=(*notes, *findings.notes),
    )


def _remarks(trials: pd.DataFrame) -> list[str]:
    """What trainings remark of their data and their course, each remark once with whoever makes it."""
    names: dict[str, list[str]] = {}
    for arm, seed, tags in zip(trials["arm"], trials["seed"], trials["tags"], strict=True):
        for remark in dict.fromkeys(tags.get("fcos.notes", "").splitlines()):
            names.setdefault(remark, []).append(f"{arm} seed {seed}")
    return [
        f"{'All trainings' if len(who) == len(trials) > 1 else join_words(who)}: {remark}."
        for remark, who in names.items()
    ]


def _unfinished(values: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Trials without a number; what a search stopped early has one, at the step that it came to."""
    frame = unfinished(values)
    if findings.compares:
        return frame
    with_value = findings.values.loc[findings.values["value"].notna(), "trial"]
    return frame[~frame["arm"].isin(list(with_value))]


def _state(sweep: Sweep, values: pd.DataFrame) -> str:
    states = values.drop_duplicates(["arm", "seed"])["status"].value_counts()
    parts = [f"{count} {str(state).lower()}" for state, count in states.items()]
    running = sweep.status == "RUNNING" or "RUNNING" in states
    head = "still running, these are its numbers so far" if running else sweep.status.lower()
    return f"{head}; {format_count(int(states.sum()), 'trial')}" + (f": {join_words(parts)}" if parts else "")
