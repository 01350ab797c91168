"""The only reader of the tracking store's tags: one sweep as frames of trials and points."""

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from analysis.formatting import format_count, join_words
from analysis.reader.client import (
    StoreError,
    connect,
    experiment_ids,
    first_line,
    moved_artifacts,
    near,
    read_artifact,
    reading,
    recorded_folder,
    search_runs,
)
from analysis.reader.metric_history import histories
from analysis.reader.sweep import COVERAGE_METRICS, DEFAULT_METRICS, Experiment, Sweep
from orchestration.store_conventions import Tag, public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRIAL_COLUMNS = [
    "arm",
    "seed",
    "status",
    "run_id",
    "started",
    "ended",
    "tags",
    "params",
    "metrics",
    "superseded",
]
POINT_COLUMNS = ["run_id", "key", "step", "value"]


def list_sweeps(client: "MlflowClient", experiment: str | None = None) -> pd.DataFrame:
    """Every sweep and single run of the store that none superseded, newest first: name, run_id, kind, status, started.

    Raises StoreError where an MLflow experiment of the given name does not exist.
    """
    ids = experiment_ids(client, experiment)
    # Two questions, because the children of large sweeps are many.
    runs = [run for kind in ("sweep", "run") for run in search_runs(client, ids, f"tags.`fcos.kind` = '{kind}'")]
    runs = [run for run in runs if Tag.SUPERSEDED not in run.data.tags]
    rows = [
        {
            "name": run.data.tags.get("fcos.sweep") or run.info.run_name or run.info.run_id,
            "run_id": run.info.run_id,
            "kind": _kind(run),
            "status": run.info.status,
            "started": _time(run.info.start_time),
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=["name", "run_id", "kind", "status", "started"])
    return frame.sort_values(["started", "run_id"], ascending=False, ignore_index=True)


def read_sweep(uri: str, name: str | None = None, experiment: str | None = None) -> Sweep:
    """A sweep by name or run id, or the newest one; of several with one name the newest.

    A single run (tag fcos.kind=run) is read as a sweep of one trial. Raises StoreError where there is none.
    """
    client = connect(uri)
    with reading(uri):
        return _read_sweep(client, uri, name, experiment)


def _read_sweep(client: "MlflowClient", uri: str, name: str | None, experiment: str | None) -> Sweep:
    sweeps = list_sweeps(client, experiment)
    run_id = _choose(sweeps, name, uri)
    parent = client.get_run(run_id)
    notes: list[str] = []
    children = [parent] if _kind(parent) == "run" else _children(client, parent)
    trials = _trials(children)
    chosen = sweeps.loc[sweeps["run_id"] == run_id].iloc[0]
    declared = _read_experiment(uri, parent, str(chosen["name"]), trials, notes)
    notes += _absent_artifacts(uri, [parent, *children])
    searched = [declared.search.metric] if declared.search is not None else []
    if _kind(parent) == "sweep" and (same := int((sweeps["name"] == chosen["name"]).sum())) > 1 and name != run_id:
        notes.append(f"{same} sweeps in the store are named {chosen['name']}; this is the newest ({run_id}).")
    return Sweep(
        name=str(chosen["name"]),
        run_id=run_id,
        kind=str(chosen["kind"]),
        status=str(chosen["status"]),
        started=chosen["started"],
        uri=uri,
        experiment=declared,
        trials=trials,
        points=_points(client, trials, ["train/loss", *declared.metrics, *searched]),
        notes=tuple(notes),
    )


def read_sweeps_beside_papers(uri: str, experiment: str | None = None) -> tuple[list[Sweep], list[str]]:
    """Every sweep that names rows of the papers, newest first, without the points of its curves; and notes."""
    client = connect(uri)
    found, unknown = [], []
    with reading(uri):
        sweeps = list_sweeps(client, experiment)
        for run_id, name in sweeps.loc[sweeps["kind"] == "sweep", ["run_id", "name"]].itertuples(index=False):
            parent = client.get_run(run_id)
            missing: list[str] = []
            declared = _read_experiment(uri, parent, str(name), _trials([]), missing)
            unknown += [str(name)] if missing else []
            if declared.paper:
                trials, started = _trials(_children(client, parent)), _time(parent.info.start_time)
                nothing = pd.DataFrame(columns=POINT_COLUMNS)
                status = parent.info.status
                found.append(Sweep(str(name), run_id, "sweep", status, started, uri, declared, trials, nothing))
    if not unknown:
        return found, []
    return found, [f"experiment.json of {join_words(unknown)} cannot be fetched: rows that it names are missing."]


def _children(client: "MlflowClient", parent: "Run") -> "list[Run]":
    parent_filter = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return [run for run in search_runs(client, [parent.info.experiment_id], parent_filter) if _kind(run) == "trial"]


def _kind(run: "Run") -> str:
    return run.data.tags.get("fcos.kind", "")


def _time(milliseconds: int | None) -> pd.Timestamp:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC") if milliseconds is not None else pd.NaT


def _choose(sweeps: pd.DataFrame, name: str | None, uri: str) -> str:
    if sweeps.empty:
        raise StoreError(f"no sweep in the tracking store {public_uri(uri)}; run one first")
    if name is None:
        return str(sweeps["run_id"].iloc[0])
    hits = sweeps[(sweeps["run_id"] == name) | (sweeps["name"] == name)]
    if hits.empty:
        known = near(name, list(sweeps["name"]))
        raise StoreError(f"no sweep {name!r} in the tracking store {public_uri(uri)}; there: {known}")
    return str(hits["run_id"].iloc[0])


def _read_experiment(uri: str, parent: "Run", name: str, trials: pd.DataFrame, notes: list[str]) -> Experiment:
    content = _from_tags(parent.data.tags)
    if content is None:
        # Of a sweep that was run before there were such tags.
        content = read_artifact(uri, parent.info.run_id, "experiment.json")
    if content is not None:
        try:
            return Experiment.model_validate_json(content)
        except ValidationError as error:
            raise StoreError(f"experiment.json of run {parent.info.run_id}: {first_line(error)}") from error
    arms = list(dict.fromkeys(trials["arm"]))
    if _kind(parent) == "sweep":
        notes.append("experiment.json of this sweep cannot be fetched: its baseline and planned seeds are unknown.")
    counts = len(trials) > 0 and all(params.get("task") == "coverage" for params in trials["params"])
    metrics = list(COVERAGE_METRICS if counts else DEFAULT_METRICS)
    return Experiment(name=name, arms={arm: {} for arm in arms}, seeds=sorted(set(trials["seed"])), metrics=metrics)


def _from_tags(tags: Mapping[str, str]) -> bytes | None:
    """What a sweep set out to compare, from the tags that hold it in parts; None where one is missing."""
    count = tags.get(Tag.EXPERIMENT_JSON, "")
    parts = [tags.get(f"{Tag.EXPERIMENT_JSON}.{number}") for number in range(int(count) if count.isdecimal() else 0)]
    whole = [part for part in parts if part is not None]
    return "".join(whole).encode() if parts and len(whole) == len(parts) else None


def _absent_artifacts(uri: str, runs: "list[Run]") -> list[str]:
    """A note on runs whose artifacts were not stored, or lie in a folder that is not there."""
    notes = []
    missing = [run for run in runs if Tag.ARTIFACTS_MISSING in run.data.tags]
    if missing:
        notes.append(
            f"The store could not take all artifacts of {format_count(len(missing), 'run')} (pictures, configs, "
            "versions); the sweep's command delivers them when it can."
        )
    gone = {
        folder.parent.parent
        for run in runs
        if (folder := recorded_folder(run)) is not None
        and not folder.parent.parent.exists()
        and moved_artifacts(uri, run) is None
    }
    notes += [
        f"The artifacts of this sweep (pictures, configs, versions) are recorded in {folder}, which is not there, and "
        "they are not beside the store in mlartifacts."
        for folder in sorted(gone)
    ]
    return notes


def _trials(runs: "list[Run]") -> pd.DataFrame:
    rows = [
        {
            "arm": run.data.tags.get("fcos.arm") or run.info.run_name or run.info.run_id,
            "seed": _seed(run),
            "status": run.info.status,
            "run_id": run.info.run_id,
            "started": _time(run.info.start_time),
            "ended": _time(run.info.end_time),
            "tags": dict(run.data.tags),
            "params": {key: _plain(value) for key, value in run.data.params.items()},
            "metrics": dict(run.data.metrics),
            "finished": run.info.status == "FINISHED",
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=[*TRIAL_COLUMNS[:-1], "finished"])
    frame = frame.sort_values(["finished", "started", "run_id"], ascending=False)
    # A run whose training was replaced or done anew counts for nothing, however it ended.
    replaced = frame["tags"].map(lambda tags: Tag.SUPERSEDED in tags).astype(bool)
    frame = pd.concat([frame[~replaced], frame[replaced]])
    frame["superseded"] = frame.duplicated(["arm", "seed"], keep="first") | replaced
    return frame.sort_values(["arm", "seed", "superseded", "started"], ignore_index=True)[TRIAL_COLUMNS]


def _seed(run: "Run") -> int:
    value = run.data.tags.get("fcos.seed", run.data.params.get("seed", "0"))
    try:
        return int(value)
    except ValueError:
        raise StoreError(f"run {run.info.run_id}: its seed is {value!r}, no whole number") from None


def _plain(value: str) -> Any:
    """A param as the value it was logged from; text that is no JSON stays text."""
    if value == "None":
        return None
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except ValueError:
        return value


def _points(client: "MlflowClient", trials: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = []
    for key in dict.fromkeys(keys):
        logged = [run_id for run_id, metrics in zip(trials["run_id"], trials["metrics"], strict=True) if key in metrics]
        rows += [
            (point.run_id, key, point.step, point.written, _number(point.value))
            for point in histories(client, logged, key)
        ]
    frame = pd.DataFrame(rows, columns=["run_id", "key", "step", "written", "value"])
    frame = frame.sort_values(["run_id", "key", "step", "written", "value"])
    return frame.drop_duplicates(["run_id", "key", "step"], keep="last", ignore_index=True)[POINT_COLUMNS]


def _number(value: float) -> float:
    # MLflow's SQL store writes infinities as the largest float.
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
