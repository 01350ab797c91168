"""Make the folder that becomes an archive: runs, report, environment, metadata; nothing is written elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from analysis.publishing.archive_report import render_archive_report
from analysis.publishing.collect import Collected, PublishChoices, collect_runs
from analysis.publishing.environment import LOCK, read_lock
from analysis.publishing.neutral import hide_texts
from analysis.publishing.private import Finding, find_private
from analysis.reader.client import StoreError
from analysis.reader.raw_runs import RawSweep
from fcos.published.crate import CrateFacts, write_metadata
from fcos.published.layout import ENVIRONMENT, HEADER
from fcos.published.records import ArchiveHeader
from fcos.published.texts import strip_steering


@dataclass(frozen=True)
class Staged:
    """A folder that is ready to be packed. id: the SHA-256 of its metadata. findings: why it must not be."""

    id: str
    collected: Collected
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def stage_archive(
    sweep: RawSweep,
    folder: Path,
    choices: PublishChoices,
    allowed: tuple[str, ...],
    show_progress: Callable[[int, int], None],
) -> Staged:
    """Fill an empty folder with all that is published of a sweep; raises StoreError and ArchiveError.

    allowed: texts that are not private although they look so.
    """
    header = _make_header(sweep, choices)
    (folder / HEADER).write_bytes(f"{header.model_dump_json(indent=1)}\n".encode())
    collected = collect_runs(sweep, folder, choices)
    lock, notes = read_lock(collected.commit), list(collected.notes)
    if lock is None:
        notes.append(
            f"the environment is left out: {LOCK} of commit {collected.commit[:12] or '(several, or unknown)'} is "
            "not in this checkout; each trial has the versions of its packages"
        )
    else:
        (folder / ENVIRONMENT).parent.mkdir()
        (folder / ENVIRONMENT).write_bytes(lock.encode())
    for name, text in render_archive_report(folder, header, show_progress).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode())
    facts = CrateFacts(header, sweep.parent.info.start_time or 0, collected.claim, collected.commit, choices.license)
    archive_id = write_metadata(folder, facts)
    return Staged(archive_id, collected, tuple(find_private(folder, allowed, hidden=choices.hidden)), tuple(notes))


def _make_header(sweep: RawSweep, choices: PublishChoices) -> ArchiveHeader:
    try:
        installed = version("fcos-lab")
    except PackageNotFoundError:
        installed = "unknown"
    try:
        return ArchiveHeader(
            # As in tags of runs: names of some languages have marks, which show nothing by themselves.
            sweep=strip_steering(hide_texts(sweep.name, choices.hidden)),
            run_id=sweep.parent.info.run_id,
            laboratory=strip_steering(choices.laboratory),
            resamples=choices.resamples,
            version=installed,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise StoreError(f"{first['loc'][0]}={first['input']!r}: cannot be published: {first['msg']}") from None
