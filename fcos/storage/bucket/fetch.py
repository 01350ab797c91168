"""Fetch a run from a bucket into a local folder: its small files, its newest whole checkpoint, its results."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fcos.storage.bucket.faults import ObjectMissing
from fcos.storage.bucket.manifest import OBJECTS, RunIndex, StoredCheckpoint, StoredObject, read_index, read_manifest
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.run_files import (
    FIXED,
    GROWING,
    Synced,
    best_step,
    parse_finished_run,
    read_file,
    result_files,
)
from fcos.storage.checkpoint_folder import (
    CheckpointError,
    averages_in,
    checkpoints_in,
    digest,
    newest_step,
    remove,
    sha256_of,
)
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import CHECKPOINTS, LOG, POINTS, SUMMARY, TRAINING_ID, RunSummary

# Local, among the checkpoints: those that the bucket has of the run, of which few are fetched.
IN_BUCKET = "in_bucket.json"


class NotWhole(ValueError):
    """An object that a manifest lists is missing, or another one than it lists."""


@dataclass(frozen=True)
class PulledRun:
    """What a bucket holds of a run whose small files were brought in step."""

    index: RunIndex
    # What was missing, for people.
    notes: tuple[str, ...] = ()


def pull_run(run: Objects, folder: Path) -> PulledRun:
    """Bring the small files of a run's local folder in step with the bucket, the mark that it is finished included.

    What this host alone has changed since then stays. Raises BucketError and OSError.
    """
    index, is_there = read_index(run)
    if not is_there and not index.checkpoints:
        return PulledRun(index)
    notes = [] if is_there else [f"{run.address}: its {OBJECTS} is gone; its checkpoints were found by listing"]
    if not _is_same_training(folder, index):
        if Synced.read(folder).digests.get(TRAINING_ID) == _digest_of(index, TRAINING_ID):
            # Begun anew here, and not uploaded yet.
            return PulledRun(RunIndex(), tuple(notes))
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*FIXED, *GROWING):
        if name != LOG and (index.file(name) is not None or not is_there):
            notes += _pull_file(run, folder, name, index)
    notes += _pull_summary(run, folder, index)
    if index.own:
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        held = [each.folder for each in index.own]
        write_atomically(folder / CHECKPOINTS / IN_BUCKET, json.dumps(held))
    return PulledRun(index, tuple(notes))


def _is_same_training(folder: Path, index: RunIndex) -> bool:
    known, own = index.file(TRAINING_ID), read_file(folder / TRAINING_ID)
    return known is None or own is None or known.matches(own)


def _digest_of(index: RunIndex, name: str) -> str:
    known = index.file(name)
    return "" if known is None else known.sha256


def _pull_file(run: Objects, folder: Path, name: str, index: RunIndex) -> list[str]:
    """Fetch a file where the bucket's counts; return what is wrong with it."""
    known, local = index.file(name), read_file(folder / name)
    own = None if local is None else StoredObject.of(name, local).sha256
    if Synced.read(folder).choose(name, own, "" if known is None else known.sha256) == "local":
        return []
    data = run.read_if_there(name)
    if data is None:
        return [] if known is None else [f"{run.address.below(name)}: was removed from the bucket"]
    if name in FIXED and known is not None and not known.matches(data):
        return [f"{run.address.below(name)}: is not the object that {OBJECTS} lists; it is not used"]
    if name == POINTS and local is not None and local != data:
        # Those of this host are of steps of which the points are not there.
        for path in checkpoints_in(folder / CHECKPOINTS):
            remove(path)
    _write(folder, name, data, known)
    return []


def _write(folder: Path, name: str, data: bytes, known: StoredObject | None) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / name, data)
    # As the index lists it, also where the object is newer: then this host goes on from it.
    record = known or StoredObject.of(name, data)
    Synced.read(folder).updated({name: record}).write(folder)


def _pull_summary(run: Objects, folder: Path, index: RunIndex) -> list[str]:
    """Fetch the mark of a finished run, unless something that it names is missing; return why it is not used."""
    known, local = index.file(SUMMARY), read_file(folder / SUMMARY)
    if known is None or (local is not None and known.matches(local)):
        return []
    if local is not None and Synced.read(folder).digests.get(SUMMARY) == known.sha256:
        return []
    data = run.read_if_there(SUMMARY)
    finished = None if data is None else parse_finished_run(data)
    if data is None or finished is None or not known.matches(data):
        return [f"{run.address.below(SUMMARY)}: is missing or not whole; the run goes on from its last checkpoint"]
    problem = _missing_result(run, folder, finished.summary, index)
    if problem:
        return [f"{problem}; the run goes on from its last checkpoint"]
    _write(folder, SUMMARY, data, known)
    return []


def _missing_result(run: Objects, folder: Path, summary: RunSummary, index: RunIndex) -> str:
    """Return which object of a finished run is missing, by its size; empty where none is."""
    for name in result_files(summary):
        known = index.file(name)
        # One that was not drawn or saved was never there.
        if known is None or name == SUMMARY or read_file(folder / name) is not None:
            continue
        if run.size(name) != known.size:
            return f"{run.address.below(name)}: is missing or not whole"
    return ""


def fetch_results(run: Objects, folder: Path, summary: RunSummary) -> list[str]:
    """Fetch the files of a finished run that are not here; return what is wrong with those that are missing.

    Raises BucketError and OSError.
    """
    names = [name for name in result_files(summary) if name != SUMMARY and not (folder / name).exists()]
    if not names:
        return []
    problems, (index, _) = [], read_index(run)
    for name in names:
        known = index.file(name)
        if known is None or not (folder / name).resolve().is_relative_to(folder.resolve()):
            continue
        data = run.read_if_there(name)
        if data is None or not known.matches(data):
            problems.append(f"{run.address.below(name)}: is missing or not whole")
        else:
            _write(folder, name, data, known)
    return problems


def fetch_newest(run: Objects, folder: Path, averages: frozenset[float] = frozenset()) -> list[str]:
    """Fetch the newest whole checkpoint of a run where none as new is here, and that of its best evaluation.

    One that is not whole, or lacks a moving average, is passed over; returns why. Raises BucketError and OSError.
    """
    index, _ = read_index(run)
    notes: list[str] = []
    if not _is_same_training(folder, index):
        return notes
    here = newest_step(folder / CHECKPOINTS, averages)
    for entry in index.own:
        if entry.step <= here:
            break
        try:
            fetched = fetch_checkpoint(run, entry, folder)
            if averages_in(fetched) >= averages:
                break
            notes.append(f"{run.address.below(entry.folder)}: lacks a moving average that is evaluated")
        except (NotWhole, CheckpointError) as error:
            notes.append(f"{error}; an older one is taken where there is one")
    _fetch_best(run, folder, index)
    return notes


def _fetch_best(run: Objects, folder: Path, index: RunIndex) -> None:
    step = best_step(folder)
    entry = next((each for each in index.own if each.step == step), None)
    if entry is not None and not (folder / entry.folder).exists():
        try:
            fetch_checkpoint(run, entry, folder)
        except NotWhole:
            # As where it was never saved: a later evaluation may be the best.
            return


def fetch_checkpoint(run: Objects, entry: StoredCheckpoint, folder: Path) -> Path:
    """Fetch a checkpoint into a run's folder, under its name only when all of it is there; return its folder.

    Raises NotWhole naming the object, BucketError and OSError.
    """
    source, final = run.below(entry.folder), folder / entry.folder
    manifest = read_manifest(source)
    if manifest is None:
        raise NotWhole(f"{source.address}: holds no {OBJECTS}, so it is no whole checkpoint")
    partial = final.parent / f".partial_{entry.step:08d}_{os.getpid()}"
    remove(partial)
    partial.mkdir(parents=True)
    try:
        for item in manifest.objects:
            _fetch_object(source, item, partial)
        if entry.digest and digest(partial) != entry.digest:
            raise NotWhole(f"{source.address}: is another checkpoint than the run's {OBJECTS} lists")
        remove(final)
        os.replace(partial, final)
    finally:
        remove(partial)
    return final


def _fetch_object(source: Objects, item: StoredObject, target: Path) -> None:
    address = source.address.below(item.name)
    if Path(item.name).name != item.name:
        raise NotWhole(f"{source.address}: its {OBJECTS} names {item.name!r}, which is no file of a checkpoint")
    file = target / item.name
    try:
        source.download(item.name, file)
    except ObjectMissing:
        raise NotWhole(f"{address}: was removed from the bucket") from None
    if file.stat().st_size != item.size or sha256_of(file) != item.sha256:
        raise NotWhole(f"{address}: is not the object that its {OBJECTS} lists")
