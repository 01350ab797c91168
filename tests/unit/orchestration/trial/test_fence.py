"""Fences: of several attempts in one folder the newest alone reports and ends the training."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fcos.storage.run_folder import MetricPoint, ProgressRecord
from orchestration.leases.lease import Claim, Lease, LeaseState, Superseded, claim_next, expire, read_state
from orchestration.trial import files, worker
from orchestration.trial.failures import FailureKind, has_failed, is_interrupted, read_failure
from orchestration.trial.fence import ReportCheck, begin_fenced, check_fences, is_replaced
from orchestration.trial.task import Task
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.experiments.tasks import task_in
from tests.helpers.memory_objects import MemoryObjects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "trials" / "x"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def lease() -> Lease:
    made = claim_next(MemoryObjects(), "x", LeaseState(), Claim(holder="a", sweep="first", host="one"))
    assert made is not None
    return made


def take_over(lease: Lease) -> None:
    """Begin the training of a lease elsewhere, where its holder was taken for dead."""
    state = expire(lease.objects, "x", read_state(lease.objects, "x"), "b")
    assert claim_next(lease.objects, "x", state, Claim(holder="b", sweep="second", host="two")) is not None


def test_an_attempt_is_current_until_the_next_one_begins(folder: Path) -> None:
    first = begin_fenced(folder)
    first.check()
    second = begin_fenced(folder)
    assert (first.number, second.number) == (1, 2)
    second.check()
    with pytest.raises(Superseded, match="a later attempt than number 1 trains in"):
        first.check()
    assert is_replaced(first) and not is_replaced(second) and not is_replaced(None)


def test_an_attempt_in_a_folder_that_was_made_anew_is_not_taken_for_its_first(folder: Path) -> None:
    before = begin_fenced(folder)
    shutil.rmtree(folder)
    assert is_replaced(before)
    folder.mkdir()
    again = begin_fenced(folder)
    assert again.number == before.number
    again.check()
    assert is_replaced(before)


def test_where_fences_cannot_be_read_the_training_goes_on(folder: Path, lease: Lease) -> None:
    assert isinstance(lease.objects, MemoryObjects)
    lease.objects.broken.add("x/1.end")
    with pytest.raises(OSError, match="Input/output error"):
        lease.check()
    check_fences(begin_fenced(folder), lease)


def test_a_lease_is_checked_at_reports_in_a_small_part_of_the_time(lease: Lease) -> None:
    """Here a check takes 30 s, as it does with a bucket out of reach."""
    now, checked = 0.0, list[float]()

    class Slow(MemoryObjects):
        def read(self, name: str) -> bytes | None:
            nonlocal now
            checked.append(now)
            now += 30.0
            return super().read(name)

    slow = Slow(lease.objects.content)  # type: ignore[attr-defined]  # those of the fixture are in memory
    check = ReportCheck(None, replace(lease, objects=slow), clock=lambda: now)
    while now < 1500.0:
        check()
        now += 1.0
    assert checked == [0.0, 600.0, 1200.0]
    take_over(lease)
    now = 1800.0
    with pytest.raises(Superseded):
        check()


def train(task: Task, monkeypatch: pytest.MonkeyPatch, during: Any = lambda: None) -> None:
    """Train a task, which ends at once with a result; `during` happens while it trains."""

    def run(*_: object) -> Any:
        during()
        return summary_of({"": {"val/AP": 0.5}})

    monkeypatch.setattr(worker, "check_provenance", lambda _: None)
    monkeypatch.setattr(worker, "_run", run)
    runtime: Any = SimpleNamespace(rank=0, heartbeat=lambda: None)
    worker.train(task, lambda: runtime)


def test_a_training_with_a_lease_ends_it_with_its_result(
    folder: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(task_in(folder, attempt=begin_fenced(folder), lease=lease), monkeypatch)
    assert files.read_summary(folder, "x", [""]) is not None
    state = read_state(lease.objects, "x")
    assert state.end is not None and state.end.outcome == "finished"


def test_a_training_that_another_command_has_taken_over_leaves_no_result_and_is_not_tried_again(
    folder: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_in(folder, attempt=begin_fenced(folder), lease=lease)
    with pytest.raises(Superseded, match="sweep second on two trains this now"):
        train(task, monkeypatch, lambda: take_over(lease))
    assert files.read_summary(folder, "x", [""]) is None
    failure = read_failure(folder)
    assert failure is not None and not failure.retryable
    assert has_failed(folder, FailureKind.SUPERSEDED) and is_interrupted(folder)


def test_a_result_of_a_process_that_stood_still_while_another_command_began_is_withdrawn(
    folder: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of its lease and its summary, for so long that its command was taken for dead."""
    write = files.write_summary

    def stand_still(*values: Any) -> None:
        state = read_state(lease.objects, "x")
        assert claim_next(lease.objects, "x", state, Claim(holder="b", sweep="second", host="two")) is not None
        write(*values)

    monkeypatch.setattr(files, "write_summary", stand_still)
    with pytest.raises(Superseded, match="sweep second on two"):
        train(task_in(folder, attempt=begin_fenced(folder), lease=lease), monkeypatch)
    assert files.read_summary(folder, "x", [""]) is None


def test_an_attempt_that_a_later_one_has_replaced_leaves_nothing_in_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_in(folder, attempt=begin_fenced(folder))
    with pytest.raises(Superseded):
        train(task, monkeypatch, lambda: begin_fenced(folder))
    assert files.read_summary(folder, "x", [""]) is None
    assert read_failure(folder) is None, "the later attempt has not failed"


def test_a_worker_reports_no_point_of_a_replaced_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.train

    reported: list[object] = []
    monkeypatch.setattr(ray.train, "report", reported.append)
    task = task_in(folder, attempt=begin_fenced(folder))
    runtime = worker.RayRuntime(
        folder, torch.device("cpu"), 0, 2, 2, on_heartbeat=lambda: None, check=ReportCheck(task.attempt, task.lease)
    )
    record = ProgressRecord(1, 10, 0.1, 0, (MetricPoint(None, "train/loss", 1, 2.5),))
    runtime.report(record)
    begin_fenced(folder)
    with pytest.raises(Superseded):
        runtime.report(record)
    assert len(reported) == 1
    assert (folder / "points.jsonl").read_text().count("\n") == 1
