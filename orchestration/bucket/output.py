"""Output of a command in a bucket: its local folder, and the small files of sweeps brought in step with the bucket."""

import fcntl
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address, make_mirror
from fcos.storage.bucket.faults import CREDENTIALS, BucketError, BucketMissing, BucketRefused
from fcos.storage.bucket.fetch import NotWhole, fetch_checkpoint, fetch_newest, fetch_results, pull_run
from fcos.storage.bucket.manifest import RunIndex, StoredCheckpoint, StoredObject
from fcos.storage.bucket.objects import Objects, allow, open_objects
from fcos.storage.bucket.run_files import Synced, read_file, read_finished
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import NOTES, STOP, SUMMARY, TRAINING_ID, RunSummary
from fcos.storage.store_conventions import Artifact
from orchestration.bucket.generations import Fence
from orchestration.experiment.plan_additions import ADDITIONS, read_planned
from orchestration.experiment.training_folder import STATUS, TRIALS, short_identity

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Of a sweep's own folder, in the order in which they are written.
SWEEP_FILES: Final = ("spent.json", NOTES, Artifact.PLAN_HISTORY, Artifact.PLAN, ADDITIONS, STATUS)
# Trainings whose files are fetched or uploaded at once.
SIDE_BY_SIDE = 8


class _PlannedTraining(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str


class _PlannedTrainings(BaseModel):
    """The part of plan.json that names the trainings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trials: list[_PlannedTraining]


@contextmanager
def as_config_error(address: Address) -> Iterator[None]:
    """Turn a BucketError in the block into a ConfigError with the way out."""
    try:
        yield
    except BucketMissing as error:
        raise ConfigError(f"output={address}: {error}; create it, or give another output") from None
    except BucketRefused as error:
        raise ConfigError(f"output={address}: refused: {error}; the environment has to hold {CREDENTIALS}") from None
    except BucketError as error:
        way_out = "see that the network and AWS_ENDPOINT_URL lead there, and give the same command again"
        raise ConfigError(f"output={address}: {error}; {way_out}") from None


@dataclass
class BucketOutput:
    """Sweeps below an address, and the local folder that stands for it.

    `check` is called before objects of sweeps are changed: see Fence.
    """

    objects: Objects
    folder: Path
    check: Callable[[], None] = field(default=allow)
    # Of the lock of the sweep that the command works on; 0 without one.
    generation: int = 0
    # Folder of a training -> what the bucket had of it when it was last pulled.
    indexes: dict[Path, RunIndex] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        """The address of all sweeps."""
        return self.objects.address

    def locked(self, name: str, generation: int) -> None:
        """Write from now on as the command that has a generation of a sweep's lock, and only as long as it has."""
        self.generation, self.check = generation, Fence.of_lock(self.sweep(name), generation)

    def sweep(self, name: str) -> Objects:
        """Return the objects of a sweep."""
        return self.objects.checked(self.check).below(name)

    def training(self, folder: Path) -> Objects:
        """Return the objects of the training with a local folder."""
        return self.objects.checked(self.check).below(*folder.relative_to(self.folder).parts)

    def pull(self, name: str, *, is_locked: bool = False) -> list[str]:
        """Bring the small files of a sweep and its trainings in step with the bucket; return notes.

        Nothing is done where another command of this host works in the local folder, which then is the newest there is.

        is_locked: whether this command has the lock of the folder. Raises ConfigError.
        """
        folder = self.folder / name
        if not is_locked and _is_in_use(folder):
            return []
        with as_config_error(self.address):
            for file in SWEEP_FILES:
                self._pull_file(name, file)
            found = [folder / TRIALS / short_identity(each) for each in _identities(folder)]
            pulled = _side_by_side(lambda training: pull_run(self.training(training), training), found)
        self.indexes |= {training: each.index for training, each in zip(found, pulled, strict=True)}
        return [note for each in pulled for note in each.notes]

    def fetch_files(self, name: str, files: Sequence[str]) -> None:
        """Bring some of a sweep's own files in step, unless a command of this host works there; raises BucketError."""
        if not _is_in_use(self.folder / name):
            for file in files:
                self._pull_file(name, file)

    def _pull_file(self, sweep: str, name: str) -> None:
        data, folder = self.sweep(sweep).read_if_there(name), self.folder / sweep
        if data is None:
            return
        local, remote = read_file(folder / name), StoredObject.of(name, data)
        own = None if local is None else StoredObject.of(name, local).sha256
        if Synced.read(folder).choose(name, own, remote.sha256) == "local":
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, data)
        Synced.read(folder).updated({name: remote}).write(folder)

    def push(self, name: str) -> None:
        """Upload the small files of a sweep that have changed; raises BucketError."""
        folder = self.folder / name
        for file in SWEEP_FILES:
            data, synced = read_file(folder / file), Synced.read(folder)
            record = None if data is None else StoredObject.of(file, data)
            if data is None or record is None or synced.digests.get(file) == record.sha256:
                continue
            self.sweep(name).write(file, data)
            synced.updated({file: record}).write(folder)

    def push_folder(self, name: str, below: str) -> None:
        """Upload all files of a folder of a sweep, such as its report; raises BucketError."""
        self.sweep(name).below(below).upload_folder(self.folder / name / below)

    def fetch_end(self, folder: Path) -> None:
        """Fetch what an attempt on another machine left of a training: its small files, result and forks.

        What is not reached is as if the attempt had left nothing: it is made again.
        """
        try:
            index = pull_run(self.training(folder), folder).index
            self.indexes[folder] = index
            self.fetch_forks([folder])
            finished = read_finished(folder)
            if finished is not None:
                fetch_results(self.training(folder), folder, finished.summary)
        except (BucketError, OSError):
            logging.getLogger(__name__).exception("what a training left in the bucket cannot be fetched")

    def push_stops(self, name: str, running: Sequence[Path]) -> None:
        """Pass on requests to stop, of the sweep and of running trainings, to machines that do not see them here."""
        for folder in (self.folder / name, *running):
            # An attempt that has begun since then has cleared the one before.
            if (folder / STOP).exists() and self.training(folder).read_if_there(STOP) is None:
                self.training(folder).write(STOP, b"")

    def clear_stops(self, name: str) -> None:
        """Withdraw the request to a sweep that an earlier command passed on."""
        self.sweep(name).remove([STOP])

    def push_begun(self, folders: Sequence[Path]) -> None:
        """Upload what there is of trainings that are not finished; raises BucketError."""
        begun = [folder for folder in folders if (folder / TRAINING_ID).exists()]
        _side_by_side(lambda folder: self._upload(folder).sync(with_log=True), begun)

    def push_results(self, folders: Sequence[Path]) -> None:
        """Upload finished trainings whose results the bucket does not have; raises BucketError."""
        lacking = [folder for folder in folders if _is_newer(folder)]
        _side_by_side(lambda folder: self._upload(folder).sync(with_log=True), lacking)

    def fetch_checkpoints(self, folders: Mapping[Path, frozenset[float]]) -> dict[Path, list[str]]:
        """Fetch the newest whole checkpoint of each training, with some moving averages, that is not here.

        Returns why others were passed over. Raises BucketError.
        """
        known = [folder for folder in folders if folder in self.indexes and self.indexes[folder].own]
        notes = _side_by_side(lambda folder: fetch_newest(self.training(folder), folder, folders[folder]), known)
        return dict(zip(known, notes, strict=True))

    def fetch_forks(self, folders: Sequence[Path]) -> None:
        """Fetch the checkpoints that trainings keep for others and that are not here; raises BucketError."""
        missing = [
            (folder, entry)
            for folder in folders
            for entry in self.indexes.get(folder, RunIndex()).checkpoints
            if entry.is_fork and not (folder / entry.folder).exists()
        ]
        _side_by_side(self._fetch_fork, missing)

    def _fetch_fork(self, fork: tuple[Path, StoredCheckpoint]) -> None:
        folder, entry = fork
        # Without it those that would begin there train these steps themselves.
        with suppress(NotWhole):
            fetch_checkpoint(self.training(folder), entry, folder)

    def fetch_training(self, folder: Path) -> None:
        """Fetch a finished training of any sweep below the address, with its checkpoint, where it is not all here.

        Raises BucketError and OSError.
        """
        if not self._is_fetched(folder):
            return
        run = self.training(folder)
        pull_run(run, folder)
        finished = read_finished(folder)
        if finished is None:
            return
        checkpoint = finished.summary.checkpoint
        if checkpoint and not (folder / checkpoint).exists():
            fetch_newest(run, folder)
        fetch_results(run, folder, finished.summary)

    def fetch_begun(self, folder: Path) -> None:
        """Fetch what there is of a training of any sweep below the address, with its newest whole checkpoint.

        Raises BucketError and OSError.
        """
        if self._is_fetched(folder):
            run = self.training(folder)
            pull_run(run, folder)
            fetch_newest(run, folder)

    def _is_fetched(self, folder: Path) -> bool:
        """Return whether a training comes here as the bucket has it: no command of this host works on its sweep."""
        return folder.is_relative_to(self.folder) and not _is_in_use(folder.parents[1])

    def fetch_results(self, folder: Path, summary: RunSummary) -> list[str]:
        """Fetch the files of a finished training that are not here; return what is wrong with those that stay away."""
        try:
            return fetch_results(self.training(folder), folder, summary)
        except BucketError as error:
            return [str(error)]

    def remove_checkpoints(self, folder: Path) -> None:
        """Remove the checkpoints and forks of a training; raises BucketError."""
        self._upload(folder).remove_checkpoints()

    def remove_forks(self, kept: Mapping[Path, frozenset[int]]) -> None:
        """Remove the forks of each training but those of some steps; raises BucketError."""
        begun = [folder for folder in kept if (folder / TRAINING_ID).exists()]
        _side_by_side(lambda folder: self._upload(folder).remove_checkpoints(forks_but=kept[folder]), begun)

    def hasten(self) -> None:
        """Give up after few attempts from now on, at an end that does not wait."""
        self.objects = self.objects.patient(0.0)

    def _upload(self, folder: Path) -> RunUpload:
        return RunUpload(folder, self.training(folder))


def open_output(output: str) -> BucketOutput:
    """Return the output at an address; raises ConfigError for an address, a package or a bucket that cannot be used."""
    address = Address.parse(output)
    opened = BucketOutput(open_objects(address), make_mirror(address))
    with as_config_error(address):
        # Whatever comes back: the credentials may read.
        if opened.objects.read_if_there(Artifact.PLAN) is None:
            opened.objects.require_bucket()
    return opened


def _identities(folder: Path) -> list[str]:
    """Return the identities of the trainings in a sweep's plan; none where there is no plan that can be read."""
    try:
        return [each.identity for each in _PlannedTrainings.model_validate(read_planned(folder)).trials]
    except (OSError, ValueError):
        # Whoever reads the plan itself refuses it, with the reason.
        return []


def _side_by_side(call: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
        return list(pool.map(call, items))


def _is_newer(folder: Path) -> bool:
    """Return whether a training is finished here and not known to be finished in the bucket."""
    data = read_file(folder / SUMMARY)
    return data is not None and Synced.read(folder).digests.get(SUMMARY) != StoredObject.of(SUMMARY, data).sha256


def _is_in_use(folder: Path) -> bool:
    """Return whether a process of this machine has the lock of a folder (see cli/lock.py)."""
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
