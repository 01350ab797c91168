"""Uploads beside a training: its steps wait for nothing, and its result counts only when the bucket has all of it."""

import errno
import threading
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.storage.bucket.fetch import fetch_newest, pull_run
from fcos.storage.bucket.manifest import read_index
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import CheckpointReadError, newest_step
from fcos.storage.run_folder import CHECKPOINTS, LOG, SUMMARY
from orchestration.driver.interruption import advise
from orchestration.trial.bucket_folder import FolderUpload, NoUpload, begin_upload, fetch_folder
from orchestration.trial.failures import BucketUnreachable, read_failure, write_failure
from orchestration.trial.files import add_note, read_notes
from tests.helpers.bucket_runs import (
    CutFileSystem,
    begin_run,
    bucket_task,
    finish_run,
    memory_bucket,
    write_checkpoint,
)
from tests.helpers.experiments.tasks import task_in
from tests.helpers.processes.waiting import wait_until

TICK = 0.01


def steps_in_bucket(run: Objects) -> list[int]:
    return [each.step for each in read_index(run)[0].own]


def test_checkpoints_are_uploaded_while_the_training_goes_on(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here")
    upload = FolderUpload(RunUpload(here, run), TICK)
    for step in (4, 8):
        write_checkpoint(here, step)
        wait_until(lambda step=step: step in steps_in_bucket(run))  # type: ignore[misc]
    (here / LOG).write_text("the log\n")
    upload.settle()
    finish_run(here, 8)
    assert run.size(SUMMARY) is None
    upload.publish()
    assert pull_run(run, tmp_path / "there").notes == ()
    assert (tmp_path / "there" / SUMMARY).exists()
    assert run.read(LOG) == b"the log\n"


class Slow(MemoryFileSystem):  # type: ignore[misc]  # which has no types
    """A bucket that takes nothing until a test lets it."""

    cachable = False
    gate = threading.Event()

    def put_file(self, *arguments: object, **options: object) -> None:
        self.gate.wait()
        super().put_file(*arguments, **options)


def test_a_slow_bucket_holds_up_the_end_and_nothing_before_with_heartbeats(tmp_path: Path) -> None:
    run, here = memory_bucket(Slow()), begin_run(tmp_path / "here", 4)
    upload, beaten = FolderUpload(RunUpload(here, run), TICK), threading.Event()
    # The training itself goes on.
    write_checkpoint(here, 8)

    def heartbeat() -> None:
        beaten.set()
        Slow.gate.set()

    try:
        upload.settle(heartbeat)
    finally:
        Slow.gate.set()
    assert beaten.is_set()
    assert 8 in steps_in_bucket(run)


def test_an_outage_is_noted_and_made_up_for(tmp_path: Path) -> None:
    files = CutFileSystem(MemoryFileSystem(), changes=0)
    run, here = memory_bucket(files), begin_run(tmp_path / "here", 4)
    upload = FolderUpload(RunUpload(here, run), TICK)
    wait_until(lambda: len(read_notes(here)) > 1)
    files.left = float("inf")
    upload.settle()
    assert steps_in_bucket(run) == [4]
    assert "uploads waited for the bucket" in read_notes(here)[-1]


def test_a_result_that_the_bucket_does_not_take_does_not_count(tmp_path: Path) -> None:
    files = CutFileSystem(MemoryFileSystem())
    run, here = memory_bucket(files), begin_run(tmp_path / "here", 4)
    upload = FolderUpload(RunUpload(here, run), TICK)
    upload.settle()
    finish_run(here, 4)
    files.left = 0
    with pytest.raises(BucketUnreachable, match=r"the bucket of the output: .*no more changes.*this machine's disk"):
        upload.publish()
    assert not (here / SUMMARY).exists()


def test_a_disk_that_fails_while_a_result_is_uploaded_leaves_none(tmp_path: Path, monkeypatch) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    upload = FolderUpload(RunUpload(here, run), TICK)
    upload.settle()
    finish_run(here, 4)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RunUpload, "sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        upload.publish()
    assert not (here / SUMMARY).exists()


def test_uploads_go_on_after_a_folder_of_checkpoints_could_not_be_read(tmp_path: Path, monkeypatch) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    whole, failures = RunUpload.sync, iter([CheckpointReadError("cannot be read")])

    def sync(self: RunUpload, **options: bool) -> None:
        for failure in failures:
            raise failure
        whole(self, **options)

    monkeypatch.setattr(RunUpload, "sync", sync)
    upload = FolderUpload(RunUpload(here, run), TICK)
    wait_until(lambda: steps_in_bucket(run) == [4])
    upload.settle()
    assert "cannot be read" in read_notes(here)[-1]


def test_the_end_of_a_failed_attempt_uploads_what_there_is(tmp_path: Path) -> None:
    files = CutFileSystem(MemoryFileSystem())
    run, here = memory_bucket(files), begin_run(tmp_path / "here")
    upload = FolderUpload(RunUpload(here, run), tick=3600.0)
    write_checkpoint(here, 4)
    upload.leave()
    assert steps_in_bucket(run) == [4]
    # What fails then is left to the next attempt.
    files.left = 0
    write_checkpoint(here, 8)
    upload.leave()
    assert steps_in_bucket(run) == [4]


def test_an_attempt_begins_from_what_the_bucket_has(opened: Objects, tmp_path: Path) -> None:
    run = opened.below("trials", "0123")
    RunUpload(begin_run(tmp_path / "here", 4, 8), run).sync()
    run.remove([f"{CHECKPOINTS}/step_00000008/state.pt"])
    there = tmp_path / "there"
    there.mkdir()
    fetch_folder(task_in(there, bucket=bucket_task(opened)))
    assert newest_step(there / CHECKPOINTS) == 4
    (note,) = read_notes(there)
    assert "state.pt: was removed from the bucket" in note


def test_the_worker_that_writes_uploads_and_no_other(opened: Objects, tmp_path: Path) -> None:
    here = begin_run(tmp_path / "here", 4)
    task = task_in(here, bucket=bucket_task(opened))
    assert isinstance(begin_upload(task, writes=False), NoUpload)
    assert isinstance(begin_upload(task_in(here), writes=True), NoUpload)
    upload = begin_upload(task, writes=True)
    upload.settle()
    assert steps_in_bucket(opened.below("trials", "0123")) == [4]


def test_without_a_bucket_nothing_is_fetched(tmp_path: Path) -> None:
    fetch_folder(task_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_want_of_the_bucket_is_an_interruption_with_its_advice(tmp_path: Path) -> None:
    error = BucketUnreachable("the bucket of the output: ExpiredToken")
    write_failure(tmp_path, error, retryable=False)
    failure = read_failure(tmp_path)
    assert failure is not None and failure.is_interruption and not failure.retryable
    assert "credentials" in advise(failure.message)
    assert advise("budget.wall_hours=1 is used up") == "raise the budget"


def test_notes_of_a_training_reach_the_bucket(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    upload = FolderUpload(RunUpload(here, run), TICK)
    add_note(here, "went on with smaller micro-batches")
    upload.settle()
    pull_run(run, tmp_path / "there")
    assert fetch_newest(run, tmp_path / "there") == []
    assert "went on with smaller micro-batches" in read_notes(tmp_path / "there")
