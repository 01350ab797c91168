"""The folder of a training in a bucket: fetched before an attempt, uploaded beside the steps."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from filelock import FileLock

from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address, make_mirror
from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.fetch import fetch_newest, pull_run
from fcos.storage.bucket.objects import TRAINING_PATIENCE, Objects, open_objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.storage.files import write_atomically
from fcos.storage.run_folder import NOTES, STOP, SUMMARY
from orchestration.bucket.generations import Fence
from orchestration.bucket.lease_objects import BucketObjects
from orchestration.trial import files
from orchestration.trial.failures import BucketUnreachable
from orchestration.trial.fence import Attempt, begin_fenced
from orchestration.trial.task import BucketTask, Task

# What the message of an interruption for want of the bucket begins with.
BUCKET: Final = "the bucket of the output"
TICK_SECONDS, HEARTBEAT_SECONDS = 0.5, 1.0
# Between two looks for requests to stop.
STOP_SECONDS = 5.0
# Local, in a sweep's folder: the command that works there.
MARK: Final = ".command"
# Between attempts that fail, and for the last one, which a finished training waits for.
LONGEST_PAUSE, LAST_PATIENCE = 60.0, 300.0


def unreachable(error: BucketError) -> BucketUnreachable:
    """Return the reason for which a training is interrupted."""
    return BucketUnreachable(f"{BUCKET}: {error}; all that was trained is on this machine's disk")


def open_folders(task: BucketTask) -> tuple[Objects, Objects]:
    """Return the objects of the sweep and of the training; raises BucketUnreachable without the package."""
    try:
        sweep = open_objects(Address.parse(task.output), TRAINING_PATIENCE).below(task.name)
    except ConfigError as error:
        raise BucketUnreachable(f"{BUCKET}: {error}") from None
    return sweep, sweep.below(*task.below.split("/"))


def open_written(task: Task) -> Objects:
    """Return the objects of the training, which change as long as no other command or attempt has taken over.

    Raises BucketUnreachable without the package.
    """
    assert task.bucket is not None, "a folder is not uploaded"
    return open_checked(task.bucket, following_object(task))


def following_object(task: Task) -> str | None:
    """Return the object that the attempt after this one creates; None where files keep attempts apart."""
    return None if task.attempt is None or task.attempt.is_in_folder else task.attempt.following


def open_checked(bucket: BucketTask, following: str | None) -> Objects:
    """Return the objects of a training, which change as long as no other command has taken over, and no attempt.

    following: the object that the next attempt creates, None where files keep attempts apart. Raises
    BucketUnreachable without the package.
    """
    sweep, run = open_folders(bucket)
    checks = [Fence.of_lock(sweep, bucket.generation)]
    if following is not None:
        checks.append(Fence(run, following))

    def check() -> None:
        for each in checks:
            each()

    return run.checked(check)


def fence_attempt(task: Task) -> Attempt:
    """Begin an attempt where all machines of the training see it; raises BucketUnreachable."""
    folder = Path(task.folder)
    if task.bucket is None or not task.bucket.is_joined:
        return begin_fenced(folder)
    _, run = open_folders(task.bucket)
    try:
        attempt = begin_fenced(folder, BucketObjects(run))
    except BucketError as error:
        raise unreachable(error) from error
    # Checked beside the steps, which wait for no bucket that is out of reach.
    return replace(attempt, objects=BucketObjects(run.patient(0.0)))


def mark_folder(sweep: Path, command_id: str) -> None:
    """Mark the local folder of a sweep, so that a process finds whether it sees the folder of the driver."""
    (sweep / MARK).write_text(command_id)


def sees_driver(task: Task) -> bool:
    """Return whether the training's folder here is that of the driver, which reads and writes in it too."""
    try:
        return (Path(task.folder).parents[1] / MARK).read_text() == task.command_id
    except OSError:
        return False


def on_this_machine(task: Task) -> Task:
    """Return a task with the folder of its training here; elsewhere than at the driver's, in step with the bucket.

    Raises BucketUnreachable, and ConfigError where the folder cannot be made.
    """
    if task.bucket is None:
        return task
    folder = local_folder(task.bucket)
    here = replace(task, folder=str(folder))
    if sees_driver(here):
        return here
    sweep, run = open_folders(task.bucket)
    try:
        pull_run(run, folder)
        files.clear_stop(folder)
        run.remove([STOP])
        take_sweep(sweep, folder.parents[1])
    except BucketError as error:
        raise unreachable(error) from error
    return here


def local_folder(task: BucketTask) -> Path:
    """Return the training's folder on this machine; raises ConfigError where none can be made."""
    return make_mirror(Address.parse(task.output)) / task.name / task.below


def take_sweep(sweep: Objects, folder: Path) -> None:
    """Bring what trainings read of their sweep's folder here: its notes, and whether it is stopped.

    Raises BucketError.
    """
    take_stop(sweep, folder)
    notes = sweep.read_if_there(NOTES)
    if notes is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NOTES, notes)


def take_stop(objects: Objects, folder: Path) -> None:
    """Request in a local folder what the driver has requested in the bucket; raises BucketError."""
    if objects.read_if_there(STOP) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).touch()
    else:
        (folder / STOP).unlink(missing_ok=True)


def leave_machine(task: Task) -> None:
    """Upload the records of an attempt that has ended, where the driver does not see them otherwise."""
    if task.bucket is None or sees_driver(task):
        return
    folder = Path(task.folder)
    with _logged():
        run = open_written(task)
        if task.is_spread:
            # Its workers have written to the bucket meanwhile, and the log is theirs.
            pull_run(run, folder)
        RunUpload(folder, run).sync(with_log=not task.is_spread)


def upload_records(folder: Path, bucket: BucketTask, following: str | None) -> None:
    """Upload what an attempt left in a folder; following: the object of the next one, see `open_checked`."""
    with _logged():
        RunUpload(folder, open_checked(bucket, following)).sync(with_log=True)


@contextmanager
def _logged() -> Iterator[None]:
    """Log why the records of an attempt are not in the bucket: what is not there is left to the next attempt."""
    try:
        yield
    except (BucketUnreachable, OSError, CheckpointError):
        logging.getLogger(__name__).exception("the records of an attempt are not in the bucket")


def fetch_folder(task: Task) -> None:
    """Fetch the newest whole checkpoint of a training, where the bucket has one that this machine has not.

    Notes in the folder name those that were passed over. Raises BucketUnreachable.
    """
    if task.bucket is None:
        return
    folder = Path(task.folder)
    _, run = open_folders(task.bucket)
    try:
        with in_turn(folder):
            notes = fetch_newest(run, folder, task.averages)
    except BucketError as error:
        raise unreachable(error) from error
    for note in notes:
        files.add_note(folder, note)


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let one process of this machine after the other change a training's folder: several workers share it."""
    with FileLock(folder / ".fetch.lock"):
        yield


def ignore() -> None:
    """Do nothing; the default of a heartbeat."""


def _wait_for(call: Callable[[], None], heartbeat: Callable[[], None]) -> None:
    """Call in a thread, with heartbeats until it ends: a large upload is no stall; raises what the call raises."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        ended = pool.submit(call)
        while not wait([ended], timeout=HEARTBEAT_SECONDS).done:
            heartbeat()
        ended.result()


class FolderUpload:
    """Uploads of one training from a thread of their own, beside its steps."""

    def __init__(self, upload: RunUpload, tick: float = TICK_SECONDS, stops: Objects | None = None) -> None:
        self._upload, self._tick = upload, tick
        # The sweep whose requests to stop are looked for, where the driver does not see the folder.
        self._stops, self._looked = stops, time.monotonic()
        self._done = threading.Event()
        self._lags = False
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
        self._thread.start()

    def settle(self, heartbeat: Callable[[], None] = ignore) -> None:
        """Wait until all checkpoints and points are in the bucket; raises BucketUnreachable where they cannot be."""
        _wait_for(self._end_thread, heartbeat)
        _wait_for(self._sync_patiently, heartbeat)
        if self._upload.num_skipped:
            text = (
                f"{self._upload.num_skipped} checkpoints never were in the bucket, as newer ones followed before they "
                "were uploaded: it is slower than schedule.checkpoint_every"
            )
            files.add_note(self._upload.folder, text)

    def publish(self, heartbeat: Callable[[], None] = ignore) -> None:
        """Wait until the result is in the bucket, which counts only then; raises BucketUnreachable where it cannot."""
        try:
            _wait_for(self._sync_patiently, heartbeat)
        except (BucketUnreachable, OSError, CheckpointError):
            # The next command evaluates the last checkpoint again, which is there.
            (self._upload.folder / SUMMARY).unlink(missing_ok=True)
            raise

    def leave(self) -> None:
        """Upload what there is at the end of an attempt that failed; what cannot be is left to the next one."""
        self._end_thread()
        try:
            self._upload.sync(with_log=True)
        except (OSError, CheckpointError):
            logging.getLogger(__name__).exception("not everything of the training is in the bucket")

    def _end_thread(self) -> None:
        self._done.set()
        self._thread.join()

    def _sync_patiently(self) -> None:
        patient = self._upload.run.patient(LAST_PATIENCE)
        self._upload = replace(self._upload, run=patient)
        try:
            self._upload.sync(with_log=True)
        except BucketError as error:
            raise unreachable(error) from error

    def _run(self) -> None:
        pause = self._tick
        while not self._done.wait(pause):
            pause = self._tick if self._sync() else min(max(2 * pause, 1.0), LONGEST_PAUSE)

    def _sync(self) -> bool:
        """Upload what is new; return whether that worked."""
        try:
            self._upload.sync()
            self._take_stops()
        except (OSError, CheckpointError) as error:
            if not self._lags:
                text = f"uploads waited for the bucket while the training went on: {error}"
                logging.getLogger(__name__).warning("%s", text)
                files.add_note(self._upload.folder, text)
            self._lags = True
            return False
        if self._lags:
            logging.getLogger(__name__).warning("the bucket takes objects again")
        self._lags = False
        return True

    def _take_stops(self) -> None:
        if self._stops is None or time.monotonic() - self._looked < STOP_SECONDS:
            return
        self._looked = time.monotonic()
        folder = self._upload.folder
        take_stop(self._stops, folder.parents[1])
        take_stop(self._upload.run, folder)


class NoUpload:
    """The uploads of a training whose output is a folder, or of a worker that writes none."""

    def settle(self, heartbeat: Callable[[], None] = ignore) -> None:
        """Do nothing."""

    def publish(self, heartbeat: Callable[[], None] = ignore) -> None:
        """Do nothing."""

    def leave(self) -> None:
        """Do nothing."""


def begin_upload(task: Task, *, writes: bool) -> FolderUpload | NoUpload:
    """Begin to upload a training's folder, from the worker that writes it; raises BucketUnreachable."""
    if task.bucket is None or not writes:
        return NoUpload()
    sweep, _ = open_folders(task.bucket)
    upload = RunUpload(Path(task.folder), open_written(task))
    return FolderUpload(upload, stops=None if sees_driver(task) else sweep)
