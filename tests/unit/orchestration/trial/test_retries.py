"""Want of memory is told from other failures, costs none of them, and is answered once with half the micro-batch."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.errors import ConfigError
from orchestration.cluster.resources import Demand
from orchestration.driver.watchdogs import Stalled
from orchestration.experiment.provenance import Evidence
from orchestration.trial import files, retries
from orchestration.trial.retries import (
    OutOfMemory,
    accumulate_of,
    begin,
    close,
    halved,
    is_out_of_memory,
    judge,
    memory_tags,
)
from orchestration.trial.task import Task

CONFIG: dict[str, Any] = {
    "task": "train",
    "schedule": {"batch_size": 8, "accumulate": 1},
    "model": {
        **{part: {"norm": "none"} for part in ("backbone", "fpn", "head")},
        "assignment": {"kind": "fcos"},
    },
}


def task_in(folder: Path, *, command: str = "one", max_failures: int = 1, workers: int = 1) -> Task:
    return Task(
        place=0,
        identity="x",
        folder=str(folder),
        ray_folder=str(folder),
        config=CONFIG,
        arms={},
        evidence=Evidence("", {}),
        data_digest="",
        demand=Demand(workers, 1, 0, "cpu"),
        on_workers=workers > 1,
        command=command,
        max_failures=max_failures,
        stall_seconds=None,
    )


def attempt(task: Task, error: BaseException | None, *, final: bool = False) -> bool:
    """An attempt that fails; without an error its process dies. Whether there is another."""
    folder = Path(task.folder)
    if not begin(task, "here"):
        return False
    files.clear_failure(folder)
    if error is None:
        return True
    files.write_failure(folder, error, final=final)
    return judge(task, "here")


def cuda_error() -> BaseException:
    return RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")


def cpu_error() -> BaseException:
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("the machine has an exbibyte")


def of_a_worker() -> BaseException:
    error = RuntimeError("Training failed due to worker errors:")
    error.worker_failures = {1: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")}  # type: ignore[attr-defined]
    return error


def wrapped() -> BaseException:
    error = ValueError("caught in a data loader")
    error.__cause__ = MemoryError()
    return error


@pytest.mark.parametrize(
    "make",
    [
        cpu_error,
        cuda_error,
        of_a_worker,
        wrapped,
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
        lambda: RuntimeError("std::bad_alloc"),
    ],
)
def test_every_word_for_it_is_known(make: Any) -> None:
    assert is_out_of_memory(make())


def test_ray_s_own_error_is_known() -> None:
    from ray.exceptions import OutOfMemoryError

    assert is_out_of_memory(OutOfMemoryError("Task was killed due to the node running low on memory."))


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), OSError(errno.ENOSPC, "No space left"), ConfigError("out of memory")]
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_it_is_answered_with_half_the_micro_batch_once_and_then_named(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=0)
    assert accumulate_of(task) == 1
    assert attempt(task, OutOfMemory("x"))
    assert accumulate_of(task) == 2
    (note,) = files.read_notes(tmp_path)
    assert note == "out of memory with micro-batches of 8 images: it went on with 4 (schedule.accumulate=2)"
    assert not attempt(task, OutOfMemory("x"))
    reason = files.reason_of(tmp_path)
    assert reason.startswith(
        "out of memory with micro-batches of 4 images and of 8 "
        "(schedule.batch_size=8, schedule.accumulate=2, cluster.workers=1); "
    )
    assert "log:" not in reason


def test_later_commands_keep_it_and_may_halve_again(tmp_path: Path) -> None:
    attempt(task_in(tmp_path), OutOfMemory("x"))
    later = task_in(tmp_path, command="two")
    assert attempt(later, OutOfMemory("x"))
    assert accumulate_of(later) == 4
    assert memory_tags(tmp_path, CONFIG) == {"fcos.accumulate": "4"}
    norms = {**CONFIG, "model": {**CONFIG["model"], "fpn": {"norm": "bn"}}}
    assert memory_tags(tmp_path, norms)["fcos.inexact"] == "micro-batches of batch norm"
    # Three workers cannot share what one can.
    assert accumulate_of(replace(later, demand=Demand(3, 1, 0, "cpu"))) == 1


def test_a_micro_batch_of_one_image_a_worker_cannot_be_halved(tmp_path: Path) -> None:
    assert halved(CONFIG, 4, [1]) == 8
    assert halved(CONFIG, 4, [1, 2]) is None
    assert halved({**CONFIG, "task": "coverage"}, 1, [1]) is None
    # Which assigns by the outputs of all images of a step.
    assert halved({**CONFIG, "model": {**CONFIG["model"], "assignment": {"kind": "simota"}}}, 1, [1]) is None
    assert not attempt(task_in(tmp_path, workers=8), OutOfMemory("x"))
    assert ", cluster.workers=8), which cannot be halved; " in files.reason_of(tmp_path)


def test_it_costs_none_of_the_failures_that_are_allowed(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=1)
    assert attempt(task, OutOfMemory("x"))
    assert attempt(task, RuntimeError("connection lost"))
    assert not attempt(task, RuntimeError("connection lost"))


def test_a_death_without_a_word_is_a_failure_at_the_next_begin(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=1)
    assert attempt(task, None)
    assert attempt(task, None)
    assert not begin(task, "here")
    assert begin(task_in(tmp_path, command="two"), "here")


def test_one_that_the_kernel_killed_for_memory_is_told_by_its_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
    monkeypatch.setattr(retries, "VMSTAT", vmstat)
    task = task_in(tmp_path, max_failures=0)
    assert begin(task, "here")
    vmstat.write_text("nr_free_pages 1\noom_kill 4\n")
    assert begin(task, "here")
    assert accumulate_of(task) == 2
    # Elsewhere the count says nothing, and the one failure is one too many.
    vmstat.write_text("nr_free_pages 1\noom_kill 5\n")
    assert not begin(task, "there")


def test_an_end_for_good_is_not_followed_by_another(tmp_path: Path) -> None:
    assert not attempt(task_in(tmp_path, max_failures=5), ConfigError("wrong"), final=True)


def test_a_stall_is_a_failure_even_where_memory_was_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_in(tmp_path, max_failures=1)
    begin(task, "here")
    monkeypatch.setattr(retries, "kernel_kills", lambda: 10**9)
    files.write_failure(tmp_path, Stalled("no progress"), final=False)
    assert begin(task, "here")
    assert accumulate_of(task) == 1


def test_what_ended_well_is_not_judged(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=0)
    begin(task, "here")
    close(task)
    assert begin(task, "here")


def test_the_record_of_another_version_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / retries.ATTEMPTS).write_text('{"surprise": 1}')
    assert retries.read_attempts(tmp_path) == retries.Attempts()
