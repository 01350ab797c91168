"""Whether the parts of an archive belong together: runs, plan, report, weights."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from analysis.verification.evaluations import PublishedTrial
from fcos.published.archive import ArchiveError
from fcos.published.layout import MANIFEST, RUN, SWEEP, TRIALS, WEIGHTS
from fcos.published.records import ArchiveHeader, PublishedRun, read_record
from fcos.storage.store_conventions import Artifact, Tag


class _PlannedTrial(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    seed: int


class _Plan(BaseModel):
    """The trainings of plan.json with their identities."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    trials: list[_PlannedTrial]


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
    return [*problems, *_compare_plan(folder, trials), *(each for trial in trials for each in check_weights(trial))]


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


def check_weights(trial: PublishedTrial) -> Iterator[str]:
    """Yield weights that are not those whose digest a run recorded, or are no safetensors."""
    folder = trial.folder / WEIGHTS
    if not folder.is_dir():
        return
    try:
        manifest = (folder / MANIFEST).read_bytes()
        digests = json.loads(manifest)
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{trial.label}: {WEIGHTS}/{MANIFEST} cannot be read ({error})") from None
    if hashlib.sha256(manifest).hexdigest() != trial.run.tags.get(Tag.CHECKPOINT_SHA256):
        yield f"{trial.label}: {WEIGHTS}/{MANIFEST} is not that of the checkpoint that its run recorded"
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not isinstance(digests, dict) or digests.get(path.name) != digest:
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
