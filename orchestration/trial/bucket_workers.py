"""Several workers of a training on machines that share a bucket and no folder: what they and their trial exchange.

The process of the trial uploads the records of the training before its workers begin, and fetches them when all have
ended. Each worker fetches them to its own machine. Rank 0 alone writes checkpoints, points and results, and uploads
them beside the steps; a failure travels with the error itself, as the bucket may be what has failed.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.fetch import NotWhole, fetch_checkpoint, fetch_newest, pull_run
from fcos.storage.bucket.manifest import StoredCheckpoint
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import CheckpointError, digest, folder_of, newest_step, verify
from fcos.storage.run_folder import CHECKPOINTS, STOP
from orchestration.trial import files
from orchestration.trial.bucket_folder import (
    in_turn,
    local_folder,
    open_folders,
    open_written,
    sees_driver,
    take_stop,
    take_sweep,
    unreachable,
)
from orchestration.trial.failures import BucketUnreachable, write_carried
from orchestration.trial.task import Task

if TYPE_CHECKING:
    from fcos.runtime import Runtime


def on_worker(task: Task) -> Task:
    """Return a task with the folder of its training on the machine of a worker, where that is not the trial's.

    Raises ConfigError where the folder cannot be made.
    """
    if task.bucket is None or not task.is_spread:
        return task
    folder = local_folder(task.bucket)
    folder.mkdir(parents=True, exist_ok=True)
    return replace(task, folder=str(folder))


@contextmanager
def exchanged(task: Task) -> Iterator[None]:
    """Hand the records of a training to workers on other machines, and take them back when the block ends.

    Raises BucketUnreachable.
    """
    if not task.is_spread:
        yield
        return
    _hand_over(task)
    try:
        yield
    except Exception as error:
        # What is not reached is as if the workers had left nothing but the error.
        with suppress(BucketUnreachable):
            _take_back(task)
        write_carried(Path(task.folder), error)
        raise
    _take_back(task)


def _hand_over(task: Task) -> None:
    run = open_written(task)
    try:
        RunUpload(Path(task.folder), run).sync()
        # That to an earlier attempt; the driver makes one to this again.
        run.remove([STOP])
    except BucketError as error:
        raise unreachable(error) from error


def _take_back(task: Task) -> None:
    try:
        pull_run(open_written(task), Path(task.folder))
    except BucketError as error:
        raise unreachable(error) from error


@contextmanager
def ray_folder(task: Task) -> Iterator[str]:
    """Yield the folder for what Ray Train keeps of a training.

    It checks, on the machine of the trial alone, that it can write there; its workers use the folder for checkpoints
    that are reported to Ray, and none is.
    """
    if not task.is_spread:
        yield task.ray_folder
        return
    with tempfile.TemporaryDirectory(prefix="fcos-lab-ray-") as folder:
        yield folder


def join_workers(task: Task, runtime: "Runtime") -> None:
    """Bring the folder of a worker's machine in step with the bucket; all workers call it, before rank 0 uploads.

    Rank 0 chooses the checkpoint that all go on from: the newest one of its machine may not have been uploaded yet, and
    another machine may have one that was trained in an attempt of which the bucket has nothing. Raises
    BucketUnreachable.
    """
    from fcos.distributed import broadcast_object

    assert task.bucket is not None, "the workers share a folder"
    sweep, run = open_folders(task.bucket)
    folder = Path(task.folder)
    try:
        with in_turn(folder):
            _pull(task, sweep, run)
            chosen = _choose_checkpoint(task, run) if runtime.rank == 0 else None
        chosen = broadcast_object(chosen, runtime.device)
        if chosen is not None and runtime.rank != 0:
            with in_turn(folder):
                _fetch_chosen(run, folder, chosen)
    except BucketError as error:
        raise unreachable(error) from error


def _pull(task: Task, sweep: Objects, run: Objects) -> None:
    folder = Path(task.folder)
    pull_run(run, folder)
    if not sees_driver(task):
        take_stop(run, folder)
        take_sweep(sweep, folder.parents[1])


def _choose_checkpoint(task: Task, run: Objects) -> StoredCheckpoint | None:
    """Return the newest whole checkpoint of machine and bucket, which then has it; None where there is none."""
    folder = Path(task.folder)
    for note in fetch_newest(run, folder, task.averages):
        files.add_note(folder, note)
    RunUpload(folder, open_written(task)).sync()
    step = newest_step(folder / CHECKPOINTS, task.averages)
    if step == 0:
        return None
    path = folder_of(Path(CHECKPOINTS), step)
    return StoredCheckpoint(folder=path.as_posix(), digest=digest(folder / path))


def _fetch_chosen(run: Objects, folder: Path, chosen: StoredCheckpoint) -> None:
    """Fetch the checkpoint that rank 0 goes on from, where this machine has none with the same content."""
    if _is_whole(folder / chosen.folder, chosen.digest):
        return
    try:
        fetch_checkpoint(run, chosen, folder)
    except NotWhole as error:
        # Another attempt may find it whole, or goes on from another one.
        raise RuntimeError(f"{error}; the other workers of the training go on from it") from error


def _is_whole(path: Path, content: str) -> bool:
    try:
        verify(path)
        return digest(path) == content
    except CheckpointError:
        return False
