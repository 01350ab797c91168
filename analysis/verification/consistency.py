"""Whether the parts of an archive belong together: runs, plan, arms, weights."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.formatting import join_some, join_words
from analysis.verification.arms import compare_arm, read_arms
from fcos.config.parse import flatten
from fcos.published.archive import ArchiveError
from fcos.published.layout import ENVIRONMENT, RUN, SWEEP, TRIALS, WEIGHTS
from fcos.published.plan import compare_looks, compare_plan, has_planned_looks, read_plan
from fcos.published.records import ArchiveHeader, PublishedRun, read_record
from fcos.published.texts import strip_steering
from fcos.published.trials import PublishedTrial
from fcos.storage.checkpoint_folder import MANIFEST
from fcos.storage.store_conventions import RUN_ONLY, WEIGHTS_DIGESTS, Artifact, RunKind, Tag, parse_param


def find_inconsistencies(folder: Path, header: ArchiveHeader, trials: Sequence[PublishedTrial]) -> list[str]:
    """Return what does not belong together in an archive; raises ArchiveError for a broken record."""
    paths = sorted((folder / TRIALS).glob("*"))
    problems = [each for path in paths for each in _check_run(path, header)]
    if (folder / SWEEP).is_dir() and read_record(folder / SWEEP / RUN, PublishedRun).run_id != header.run_id:
        problems.append(f"{SWEEP}/{RUN} is not of run {header.run_id}")
    if (compared := compare_plan(folder, trials)) is not None:
        problems += [
            f"{trial.label}: {Artifact.PLAN} has no training of its identity and seed" for trial in compared.unplanned
        ]
        problems += [
            f"{trial.label}: {Artifact.PLAN} has its training for another arm, evaluation or code"
            for trial in compared.misnamed
        ]
    problems += compare_looks(folder)
    arms = read_arms(folder)
    for trial in trials:
        problems += [*check_weights(trial), *_compare_config(trial), *compare_arm(trial, arms)]
    return problems


def _check_run(path: Path, header: ArchiveHeader) -> Iterator[str]:
    """Yield why the run in a folder is no trial of the archive's sweep, or is one that no report has."""
    run = read_record(path / RUN, PublishedRun)
    is_single = run.run_id == header.run_id
    if run.run_id != path.name:
        yield f"{TRIALS}/{path.name} has the record of run {run.run_id}"
    if not is_single and run.tags.get(Tag.PARENT_RUN) != header.run_id:
        yield f"{TRIALS}/{path.name} is no trial of run {header.run_id}"
    kind = RunKind.RUN if is_single else RunKind.TRIAL
    if run.tags.get(Tag.KIND) != kind:
        yield f"{TRIALS}/{path.name} is of the kind {run.tags.get(Tag.KIND)!r} and not {kind!r}: no report has it"


def list_unverified(folder: Path, trials: Sequence[PublishedTrial]) -> list[str]:
    """Return what an archive lacks, so that nothing can be held against it, and what it has that follows from nothing.

    Raises ArchiveError for a broken plan.
    """
    missing = []
    compared = compare_plan(folder, trials)
    if (folder / SWEEP).is_dir() and compared is None:
        missing.append(f"without {Artifact.PLAN}: whether all trials were planned")
    if (folder / SWEEP).is_dir() and not (folder / SWEEP / Artifact.EXPERIMENT).is_file():
        missing.append(f"without {Artifact.EXPERIMENT}: whether trials have the settings that it declares for arms")
    if labels := [trial.label for trial in trials if trial.is_finished and not trial.has_config]:
        missing.append(f"without {Artifact.CONFIG}, so that they cannot be trained again: {', '.join(labels)}")
    if compared is not None and compared.missing:
        missing.append(
            f"{Artifact.PLAN} has trainings without a run, never begun or left out: {join_some(compared.missing)}"
        )
    if compared is not None and (others := [trial.label for trial in compared.of_other_code]):
        missing.append(f"of other code than {Artifact.PLAN}, whether they were planned: {join_some(others)}")
    if given := list(_iterate_given(folder)):
        missing.append(f"as the publisher gave it: {join_words(given)}")
    return missing


def _iterate_given(folder: Path) -> Iterator[str]:
    """Yield what an archive has from its publisher alone."""
    yield from (name for name in (ENVIRONMENT, f"{SWEEP}/{Artifact.PLAN_HISTORY}") if (folder / name).is_file())
    if not (folder / SWEEP).is_dir():
        return
    tags = read_record(folder / SWEEP / RUN, PublishedRun).tags
    if tags.get(Tag.LOOKS, "[]") != "[]" and not has_planned_looks(read_plan(folder), tags.get(Tag.STATUS)):
        yield "the numbers of seeds at which decisions were taken"
    if tags.get(Tag.WINNER):
        yield "the winner of the search"


def _compare_config(trial: PublishedTrial) -> Iterator[str]:
    """Yield the keys of a configuration, by which it is trained again, that are not the params that a report shows."""
    if not trial.has_config:
        return
    params, values = trial.run.params, flatten(trial.read_config())
    # Weights count by their digest, and may be moved before a training goes on.
    moved = {key for key, digest in WEIGHTS_DIGESTS.items() if None not in (values.get(digest), params.get(digest))}
    for key, value in values.items():
        text = params.get(key)
        # A run has no text with marks.
        value = strip_steering(value) if isinstance(value, str) else value
        # Keys that decide nothing may be others when a training goes on.
        if text is not None and key not in {*RUN_ONLY, *moved} and value not in (text, parse_param(text)):
            yield f"{trial.label}: {key} is {value!r} in {Artifact.CONFIG}, and {text!r} in {RUN}"


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
