"""Provenance: what every number was made from, and what differs between the trials that are compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_count, join_words
from analysis.reader.client import read_artifact
from analysis.reader.sweep import Provenance, Sweep, Trial
from fcos.storage.store_conventions import Artifact, RunStatus

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ProvenanceRow:
    """Provenance of one run as text."""

    arm: str
    seed: int
    status: str
    run_id: str
    trained_by: str
    commit: str
    data: str
    identity: str
    hardware: str
    checkpoint: str


@dataclass(frozen=True)
class MissingResult:
    """A planned trial without a result. run_id: "" where it never started."""

    arm: str
    seed: int
    state: str
    reason: str
    run_id: str


@dataclass(frozen=True)
class PackageVersions:
    """Package versions that some trials ran with. trials: their names in words."""

    trials: str
    packages: Mapping[str, str]


def collect_provenance(sweep: Sweep) -> tuple[ProvenanceRow, ...]:
    """Return a row for each run of the sweep, superseded attempts too."""
    labels = {trial.run_id: trial.label for trial in sweep.trials}
    order = {arm: index for index, arm in enumerate(sweep.experiment.arms)}
    trials = sorted(
        sweep.trials, key=lambda trial: (order.get(trial.arm, len(order)), trial.arm, trial.seed, trial.superseded)
    )
    return tuple(_make_row(trial, labels) for trial in trials)


def _make_row(trial: Trial, labels: Mapping[str, str]) -> ProvenanceRow:
    origin = trial.provenance
    dirty = " (dirty)" if origin.git_dirty else ""
    sha256 = f" sha256 {origin.checkpoint_sha256}" if origin.checkpoint_sha256 else ""
    return ProvenanceRow(
        arm=trial.arm,
        seed=trial.seed,
        status=trial.status.lower() + (", superseded" if trial.superseded else ""),
        run_id=trial.run_id,
        trained_by=_describe_trainer(trial.run_id, origin, labels),
        commit=origin.git_commit + dirty,
        data=f"{origin.data} {origin.data_digest}".strip(),
        identity=origin.identity,
        hardware=origin.hardware,
        checkpoint=origin.checkpoint + sha256,
    )


def _describe_trainer(run_id: str, origin: Provenance, labels: Mapping[str, str]) -> str:
    at = f" at {origin.laboratory}" if origin.laboratory else ""
    if origin.trained_by == run_id:
        return f"itself{at}, from {origin.begun_from}" if origin.begun_from else f"itself{at}"
    if origin.trained_by in labels:
        return labels[origin.trained_by]
    return f"{origin.trained_by} of {origin.trained_in}" if origin.trained_in else origin.trained_by


def list_missing_results(values: pd.DataFrame) -> list[MissingResult]:
    """List every planned trial without any value. values: see analysis.stats.paired.collect_final_values."""
    has_value = values.groupby(["arm", "seed"])["value"].count() > 0
    return [
        MissingResult(
            arm=row["arm"],
            seed=row["seed"],
            state="finished without the metrics" if row["status"] == RunStatus.FINISHED else str(row["status"]).lower(),
            reason=row["failure"],
            run_id=row["run_id"],
        )
        for row in values.drop_duplicates(["arm", "seed"]).to_dict("records")
        if not has_value[(row["arm"], row["seed"])]
    ]


def describe_shared_trainings(sweep: Sweep) -> list[str]:
    """Return lines on arms that are evaluated on another arm's weights, or reuse or go on from other trainings."""
    arms = {trial.run_id: trial.arm for trial in sweep.current}
    trained_elsewhere = {
        (trial.arm, arms.get(trial.provenance.trained_by, ""))
        for trial in sweep.current
        if trial.provenance.trained_by not in ("", trial.run_id)
    }
    lines = [
        f"{arm} is evaluated on the training of {trainer}: between the two only inference, or which average of the "
        "weights is evaluated, differs."
        for arm, trainer in sorted(trained_elsewhere)
        if trainer and trainer != arm
    ]
    reusing = sorted({arm for arm, trainer in trained_elsewhere if not trainer})
    if reusing:
        lines.append(f"Trials of {join_words(reusing)} reuse trainings of other sweeps.")
    begun = sorted({trial.arm for trial in sweep.current if trial.provenance.begun_from})
    if begun:
        lines.append(
            f"Trainings of {join_words(begun)} went on from checkpoints of others, which the provenance names."
        )
    return lines


def describe_provenance_differences(trials: Sequence[Trial]) -> list[str]:
    """Return lines on what should be the same for all trials of a comparison and is not."""
    origins = [trial.provenance for trial in trials]
    shared = {
        "git commits": [origin.git_commit for origin in origins],
        "data digests": [origin.data_digest for origin in origins],
        "data sets": [origin.data for origin in origins],
        "kinds of hardware": [origin.hardware for origin in origins],
    }
    lines = []
    for name, values in shared.items():
        distinct = sorted({value or UNKNOWN for value in values})
        if len(distinct) > 1:
            lines.append(f"The trials come from {len(distinct)} {name}: {join_words(distinct)}.")
    dirty = sum(origin.git_dirty for origin in origins)
    if dirty:
        lines.append(f"{format_count(dirty, 'trial')} ran on code with uncommitted changes.")
    return [*lines, *_describe_workers(trials), *_describe_laboratories(trials)]


def _describe_laboratories(trials: Sequence[Trial]) -> list[str]:
    """Return a line for each archive that trials were imported from."""
    groups: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        origin = trial.provenance
        if origin.archive:
            groups.setdefault((origin.laboratory, origin.archive), []).append(trial.label)
    return [
        f"Trained by {laboratory} and imported from its archive {archive[:12]}, not trained here: "
        f"{'all trials' if len(labels) == len(trials) else join_words(labels)}."
        for (laboratory, archive), labels in groups.items()
    ]


def _describe_workers(trials: Sequence[Trial]) -> list[str]:
    """Return a line on the numbers of workers, unless all trials had the same from first step to last."""
    groups: dict[str, list[str]] = {}
    reasons: dict[str, None] = {}
    for trial in trials:
        if trial.workers:
            groups.setdefault(trial.workers, []).append(trial.label)
            # Runs of older versions record no reason.
            reasons |= dict.fromkeys([trial.workers_matter] if trial.workers_matter else [])
    if len(groups) < 2 and all(number.isdecimal() for number in groups):
        return []
    counts = "; ".join(f"{number} ({join_words(labels)})" for number, labels in sorted(groups.items()))
    because = f", but {' and '.join(reasons)}, so that the number matters" if reasons else ""
    return [f"Numbers of workers: {counts}. Batch size and learning rate are the same{because}."]


def collect_versions(sweep: Sweep) -> tuple[PackageVersions, ...]:
    """Return the package versions of the trials that count, an entry for each distinct set."""
    groups: dict[bytes | None, list[str]] = {}
    for trial in sweep.current:
        content = read_artifact(sweep.uri, trial.run_id, Artifact.VERSIONS)
        groups.setdefault(content, []).append(trial.label)
    return tuple(
        PackageVersions("all trials" if len(groups) == 1 else join_words(labels), _parse_versions(content))
        for content, labels in groups.items()
    )


def _parse_versions(content: bytes | None) -> dict[str, str]:
    if content is None:
        return {Artifact.VERSIONS: "missing"}
    try:
        values = json.loads(content.decode("utf-8", "replace"))
    except ValueError:
        return {Artifact.VERSIONS: "cannot be read"}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {"": str(values)}
