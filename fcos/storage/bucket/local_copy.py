"""A local copy of what an address names, for commands that read checkpoints from folders."""

from pathlib import Path

from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address, make_mirror
from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.fetch import NotWhole, fetch_checkpoint, fetch_newest, pull_run
from fcos.storage.bucket.manifest import StoredCheckpoint, read_index, read_manifest
from fcos.storage.bucket.objects import Objects, open_objects
from fcos.storage.checkpoint_folder import PREFIX, CheckpointError, checkpoints_in
from fcos.storage.run_folder import CHECKPOINTS, FORKS
from fcos.storage.store_conventions import Artifact


def copy_of(text: str) -> tuple[Path, list[str]]:
    """Fetch the run or the checkpoint at an address; return its local folder and notes on what was passed over.

    Of a run, its newest whole checkpoint. Raises ConfigError for an address or a bucket that cannot be used, and
    CheckpointError where there is no whole checkpoint.
    """
    address = Address.parse(text)
    try:
        if address.name.startswith(PREFIX) and address.above().name in (CHECKPOINTS, FORKS):
            return _copy_checkpoint(address), []
        return _copy_run(address)
    except NotWhole as error:
        raise CheckpointError(str(error)) from None
    except BucketError as error:
        raise ConfigError(str(error)) from None


def copy_of_run(text: str) -> tuple[Path, list[str]] | None:
    """Return the same as `copy_of`, None where there is no run at an address, which may hold data; raises as that."""
    try:
        index, _ = read_index(open_objects(Address.parse(text)))
    except BucketError as error:
        raise ConfigError(str(error)) from None
    return copy_of(text) if index.files or index.checkpoints else None


def _copy_checkpoint(address: Address) -> Path:
    # The names of the folder, so that whatever reads it knows where it lies in its run.
    kind, name = address.above().name, address.name
    run = open_objects(address.above(2))
    entry = StoredCheckpoint(folder=f"{kind}/{name}")
    return fetch_checkpoint(run, entry, make_mirror(run.address))


def _copy_run(address: Address) -> tuple[Path, list[str]]:
    run, folder = open_objects(address), make_mirror(address)
    pulled = pull_run(run, folder)
    notes = [*pulled.notes, *fetch_newest(run, folder)]
    if not checkpoints_in(folder / CHECKPOINTS):
        raise CheckpointError("; ".join(notes) or f"{address}: holds no checkpoint{_hint(run)}")
    return folder, notes


def _hint(run: Objects) -> str:
    """Return what may have been meant; empty where there is nothing."""
    if read_manifest(run) is not None:
        return f"; name its run, {run.address.above()}"
    plan = run.read_if_there(Artifact.PLAN)
    return "" if plan is None else f"; it is a sweep: name one of its trainings, {run.address}/trials/<id>"
