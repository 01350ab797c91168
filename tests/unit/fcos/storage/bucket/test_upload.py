"""Uploads of a run: what counts in the bucket is whole at every moment, whatever ends the process that writes it."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.storage.bucket.faults import BucketError
from fcos.storage.bucket.fetch import fetch_newest, fetch_results, pull_run
from fcos.storage.bucket.manifest import OBJECTS, RunIndex, read_index
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.run_files import BEST
from fcos.storage.bucket.upload import UPLOADING, RunUpload
from fcos.storage.checkpoint_folder import folder_of, newest_step, remove, steps_in
from fcos.storage.run_folder import CHECKPOINTS, FAILURE, FORKS, POINTS, SUMMARY, TRAINING_ID
from tests.helpers.bucket_runs import (
    EVALUATION,
    CutFileSystem,
    add_points,
    begin_run,
    finish_run,
    memory_bucket,
    write_checkpoint,
)


def elsewhere(run: Objects, folder: Path) -> tuple[int, list[str]]:
    """Go on with a run on a host that has nothing of it; the step of its checkpoint, and the notes."""
    pulled = pull_run(run, folder)
    notes = [*pulled.notes, *fetch_newest(run, folder)]
    return newest_step(folder / CHECKPOINTS), notes


def index_of(run: Objects) -> RunIndex:
    return read_index(run)[0]


def test_a_run_goes_on_elsewhere_from_its_newest_checkpoint(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4, 8)
    RunUpload(here, run).sync()
    assert elsewhere(run, tmp_path / "there") == (8, [])
    there = tmp_path / "there"
    for name in (POINTS, TRAINING_ID, f"{CHECKPOINTS}/step_00000008/state.pt"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert steps_in(there / CHECKPOINTS) == {8}, "older ones are not fetched"


def test_nothing_is_uploaded_twice(tmp_path: Path) -> None:
    files = CutFileSystem(MemoryFileSystem())
    run, here = memory_bucket(files), begin_run(tmp_path / "here", 4)
    upload = RunUpload(here, run)
    upload.sync()
    made = files.made
    upload.sync()
    RunUpload(here, run).sync()
    assert files.made == made


def test_of_a_checkpoint_the_manifest_comes_after_its_payload_and_the_index_last(tmp_path: Path) -> None:
    files = CutFileSystem(MemoryFileSystem())
    RunUpload(begin_run(tmp_path / "here", 4), memory_bucket(files)).sync()
    names = ["/".join(path.split("/")[2:]) for name, path in files.log if name != "rm_file"]
    checkpoint = f"{CHECKPOINTS}/step_00000004"
    payload = [name for name in names if name.startswith(checkpoint) and not name.endswith(OBJECTS)]
    assert len(payload) == 4
    assert names.count(OBJECTS) == 1
    order = [names.index(name) for name in (POINTS, *payload, f"{checkpoint}/{OBJECTS}", OBJECTS)]
    assert order == sorted(order)


def changes_of_second_sync(tmp_path: Path) -> int:
    files = CutFileSystem(MemoryFileSystem())
    _second_sync(tmp_path, files)
    return files.made


def _second_sync(tmp_path: Path, files: CutFileSystem) -> tuple[Objects, Path]:
    """A run with the checkpoints of steps 4 and 8 in the bucket, to which step 12 and the result are added."""
    plain = memory_bucket()
    here = begin_run(tmp_path / "here", 4, 8)
    RunUpload(here, plain).sync()
    add_points(here, 12)
    write_checkpoint(here, 12)
    remove(folder_of(here / CHECKPOINTS, 4))
    finish_run(here, 12)
    try:
        RunUpload(here, replace(plain, filesystem=files)).sync()
    except BucketError:
        assert files.left == 0
    return plain, here


def test_whatever_change_is_the_last_one_nothing_half_is_taken_for_whole(tmp_path: Path) -> None:
    made = changes_of_second_sync(tmp_path / "whole")
    assert made > 10
    steps = []
    for changes in range(made + 1):
        folder = tmp_path / str(changes)
        run, here = _second_sync(folder, CutFileSystem(MemoryFileSystem(), changes))
        there = folder / "there"
        step, notes = elsewhere(run, there)
        # At most the one checkpoint that was on its way is done again.
        assert step in (8, 12), (changes, notes)
        path = f"{CHECKPOINTS}/step_{step:08d}/state.pt"
        assert (there / path).read_bytes().startswith(f"state of step {step} ".encode())
        assert max(json.loads(line)[2] for line in (there / POINTS).read_text().splitlines()) >= step
        if (there / SUMMARY).exists():
            assert step == 12
            assert fetch_results(run, there, _summary(there)) == []
            assert (there / EVALUATION).read_bytes() == b"the detections"
        steps.append(step)
        # And the same process, or another on this host, brings it to its end.
        RunUpload(here, run).sync()
        assert elsewhere(run, folder / "later") == (12, [])
        assert (folder / "later" / SUMMARY).exists()
    assert steps == sorted(steps) and set(steps) == {8, 12}


def _summary(folder: Path):
    from fcos.storage.summary_file import read_finished_run

    return read_finished_run(folder).summary


def test_whatever_change_is_the_last_one_of_a_removal_nothing_half_is_listed(tmp_path: Path) -> None:
    for changes in range(12):
        run, here = memory_bucket(), begin_run(tmp_path / f"here{changes}", 4, 8)
        RunUpload(here, run).sync()
        try:
            RunUpload(here, replace(run, filesystem=CutFileSystem(MemoryFileSystem(), changes))).remove_checkpoints()
        except BucketError:
            step, notes = elsewhere(run, tmp_path / f"there{changes}")
            assert step == (8 if changes == 0 else 0) and notes == [], (changes, notes)
        else:
            assert run.list(CHECKPOINTS) == []
            break
    else:
        pytest.fail("never removed to the end")


def test_checkpoints_that_the_training_removed_go_and_one_behind_the_newest_stays(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here")
    upload = RunUpload(here, run)
    for step in (4, 8, 12, 16):
        write_checkpoint(here, step)
        remove(folder_of(here / CHECKPOINTS, step - 4))
        upload.sync()
    assert [each.step for each in index_of(run).own] == [16, 12]
    assert {name.split("/")[1] for name in run.list(CHECKPOINTS)} == {"step_00000012", "step_00000016"}


def test_the_best_checkpoint_stays_and_comes_along(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here")
    upload = RunUpload(here, run)
    for step in (4, 8, 12, 16):
        write_checkpoint(here, step)
        (here / BEST).write_text(json.dumps({"metric": "val/AP", "step": 4, "value": 0.5}))
        if step > 8:
            remove(folder_of(here / CHECKPOINTS, step - 4))
        upload.sync()
    assert [each.step for each in index_of(run).own] == [16, 12, 4]
    assert elsewhere(run, tmp_path / "there") == (16, [])
    assert steps_in(tmp_path / "there" / CHECKPOINTS) == {4, 16}


def test_forks_are_removed_but_those_that_are_kept(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 8)
    for step in (4, 6):
        write_checkpoint(here, step, FORKS)
    RunUpload(here, run).sync()
    RunUpload(here, run).remove_checkpoints(forks_but=frozenset({6}))
    assert sorted(each.folder for each in index_of(run).checkpoints) == [
        f"{CHECKPOINTS}/step_00000008",
        f"{FORKS}/step_00000006",
    ]


def test_a_checkpoint_of_the_same_step_replaces_the_one_before(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4, 8)
    upload = RunUpload(here, run)
    upload.sync()
    remove(folder_of(here / CHECKPOINTS, 8))
    write_checkpoint(here, 8, text="once more")
    upload.sync()
    assert elsewhere(run, tmp_path / "there") == (8, [])
    state = (tmp_path / "there" / CHECKPOINTS / "step_00000008" / "state.pt").read_bytes()
    assert state.startswith(b"state of step 8 once more")


def test_a_checkpoint_that_is_removed_before_its_turn_is_counted(tmp_path: Path, monkeypatch) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4, 8)
    upload = RunUpload(here, run)
    whole = RunUpload._upload_checkpoint

    def slow(self: RunUpload, path: Path, name: str, index: RunIndex):
        done = whole(self, path, name, index)
        # Meanwhile the training goes on.
        remove(folder_of(here / CHECKPOINTS, 4))
        return done

    monkeypatch.setattr(RunUpload, "_upload_checkpoint", slow)
    upload.sync()
    assert upload.num_skipped == 1
    assert [each.step for each in index_of(run).own] == [8]


def test_a_disk_that_takes_no_copy_is_an_error_and_no_checkpoint_is_passed_over(tmp_path: Path, monkeypatch) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    upload = RunUpload(here, run)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.link", fail)
        patch.setattr("shutil.copyfile", fail)
        with pytest.raises(OSError, match="No space left"):
            upload.sync()
    assert upload.num_skipped == 0 and list((here / UPLOADING).iterdir()) == []
    upload.sync()
    assert [each.step for each in index_of(run).own] == [4]


def test_a_training_that_begins_anew_replaces_the_old_one(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "old", 4, 8)
    finish_run(here, 8)
    RunUpload(here, run).sync()
    anew = begin_run(tmp_path / "anew", 4)
    RunUpload(anew, run).sync()
    assert elsewhere(run, tmp_path / "there") == (4, [])
    assert not (tmp_path / "there" / SUMMARY).exists()
    assert run.size(SUMMARY) is None


def test_a_file_that_is_removed_here_goes_and_one_that_never_was_here_stays(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    (here / FAILURE).write_text("{}")
    RunUpload(here, run).sync()
    elsewhere(run, tmp_path / "there")
    (tmp_path / "there" / FAILURE).unlink()
    RunUpload(tmp_path / "there", run).sync()
    assert index_of(run).file(FAILURE) is None
    # A folder that was never in step with the bucket.
    RunUpload(tmp_path / "empty", run).sync()
    assert index_of(run).file(POINTS) is not None


def test_who_has_lost_the_lock_changes_nothing_that_counts(tmp_path: Path) -> None:
    run, here = memory_bucket(), begin_run(tmp_path / "here", 4)
    RunUpload(here, run).sync()
    before = index_of(run)

    def refuse() -> None:
        raise BucketError("another command has taken over")

    write_checkpoint(here, 8)
    with pytest.raises(BucketError, match="taken over"):
        RunUpload(here, run.checked(refuse)).sync()
    assert index_of(run) == before
    assert elsewhere(run, tmp_path / "there") == (4, [])
