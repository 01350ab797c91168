"""Whether the parts of an archive belong together: runs, plan, report, weights."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from analysis.verification.evaluations import PublishedTrial
from fcos.published.archive import ArchiveError
from fcos.published.layout import MANIFEST, RUN, SWEEP, TRIALS, WEIGHTS
from fcos.published.records import ArchiveHeader, PublishedRun, read_record
from fcos.storage.store_conventions import RUN_ONLY, Artifact, Tag, parse_param


class _PlannedTrial(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    seed: int


class _Plan(BaseModel):
    """The trainings of plan.json with their identities."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    trials: list[_PlannedTrial]


class _Values(RootModel[dict[str, Any]]):
    """A configuration as plain values."""


def find_inconsistencies(folder: Path, header: ArchiveHeader, trials: Sequence[PublishedTrial]) -> list[str]:
    """Return what does not belong together in an archive; raises ArchiveError for a broken record."""
    problems = []
    for path in sorted((folder / TRIALS).glob("*")):
        run = read_record(path / RUN, PublishedRun)
        if run.run_id != path.name:
            problems.append(f"{TRIALS}/{path.name} has the record of run {run.run_id}")
        if run.run_id != header.run_id and run.tags.get(Tag.PARENT_RUN) != header.run_id:
            problems.append(f"{TRIALS}/{path.name} is no trial of run {header.run_id}")
    if (folder / SWEEP).is_dir() and read_record(folder / SWEEP / RUN, PublishedRun).run_id != header.run_id:
        problems.append(f"{SWEEP}/{RUN} is not of run {header.run_id}")
    of_trials = (each for trial in trials for each in (*check_weights(trial), *_compare_config(trial)))
    return [*problems, *_compare_plan(folder, trials), *of_trials]


def _compare_plan(folder: Path, trials: Sequence[PublishedTrial]) -> Iterator[str]:
    """Yield the trials whose training the plan does not have."""
    path = folder / SWEEP / Artifact.PLAN
    if not path.is_file():
        return
    plan = read_record(path, _Plan)
    planned = {(each.identity, str(each.seed)) for each in plan.trials}
    for trial in trials:
        tags = trial.run.tags
        if tags.get(Tag.CODE) == plan.code and (tags.get(Tag.TRAIN_IDENTITY), tags.get(Tag.SEED)) not in planned:
            yield f"{trial.label}: {Artifact.PLAN} has no training of its identity and seed"


def _compare_config(trial: PublishedTrial) -> Iterator[str]:
    """Yield the keys of a configuration, by which it is trained again, that are not the params that a report shows."""
    path = trial.folder / Artifact.CONFIG
    if not path.is_file():
        return
    for key, value in _flatten(read_record(path, _Values).root):
        text = trial.run.params.get(key)
        # Keys that decide nothing may be others when a training goes on.
        if text is not None and key not in RUN_ONLY and value not in (text, parse_param(text)):
            yield f"{trial.label}: {key} is {value!r} in {Artifact.CONFIG}, and {text!r} in {RUN}"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_weights(trial: PublishedTrial) -> Iterator[str]:
    """Yield weights that are not those whose digest a run recorded, or are no safetensors."""
    folder = trial.folder / WEIGHTS
    if not folder.is_dir():
        return
    try:
        manifest = (folder / MANIFEST).read_bytes()
        digests = json.loads(manifest)
    except (OSError, ValueError, RecursionError) as error:
        raise ArchiveError(f"{trial.label}: {WEIGHTS}/{MANIFEST} cannot be read ({error})") from None
    if not isinstance(digests, dict):
        raise ArchiveError(f"{trial.label}: {WEIGHTS}/{MANIFEST} is no JSON object")
    if hashlib.sha256(manifest).hexdigest() != trial.run.tags.get(Tag.CHECKPOINT_SHA256):
        yield f"{trial.label}: {WEIGHTS}/{MANIFEST} is not that of the checkpoint that its run recorded"
    for name in sorted(name for name in digests if name.endswith(".safetensors")):
        if not (folder / Path(name).name).is_file():
            yield f"{trial.label}: {name} is named in {WEIGHTS}/{MANIFEST} and missing"
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digests.get(path.name) != digest:
            yield f"{trial.label}: {path.name} is not the file that {MANIFEST} names"
        elif not _is_safetensors(path):
            yield f"{trial.label}: {path.name} is no safetensors file"


def _is_safetensors(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            return len(weights.keys()) > 0
    except (SafetensorError, OSError, ValueError):
        return False
