"""Sweeps and their trials, read from the runs of an MLflow store."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import ValidationError

from analysis.formatting import format_count, join_words
from analysis.reader.client import (
    StoreError,
    connect,
    extract_reason,
    find_experiment_ids,
    find_moved_artifacts,
    parse_artifact_folder,
    raise_store_errors,
    read_artifact,
    search_runs,
    suggest_names,
)
from analysis.reader.looks import read_looks
from analysis.reader.metric_history import read_histories
from analysis.reader.repeats import read_repeat_notes
from analysis.reader.sweep import COVERAGE_METRICS, DEFAULT_METRICS, TRAIN_LOSS, Experiment, Sweep, Trial
from analysis.reader.trials import note_unreadable, read_trials, to_datetime
from fcos.storage.store_conventions import Artifact, RunKind, Tag, join_experiment_tags, public_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

    from analysis.reader.run_store import RunStore

POINT_COLUMNS = ["run_id", "key", "step", "value"]


@dataclass(frozen=True)
class SweepEntry:
    """A sweep, or a single run, among those of a store."""

    name: str
    run_id: str
    kind: str
    status: str
    started: datetime


def list_sweeps(client: "RunStore", mlflow_experiment: str | None = None) -> list[SweepEntry]:
    """Return every sweep and single run that is not superseded, newest first.

    Raises StoreError where an MLflow experiment of the given name does not exist.
    """
    ids = find_experiment_ids(client, mlflow_experiment)
    # Two searches by kind: the trials of large sweeps are many.
    runs = [
        run
        for kind in (RunKind.SWEEP, RunKind.RUN)
        for run in search_runs(client, ids, {Tag.KIND: kind})
        if Tag.SUPERSEDED not in run.data.tags
    ]
    entries = [
        SweepEntry(
            name=run.data.tags.get(Tag.SWEEP) or run.info.run_name or run.info.run_id,
            run_id=run.info.run_id,
            kind=_kind(run),
            status=run.info.status,
            started=to_datetime(run.info.start_time),
        )
        for run in runs
    ]
    return sorted(entries, key=lambda entry: (entry.started, entry.run_id), reverse=True)


def read_sweep(uri: str, name: str | None = None, mlflow_experiment: str | None = None) -> Sweep:
    """Read a sweep by name or run id, by default the newest; of several with one name the newest.

    A single run is read as a sweep of one trial. Raises StoreError where there is none.
    """
    client = connect(uri)
    with raise_store_errors(uri):
        return _read_sweep(client, uri, name, mlflow_experiment)


def _read_sweep(client: "RunStore", uri: str, name: str | None, mlflow_experiment: str | None) -> Sweep:
    entries = list_sweeps(client, mlflow_experiment)
    entry = choose_entry(entries, name, uri)
    parent = client.get_run(entry.run_id)
    is_single = entry.kind == RunKind.RUN
    children = [parent] if is_single else search_children(client, parent)
    trials = read_trials(children)
    experiment, notes = read_experiment(uri, parent, entry.name, trials)
    notes += [*_artifact_notes(uri, [parent, *children]), *note_unreadable(children)]
    namesakes = sum(other.name == entry.name for other in entries)
    if not is_single and namesakes > 1 and name != entry.run_id:
        notes.append(f"{namesakes} sweeps in the store are named {entry.name}; this is the newest ({entry.run_id}).")
    notes += read_repeat_notes(client, trials, experiment.metrics[0])
    search = experiment.search
    searched = [] if search is None else [search.metric, *search.objectives]
    points = _read_points(client, trials, [TRAIN_LOSS, *experiment.metrics, *searched])
    sweep = _make_sweep(entry, uri, experiment, trials, points, parent.data.tags, notes)
    return replace(sweep, winner=parent.data.tags.get(Tag.WINNER) or None)


def read_sweeps_with_paper_rows(uri: str, mlflow_experiment: str | None = None) -> tuple[list[Sweep], list[str]]:
    """Read every sweep that names rows of papers, newest first, without points; also returns notes.

    Sweeps that were imported are other laboratories' answers, and left out.
    """
    client = connect(uri)
    sweeps, unreadable, imported = [], [], []
    notes: list[str] = []
    with raise_store_errors(uri):
        for entry in list_sweeps(client, mlflow_experiment):
            if entry.kind != RunKind.SWEEP:
                continue
            parent = client.get_run(entry.run_id)
            try:
                experiment, problems = read_experiment(uri, parent, entry.name, ())
            except StoreError:
                # What one sweep lacks, such as an imported one, costs no other.
                unreadable.append(entry.name)
                continue
            if problems:
                unreadable.append(entry.name)
            if experiment.paper and Tag.ARCHIVE in parent.data.tags:
                imported.append(entry.name)
            elif experiment.paper:
                children = search_children(client, parent)
                notes += note_unreadable(children)
                no_points = pd.DataFrame(columns=POINT_COLUMNS)
                trials = read_trials(children)
                sweeps.append(_make_sweep(entry, uri, experiment, trials, no_points, parent.data.tags, ()))
    if unreadable:
        names = join_words(unreadable)
        notes.append(f"{Artifact.EXPERIMENT} of {names} cannot be fetched or read: rows that it names are missing.")
    if imported:
        count = format_count(len(imported), "sweep")
        notes.append(f"{count} imported from other laboratories left out: {join_words(imported)}.")
    return sweeps, notes


def _make_sweep(
    entry: SweepEntry,
    uri: str,
    experiment: Experiment,
    trials: tuple[Trial, ...],
    points: pd.DataFrame,
    tags: Mapping[str, str],
    notes: Iterable[str],
) -> Sweep:
    """Return a sweep. tags: of its own run, which hold its looks."""
    sweep = Sweep(
        name=entry.name,
        run_id=entry.run_id,
        kind=entry.kind,
        status=entry.status,
        started=entry.started,
        uri=uri,
        experiment=experiment,
        trials=trials,
        points=points,
        notes=tuple(notes),
    )
    first = len(experiment.seeds) if experiment.until == "decided" else None
    looks, look_notes = read_looks(tags, first, len(sweep.seeds))
    return replace(sweep, looks=looks, notes=(*sweep.notes, *look_notes))


def search_children(client: "RunStore", parent: "Run") -> "list[Run]":
    """Return the runs of the trials below the run of a sweep."""
    runs = search_runs(client, [parent.info.experiment_id], {Tag.PARENT_RUN: parent.info.run_id})
    return [run for run in runs if _kind(run) == RunKind.TRIAL]


def _kind(run: "Run") -> str:
    return run.data.tags.get(Tag.KIND, "")


def choose_entry(entries: Sequence[SweepEntry], name: str | None, uri: str) -> SweepEntry:
    """Return the newest sweep of a name or run id, or the newest of all; raises StoreError where there is none."""
    if not entries:
        raise StoreError(f"no sweep in the tracking store {public_uri(uri)}; run one first")
    if name is None:
        return entries[0]
    matching = [entry for entry in entries if name in (entry.run_id, entry.name)]
    if not matching:
        known = suggest_names(name, [entry.name for entry in entries])
        raise StoreError(f"no sweep {name!r} in the tracking store {public_uri(uri)}; there: {known}")
    return matching[0]


def read_experiment(uri: str, parent: "Run", name: str, trials: Sequence[Trial]) -> tuple[Experiment, list[str]]:
    """Return what a sweep set out to compare, and notes; inferred from its trials where it is not recorded."""
    content = join_experiment_tags(parent.data.tags)
    if content is None:
        # Sweeps of older versions have the artifact alone.
        content = read_artifact(uri, parent.info.run_id, Artifact.EXPERIMENT)
    if content is not None:
        try:
            return Experiment.model_validate_json(content), []
        except ValidationError as error:
            reason = extract_reason(error)
            raise StoreError(f"{Artifact.EXPERIMENT} of run {parent.info.run_id}: {reason}") from error
    notes = []
    if _kind(parent) == RunKind.SWEEP:
        notes.append(
            f"{Artifact.EXPERIMENT} of this sweep cannot be fetched: its baseline and planned seeds are unknown."
        )
    is_coverage = len(trials) > 0 and all(trial.params.get("task") == "coverage" for trial in trials)
    experiment = Experiment(
        name=name,
        arms={trial.arm: {} for trial in trials},
        seeds=sorted({trial.seed for trial in trials}),
        metrics=list(COVERAGE_METRICS if is_coverage else DEFAULT_METRICS),
    )
    return experiment, notes


def _artifact_notes(uri: str, runs: "list[Run]") -> list[str]:
    """Return notes on runs whose artifacts were not stored, or are in a folder that does not exist."""
    notes = []
    incomplete = [run for run in runs if Tag.ARTIFACTS_MISSING in run.data.tags]
    if incomplete:
        notes.append(
            f"The store did not accept all artifacts of {format_count(len(incomplete), 'run')} (pictures, configs, "
            "versions); the sweep's command delivers them as soon as it does."
        )
    lost = {
        folder.parent.parent
        for run in runs
        if (folder := parse_artifact_folder(str(run.info.artifact_uri))) is not None
        and not folder.parent.parent.exists()
        and find_moved_artifacts(uri, run.info.run_id, folder) is None
    }
    notes += [
        f"The artifacts of this sweep (pictures, configs, versions) are recorded in {folder}, which does not exist, "
        "and they are not in mlartifacts beside the store either."
        for folder in sorted(lost)
    ]
    return notes


def _read_points(client: "RunStore", trials: Sequence[Trial], metrics: Iterable[str]) -> pd.DataFrame:
    """Return the history of some metrics of all trials; see Sweep.points."""
    rows = []
    for metric in dict.fromkeys(metrics):
        run_ids = [trial.run_id for trial in trials if metric in trial.metrics]
        rows += [
            (point.run_id, metric, point.step, point.timestamp, _restore_infinity(point.value))
            for point in read_histories(client, run_ids, metric)
        ]
    frame = pd.DataFrame(rows, columns=["run_id", "key", "step", "timestamp", "value"])
    # As fcos.published.records.order_point: what is no number counts as the least.
    frame = frame.sort_values(["run_id", "key", "step", "timestamp", "value"], na_position="first")
    return frame.drop_duplicates(["run_id", "key", "step"], keep="last", ignore_index=True)[POINT_COLUMNS]


def _restore_infinity(value: float) -> float:
    # MLflow's SQL store writes infinities as the largest float.
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
