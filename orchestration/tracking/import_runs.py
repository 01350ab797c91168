"""Write the runs of a published archive into a tracking store, marked by where they were trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fcos.published.archive import ArchiveError
from fcos.published.layout import HEADER, POINTS, RUN, SWEEP, TRIALS
from fcos.published.records import ArchiveHeader, PublishedRun, read_points, read_record
from fcos.storage.store_conventions import PUBLISHED_TAGS, RunKind, RunStatus, Tag, training_of
from orchestration.tracking.problems import store_errors
from orchestration.tracking.store import Store

# Tags that name other runs of the archive beside that of the sweep.
RUN_TAGS = (Tag.TRAINED_BY, Tag.REUSED_FROM, Tag.SUPERSEDED)
# Tags that are not those of the archive.
OWN_TAGS = (Tag.KIND, Tag.SWEEP, Tag.PARENT_RUN, Tag.ARCHIVE, Tag.ARCHIVE_RUN)
# Nothing of an archive is going on here.
ENDED = {RunStatus.RUNNING: RunStatus.KILLED, RunStatus.SCHEDULED: RunStatus.KILLED}


@dataclass(frozen=True)
class ArchiveOrigin:
    """Where an archive comes from: its id, and the laboratory that runs without one of their own are marked with."""

    archive_id: str
    laboratory: str


@dataclass(frozen=True)
class ImportedSweep:
    """A sweep in the store. is_new: False where an earlier command imported it."""

    name: str
    run_id: str
    trials: int
    is_new: bool


def import_archive(
    store: Store, folder: Path, origin: ArchiveOrigin, name: str, show_progress: Callable[[int, int], None]
) -> ImportedSweep:
    """Write the runs of an extracted archive; one that is there already is left as it is.

    The run of the sweep becomes one last of all, so that no report finds half of it; what an earlier command left
    unfinished is deleted. Raises ArchiveError for a broken record and TrackingError for a store that refuses.
    """
    header = read_record(folder / HEADER, ArchiveHeader)
    folders = [path for path in (folder / SWEEP, *sorted((folder / TRIALS).glob("*"))) if path.is_dir()]
    records = {path: read_record(path / RUN, PublishedRun) for path in folders}
    _check_records(records, header)
    for path in folders:
        # A table that is no such is refused before anything is written.
        read_points(path / POINTS)
    with store_errors(store.uri):
        known = _find_imported(store, origin)
        if header.run_id in known:
            return ImportedSweep(name, known[header.run_id], len(folders) - 1, is_new=False)
        ids = {record.run_id: _create(store, record, origin) for record in records.values()}
    for number, (path, record) in enumerate(records.items(), start=1):
        _fill(store, path, record, ids, origin)
        show_progress(number, len(records))
    with store_errors(store.uri):
        for path, record in sorted(records.items(), key=lambda item: item[1].run_id == header.run_id):
            own = {Tag.SWEEP: name, Tag.KIND: RunKind.SWEEP if path.name == SWEEP else RunKind.RUN}
            if record.run_id != header.run_id:
                own |= {Tag.KIND: RunKind.TRIAL, Tag.PARENT_RUN: ids[header.run_id]}
            store.set_tags(ids[record.run_id], own)
    return ImportedSweep(
        name, ids[header.run_id], len(folders) - (SWEEP in {path.name for path in folders}), is_new=True
    )


def _check_records(records: Mapping[Path, PublishedRun], header: ArchiveHeader) -> None:
    """Raise ArchiveError unless all runs are of the archive's own sweep, or there is one run alone."""
    for path, record in records.items():
        if path.name != SWEEP and path.name != record.run_id:
            raise ArchiveError(f"{TRIALS}/{path.name} has the record of run {record.run_id}")
        is_first = record.run_id == header.run_id
        if not is_first and record.tags.get(Tag.PARENT_RUN) != header.run_id:
            raise ArchiveError(f"{TRIALS}/{path.name} is no trial of run {header.run_id}")
        if (path.name == SWEEP or len(records) == 1) is not is_first:
            raise ArchiveError(f"{path.name} has not the record of run {header.run_id}, or {HEADER} names another")
    if header.run_id not in {record.run_id for record in records.values()}:
        raise ArchiveError(f"{HEADER} names run {header.run_id}, and there is none")


def _find_imported(store: Store, origin: ArchiveOrigin) -> dict[str, str]:
    """Return run of the archive -> run here, if all of it is here; deletes what an earlier command left unfinished."""
    runs = store.client.search_runs(
        [store.experiment_id], f"tags.`{Tag.ARCHIVE}` = '{origin.archive_id}'", max_results=50_000
    )
    kinds = (RunKind.SWEEP, RunKind.RUN)
    if any(run.data.tags.get(Tag.KIND) in kinds for run in runs):
        return {run.data.tags[Tag.ARCHIVE_RUN]: run.info.run_id for run in runs}
    for run in runs:
        store.client.delete_run(run.info.run_id)
    return {}


def _create(store: Store, record: PublishedRun, origin: ArchiveOrigin) -> str:
    tags = {Tag.ARCHIVE: origin.archive_id, Tag.ARCHIVE_RUN: record.run_id}
    run = store.client.create_run(store.experiment_id, start_time=record.start, tags=tags, run_name=record.name)
    run_id: str = run.info.run_id
    return run_id


def _fill(store: Store, folder: Path, record: PublishedRun, ids: Mapping[str, str], origin: ArchiveOrigin) -> None:
    """Write tags, params, points and files of a run and close it; what makes it one of a sweep is written later."""
    run_id, points = ids[record.run_id], read_points(folder / POINTS)
    with store_errors(store.uri):
        store.set_tags(run_id, _make_tags(record, ids, origin))
        store.log_params(run_id, record.params)
        store.log_repeated_points(run_id, points)
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            if path.is_file() and below.as_posix() not in (RUN, POINTS):
                store.log_files(run_id, [path], "" if below.parent == Path() else below.parent.as_posix())
        store.client.set_terminated(run_id, ENDED.get(record.status, record.status), end_time=record.end)


def _make_tags(record: PublishedRun, ids: Mapping[str, str], origin: ArchiveOrigin) -> dict[str, str]:
    """Return the published tags of a run, with the ids that runs of the archive have here."""
    tags = {key: value for key, value in record.tags.items() if key in PUBLISHED_TAGS and key not in OWN_TAGS}
    tags[Tag.LABORATORY] = tags.get(Tag.LABORATORY) or origin.laboratory
    if Tag.TRAINED_BY in tags:
        tags[Tag.ARCHIVE_TRAINED_BY] = training_of(record.run_id, record.tags)
    return tags | {key: ids.get(tags[key], tags[key]) for key in RUN_TAGS if key in tags}
