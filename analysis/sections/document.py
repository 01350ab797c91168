"""The report of a sweep as a document; the templates lay it out."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_count, join_words
from analysis.papers.rows import PaperRow, group_rows_by_source
from analysis.reader.client import describe_store
from analysis.reader.sweep import Experiment, Sweep, Trial
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.sections.ablation import build_ablation_content
from analysis.sections.content import ReportContent
from analysis.sections.coverage import build_coverage_content, is_coverage
from analysis.sections.factorial.content import build_factorial_content
from analysis.sections.noise_floor import build_noise_content
from analysis.sections.provenance import (
    MissingResult,
    PackageVersions,
    ProvenanceRow,
    collect_provenance,
    collect_versions,
    list_missing_results,
)
from analysis.sections.resampling import Resampling
from analysis.sections.search.content import build_search_content
from analysis.sections.validation_noise import measure_validation_noise
from analysis.stats.paired import collect_final_values
from fcos.storage.store_conventions import BASE_ARM, RunStatus


@dataclass(frozen=True)
class Document:
    """A sweep, the content of its report, and where its numbers come from.

    final_values: see analysis.stats.paired.collect_final_values.
    """

    sweep: Sweep
    store: str
    state: str
    content: ReportContent
    final_values: pd.DataFrame
    missing: tuple[MissingResult, ...]
    provenance: tuple[ProvenanceRow, ...]
    versions: tuple[PackageVersions, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]


def build_document(sweep: Sweep, evaluations: SweepEvaluations, resampling: Resampling) -> Document:
    """Build the report of a sweep; reads the store for artifacts alone. resampling: of the validation images."""
    experiment, trials = sweep.experiment, sweep.current
    arms = list(dict.fromkeys([*experiment.arms, *(trial.arm for trial in trials)]))
    rows, row_notes = group_rows_by_source(experiment.paper)
    notes = [*sweep.notes, *_collect_training_notes(trials), *row_notes]
    metrics = experiment.metrics if experiment.search is None else [experiment.search.metric]
    values = collect_final_values(trials, sweep.points, metrics, arms, sweep.seeds)
    if experiment.search is not None:
        values = _drop_unplanned(values, experiment)
    baseline = experiment.baseline if experiment.baseline in arms else None
    if experiment.baseline is not None and baseline is None:
        notes.append(f"The baseline {experiment.baseline} is no arm of this sweep: nothing is compared.")
    if experiment.search is not None:
        content = build_search_content(sweep, experiment.search)
    elif experiment.is_noise_floor and baseline is not None:
        measured = measure_validation_noise(sweep, evaluations, baseline, resampling)
        notes += measured.notes
        content = build_noise_content(sweep, values, baseline, measured.noise)
    elif experiment.design is not None:
        content = build_factorial_content(sweep, evaluations, values, resampling)
    elif is_coverage(sweep):
        content = build_coverage_content(sweep, values, baseline, rows)
    else:
        content = build_ablation_content(sweep, evaluations, values, baseline, rows, resampling)
    return Document(
        sweep=sweep,
        store=describe_store(sweep.uri),
        state=_describe_state(sweep, values),
        content=content,
        final_values=values,
        missing=tuple(_list_missing(values, content, searched=experiment.search is not None)),
        provenance=collect_provenance(sweep),
        versions=collect_versions(sweep),
        rows=tuple({row.id: row for of_arm in rows.values() for row in of_arm.values()}.values()),
        notes=(*notes, *content.notes),
    )


def _collect_training_notes(trials: Sequence[Trial]) -> list[str]:
    """Return what trainings noted on their data and course, each note once with the trials that have it."""
    labels: dict[str, list[str]] = {}
    for trial in trials:
        for note in dict.fromkeys(trial.notes):
            labels.setdefault(note, []).append(trial.label)
    return [
        f"{'All trainings' if len(of_note) == len(trials) > 1 else join_words(of_note)}: {note}."
        for note, of_note in labels.items()
    ]


def _drop_unplanned(values: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Drop seeds that a search has not given to a point: none was planned, but for the one of a search without race."""
    is_planned = (len(experiment.seeds) == 1) & values["seed"].isin(experiment.seeds) & values["arm"].ne(BASE_ARM)
    return values[(values["status"] != "MISSING") | is_planned].reset_index(drop=True)


def _list_missing(values: pd.DataFrame, content: ReportContent, *, searched: bool) -> list[MissingResult]:
    """List trials without a result; one that a search stopped early has a value, at the step it reached."""
    missing = list_missing_results(values)
    if not searched:
        return missing
    with_value = set(content.values.loc[content.values["value"].notna(), "trial"])
    return [item for item in missing if not (item.arm in with_value and item.reason.startswith("pruned at step"))]


def _describe_state(sweep: Sweep, values: pd.DataFrame) -> str:
    """Return the state of a sweep and of its trials in words."""
    states = values.drop_duplicates(["arm", "seed"])["status"].value_counts()
    parts = [f"{count} {str(state).lower()}" for state, count in states.items()]
    running = sweep.status == RunStatus.RUNNING or RunStatus.RUNNING in states
    head = "still running, these are its numbers so far" if running else sweep.status.lower()
    return f"{head}; {format_count(int(states.sum()), 'trial')}" + (f": {join_words(parts)}" if parts else "")
