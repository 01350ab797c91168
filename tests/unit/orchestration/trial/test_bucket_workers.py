"""Several workers on machines that share a bucket and no folder: what they, their trial and the bucket exchange."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fcos.distributed
from fcos.storage.bucket.manifest import read_index
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import digest, newest_step, steps_in, verify
from fcos.storage.run_folder import CHECKPOINTS, POINTS, STOP
from orchestration.experiment.provenance import ProvenanceDiffers
from orchestration.leases.lease import Superseded
from orchestration.trial import bucket_folder, files, retries, worker
from orchestration.trial.bucket_folder import (
    fence_attempt,
    leave_machine,
    mark_folder,
    on_this_machine,
    open_written,
    sees_driver,
)
from orchestration.trial.bucket_workers import exchanged, join_workers, on_worker, ray_folder
from orchestration.trial.failures import (
    BucketUnreachable,
    DiskFull,
    FailureKind,
    OutOfMemory,
    WorkerFailed,
    read_failure,
    write_failure,
)
from orchestration.trial.fence import ReportCheck, is_replaced
from orchestration.trial.task import Task
from tests.helpers.bucket_runs import add_points, begin_run, bucket_task, write_checkpoint
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.experiments.tasks import task_in

Machine = Callable[[str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Goes on as on the machine of a name, which has a cache of its own."""
    return lambda name: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


@pytest.fixture
def run(opened: Objects, tmp_path: Path) -> Objects:
    """The training's objects, of which the driver has uploaded what there is before an attempt."""
    found = opened.below("trials", "0123")
    RunUpload(begin_run(tmp_path / "driver"), found).sync()
    return found


@pytest.fixture
def task(opened: Objects, tmp_path: Path) -> Task:
    """A task of two workers as the driver makes it."""
    return task_in(tmp_path / "driver", on_workers=True, bucket=bucket_task(opened, is_joined=True))


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Runtimes of workers that join one after the other, rank 0 first."""
    sent: list[Any] = []

    def broadcast(value: Any, _: torch.device) -> Any:
        if value is not None:
            sent.append(value)
        return sent[-1] if sent else None

    monkeypatch.setattr(fcos.distributed, "broadcast_object", broadcast)
    return lambda rank: SimpleNamespace(rank=rank, device=torch.device("cpu"), heartbeat=lambda: None)


def begin(task: Task) -> Task:
    """The attempt of a trial in its own process."""
    here = on_this_machine(task)
    return replace(here, attempt=fence_attempt(here))


def upload(task: Task) -> None:
    """What rank 0 does beside its steps."""
    RunUpload(Path(task.folder), open_written(task)).sync()


def fail(error: Exception, *, retryable: bool = True, folder: Path) -> WorkerFailed:
    """The error that a worker raises, with the failure that it has recorded in a folder of its own."""
    folder.mkdir()
    return WorkerFailed(write_failure(folder, error, retryable=retryable))


class GroupError(RuntimeError):
    """As Ray Train raises it for a group of workers."""

    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("Training failed due to worker errors")
        self.worker_failures = worker_failures


def test_each_machine_has_a_folder_of_its_own(task: Task, run: Objects, machine: Machine) -> None:
    machine("head")
    trial = on_this_machine(task)
    machine("one")
    found = on_worker(trial)
    assert Path(found.folder).is_dir() and found.folder != trial.folder
    assert on_worker(replace(trial, on_workers=False)).folder == trial.folder


def test_records_of_the_trial_reach_the_workers_and_theirs_reach_the_trial(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any]
) -> None:
    run.write(STOP, b"")
    machine("head")
    trial = begin(task)
    files.write_json(Path(trial.folder) / "attempts.json", {"command": "one", "accumulate": 2})
    with exchanged(trial):
        machine("one")
        there = on_worker(trial)
        join_workers(there, ranks(0))
        folder = Path(there.folder)
        assert retries.accumulate_of(replace(there, demand=replace(task.demand, workers=2))) == 2
        assert not (folder / STOP).exists(), "that was for an attempt before"
        add_points(folder, 4)
        files.add_note(folder, "a note of a worker")
        upload(there)
        machine("head")
    assert [point.step for point in files.read_points(Path(trial.folder))] == [4]
    assert "a note of a worker" in files.read_notes(Path(trial.folder))


def test_a_request_to_stop_an_earlier_attempt_is_withdrawn_also_where_the_trial_runs_beside_the_driver(
    task: Task, run: Objects, machine: Machine
) -> None:
    machine("head")
    sweep = Path(on_worker(task).folder).parents[1]
    mark_folder(sweep, task.command_id)
    run.write(STOP, b"")
    trial = begin(task)
    assert sees_driver(trial)
    with exchanged(trial):
        assert run.read_if_there(STOP) is None


def test_a_request_to_stop_and_the_notes_of_the_sweep_reach_a_worker_that_begins(
    task: Task, run: Objects, opened: Objects, machine: Machine, ranks: Callable[[int], Any]
) -> None:
    machine("one")
    there = on_worker(task)
    run.write(STOP, b"")
    opened.write("notes.txt", b"of the data\n")
    join_workers(there, ranks(0))
    assert (Path(there.folder) / STOP).exists()
    assert files.read_sweep_notes(Path(there.folder)) == ["of the data"]


def test_all_workers_go_on_from_the_checkpoint_that_rank_0_chooses(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "driver", 4)
    RunUpload(tmp_path / "driver", run).sync()
    machine("one")
    first = on_worker(task)
    join_workers(first, ranks(0))
    # On this machine alone: its process was killed before it was uploaded.
    newest = write_checkpoint(Path(first.folder), 8)
    join_workers(first, ranks(0))
    assert [each.step for each in read_index(run)[0].own] == [8, 4]
    machine("two")
    second = on_worker(task)
    mine = write_checkpoint(Path(second.folder), 8, text="of another attempt")
    write_checkpoint(Path(second.folder), 12, text="of another attempt")
    join_workers(second, ranks(1))
    assert digest(mine) == digest(newest)
    verify(mine)


def test_a_damaged_copy_of_the_chosen_checkpoint_is_fetched_again(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "driver", 4)
    RunUpload(tmp_path / "driver", run).sync()
    for name, rank in (("one", 0), ("two", 1)):
        machine(name)
        there = on_worker(task)
        join_workers(there, ranks(rank))
    copy = Path(there.folder) / CHECKPOINTS / "step_00000004"
    (copy / "state.pt").write_bytes(b"")
    join_workers(there, ranks(1))
    verify(copy)


def test_a_checkpoint_that_the_bucket_lost_meanwhile_ends_the_attempt_and_may_be_tried_again(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "driver", 4)
    RunUpload(tmp_path / "driver", run).sync()
    machine("one")
    join_workers(on_worker(task), ranks(0))
    run.remove([f"{CHECKPOINTS}/step_00000004/state.pt"])
    machine("two")
    with pytest.raises(
        RuntimeError, match=r"state\.pt: was removed from the bucket; the other workers .* go on from it"
    ):
        join_workers(on_worker(task), ranks(1))


def test_workers_begin_without_a_checkpoint_where_there_is_none(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any]
) -> None:
    for name, rank in (("one", 0), ("two", 1)):
        machine(name)
        there = on_worker(task)
        join_workers(there, ranks(rank))
        assert newest_step(Path(there.folder) / CHECKPOINTS) == 0


def test_the_failure_of_a_worker_travels_with_its_error(
    task: Task,
    run: Objects,
    opened: Objects,
    machine: Machine,
    ranks: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_out(here: Task, _: object) -> None:
        assert files.read_sweep_notes(Path(here.folder)) == ["of the data"], "the worker has joined the others"
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(worker, "check_provenance", lambda _: None)
    monkeypatch.setattr(worker, "_run", run_out)
    machine("head")
    trial = begin(task)
    opened.write("notes.txt", b"of the data\n")
    with pytest.raises(GroupError), exchanged(trial):
        machine("one")
        with pytest.raises(WorkerFailed) as raised:
            worker.train(on_worker(trial), lambda: ranks(0))
        machine("head")
        raise GroupError({0: pickle.loads(pickle.dumps(raised.value))})
    failure = read_failure(Path(trial.folder))
    assert failure is not None and failure.kind is FailureKind.OUT_OF_MEMORY and failure.retryable
    assert "CUDA out of memory" in failure.message


def test_the_failure_that_an_error_carries_counts_before_one_that_rank_0_uploaded(
    task: Task, run: Objects, machine: Machine, tmp_path: Path
) -> None:
    machine("head")
    trial = begin(task)
    with pytest.raises(GroupError), exchanged(trial):
        machine("one")
        there = on_worker(trial)
        write_failure(Path(there.folder), RuntimeError("Connection closed by peer"), retryable=True)
        upload(there)
        machine("head")
        raise GroupError({1: fail(OutOfMemory("no memory"), folder=tmp_path / "a")})
    failure = read_failure(Path(trial.folder))
    assert failure is not None and failure.kind is FailureKind.OUT_OF_MEMORY


def test_a_worker_with_other_code_is_not_tried_again(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(_: object) -> None:
        raise ProvenanceDiffers("other code")

    monkeypatch.setattr(worker, "check_provenance", differ)
    machine("one")
    with pytest.raises(WorkerFailed, match="other code") as raised:
        worker.train(on_worker(task), lambda: ranks(1))
    assert not raised.value.failure.retryable


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_several_failures_the_one_that_is_treated_in_a_way_of_its_own_counts(
    task: Task, run: Objects, machine: Machine, tmp_path: Path, order: tuple[int, int]
) -> None:
    machine("head")
    trial = begin(task)
    errors: list[Exception] = [
        fail(RuntimeError("Connection closed by peer"), folder=tmp_path / "a"),
        fail(DiskFull("no space left"), retryable=False, folder=tmp_path / "b"),
    ]
    with pytest.raises(GroupError), exchanged(trial):
        raise GroupError({rank: errors[which] for rank, which in enumerate(order)})
    failure = read_failure(Path(trial.folder))
    assert failure is not None and failure.kind is FailureKind.DISK_FULL and not failure.retryable


def test_a_failure_is_known_where_the_bucket_is_out_of_reach_by_then(
    task: Task, run: Objects, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("head")
    trial = begin(task)

    def unreachable(*_: object) -> None:
        raise BucketUnreachable("gone")

    error = fail(BucketUnreachable("the bucket of the output: gone"), retryable=False, folder=tmp_path / "a")
    with pytest.raises(GroupError), exchanged(trial):
        monkeypatch.setattr(bucket_folder, "open_objects", unreachable)
        raise GroupError({0: error})
    failure = read_failure(Path(trial.folder))
    assert failure is not None and failure.is_interruption and "the bucket of the output" in failure.message


def test_where_the_error_has_no_failure_the_one_that_rank_0_uploaded_stays(
    task: Task, run: Objects, machine: Machine, tmp_path: Path
) -> None:
    machine("head")
    trial = begin(task)
    with pytest.raises(GroupError), exchanged(trial):
        machine("one")
        there = on_worker(trial)
        write_failure(Path(there.folder), OutOfMemory("no memory"), retryable=True)
        upload(there)
        machine("head")
        raise GroupError({1: RuntimeError("the worker died")})
    failure = read_failure(Path(trial.folder))
    assert failure is not None and failure.kind is FailureKind.OUT_OF_MEMORY


def test_the_trial_leaves_its_records_in_the_bucket_and_nothing_older_than_its_workers(
    task: Task, run: Objects, machine: Machine, ranks: Callable[[int], Any]
) -> None:
    machine("head")
    trial = begin(task)
    with pytest.raises(GroupError), exchanged(trial):
        machine("one")
        there = on_worker(trial)
        join_workers(there, ranks(0))
        add_points(Path(there.folder), 4)
        upload(there)
        machine("head")
        raise GroupError({})
    machine("one")
    # A moment later, as the worker was about to end.
    add_points(Path(there.folder), 8)
    upload(there)
    machine("head")
    write_failure(Path(trial.folder), RuntimeError("a worker died"), retryable=True)
    leave_machine(trial)
    assert run.read(POINTS).count(b"\n") == 2
    assert b"a worker died" in run.read("failure.json")


def test_an_attempt_that_a_later_one_has_replaced_reports_and_uploads_nothing(
    task: Task, run: Objects, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("head")
    first = begin(task)
    machine("one")
    there = on_worker(first)
    check = ReportCheck(first.attempt, None, clock=lambda: 0.0)
    check()
    upload(there)
    machine("two")
    second = begin(task)
    assert (first.attempt and first.attempt.number, second.attempt and second.attempt.number) == (1, 2)
    assert is_replaced(first.attempt) and not is_replaced(second.attempt)
    machine("one")
    with pytest.raises(Superseded, match="a later attempt than number 1"):
        ReportCheck(first.attempt, None)()
    add_points(Path(there.folder), 4)
    with pytest.raises(OSError, match="another command or attempt has taken over"):
        upload(there)
    assert run.size(POINTS) is None
    monkeypatch.setattr(worker, "check_provenance", lambda _: None)
    monkeypatch.setattr(worker, "_run", lambda *_: summary_of({"": {"val/AP": 0.5}}))
    with pytest.raises(Superseded):
        worker.train(there, lambda: SimpleNamespace(rank=0))
    assert read_failure(Path(there.folder)) is None, "the later attempt has not failed"


def test_ray_has_a_folder_of_the_trials_machine_alone_which_goes_with_the_attempt(task: Task, tmp_path: Path) -> None:
    with ray_folder(task) as found:
        assert Path(found).is_dir() and found != task.ray_folder
    assert not Path(found).exists()
    with ray_folder(replace(task, bucket=None)) as found:
        assert found == task.ray_folder


def test_workers_that_share_the_folder_of_their_trial_exchange_nothing(tmp_path: Path) -> None:
    here = task_in(tmp_path, on_workers=True)
    with pytest.raises(GroupError), exchanged(here):
        raise GroupError({0: fail(DiskFull("full"), folder=tmp_path / "a")})
    assert read_failure(tmp_path) is None
    assert steps_in(tmp_path / CHECKPOINTS) == frozenset()
