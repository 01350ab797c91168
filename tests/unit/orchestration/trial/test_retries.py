"""Want of memory is told from other failures, costs none of them, and is answered once with half the micro-batch."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse, with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage.run_folder import ATTEMPTS
from orchestration.cluster.resources import Demand
from orchestration.trial import files, retries
from orchestration.trial.failures import (
    OutOfMemory,
    Stalled,
    clear_failure,
    failure_reason,
    is_out_of_memory,
    write_failure,
)
from orchestration.trial.retries import (
    accumulate_of,
    begin_attempt,
    end_attempt,
    halved,
    memory_tags,
    should_retry,
)
from orchestration.trial.task import MicroBatching, Task
from tests.helpers.experiments.tasks import BATCHING, task_in


def attempt(task: Task, error: BaseException | None, *, retryable: bool = True) -> bool:
    """An attempt that fails; without an error its process dies. Whether there is another."""
    folder = Path(task.folder)
    if not begin_attempt(task, "here"):
        return False
    clear_failure(folder)
    if error is None:
        return True
    write_failure(folder, error, retryable=retryable)
    return should_retry(task, "here")


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
def test_every_message_of_a_failed_allocation_is_known(make: Any) -> None:
    assert is_out_of_memory(make())


def test_ray_s_error_of_its_memory_monitor_is_known() -> None:
    from ray.exceptions import OutOfMemoryError

    assert is_out_of_memory(OutOfMemoryError("Task was killed due to the node running low on memory."))


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), OSError(errno.ENOSPC, "No space left"), ConfigError("out of memory")]
)
def test_errors_without_a_failed_allocation_are_not_out_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_out_of_memory_halves_the_micro_batch_once_and_is_named_then(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=0)
    assert accumulate_of(task) == 1
    assert attempt(task, OutOfMemory("x"))
    assert accumulate_of(task) == 2
    (note,) = files.read_notes(tmp_path)
    assert note == "out of memory with micro-batches of 8 images: it went on with 4 (schedule.accumulate=2)"
    assert not attempt(task, OutOfMemory("x"))
    reason = failure_reason(tmp_path)
    assert reason.startswith(
        "out of memory with micro-batches of 4 images and of 8 "
        "(schedule.batch_size=8, schedule.accumulate=2, cluster.workers=1); "
    )
    assert "log:" not in reason


def test_later_commands_keep_the_smaller_micro_batch_and_may_halve_again(tmp_path: Path) -> None:
    attempt(task_in(tmp_path), OutOfMemory("x"))
    later = task_in(tmp_path, command_id="two")
    assert attempt(later, OutOfMemory("x"))
    assert accumulate_of(later) == 4
    assert memory_tags(tmp_path, BATCHING) == {"fcos.accumulate": "4"}
    assert memory_tags(tmp_path, replace(BATCHING, decides=True))["fcos.inexact"] == "micro-batches of batch norm"
    # Three workers cannot share what one can.
    assert accumulate_of(replace(later, demand=Demand(3, 1, 0, "cpu"))) == 1


def test_a_micro_batch_of_one_image_a_worker_cannot_be_halved(tmp_path: Path) -> None:
    assert halved(BATCHING, 4, [1]) == 8
    assert halved(BATCHING, 4, [1, 2]) is None
    assert halved(replace(BATCHING, divisible=False), 1, [1]) is None
    assert not attempt(task_in(tmp_path, demand=Demand(8, 1, 0, "cpu")), OutOfMemory("x"))
    assert ", cluster.workers=8), which cannot be halved; " in failure_reason(tmp_path)


def test_out_of_memory_costs_no_allowed_failure(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=1)
    assert attempt(task, OutOfMemory("x"))
    assert attempt(task, RuntimeError("connection lost"))
    assert not attempt(task, RuntimeError("connection lost"))


def test_a_death_without_a_word_is_a_failure_at_the_next_begin(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=1)
    assert attempt(task, None)
    assert attempt(task, None)
    assert not begin_attempt(task, "here")
    assert begin_attempt(task_in(tmp_path, command_id="two"), "here")


def test_one_that_the_kernel_killed_for_memory_is_recognised_by_its_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
    monkeypatch.setattr(retries, "VMSTAT", vmstat)
    task = task_in(tmp_path, max_failures=0)
    assert begin_attempt(task, "here")
    vmstat.write_text("nr_free_pages 1\noom_kill 4\n")
    assert begin_attempt(task, "here")
    assert accumulate_of(task) == 2
    # Elsewhere the count says nothing, and the one failure is one too many.
    vmstat.write_text("nr_free_pages 1\noom_kill 5\n")
    assert not begin_attempt(task, "there")


def test_an_end_for_good_is_not_followed_by_another(tmp_path: Path) -> None:
    assert not attempt(task_in(tmp_path, max_failures=5), ConfigError("wrong"), retryable=False)


def test_a_stall_is_a_failure_even_where_memory_was_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_in(tmp_path, max_failures=1)
    begin_attempt(task, "here")
    monkeypatch.setattr(retries, "kernel_kills", lambda: 10**9)
    write_failure(tmp_path, Stalled("no progress"), retryable=True)
    assert begin_attempt(task, "here")
    assert accumulate_of(task) == 1


def test_an_attempt_that_ended_well_is_no_failure_at_the_next_start(tmp_path: Path) -> None:
    task = task_in(tmp_path, max_failures=0)
    begin_attempt(task, "here")
    end_attempt(task)
    assert begin_attempt(task, "here")


def test_the_record_of_another_version_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ATTEMPTS).write_text('{"surprise": 1}')
    assert retries.read_attempts(tmp_path) == retries.Attempts()


@pytest.mark.parametrize(
    ("changes", "divisible", "decides"),
    [
        ({"model.backbone.norm": "frozen_bn", "model.head.norm": "gn", "model.fpn.norm": "none"}, True, False),
        ({"model.backbone.norm": "frozen_bn", "model.head.norm": "gn", "model.fpn.norm": "bn"}, True, True),
        # It assigns by the outputs of all images of a step.
        ({"model.assignment.kind": "simota"}, False, True),
    ],
)
def test_micro_batching_follows_from_the_config(
    tiny_values: dict[str, Any], changes: dict[str, Any], divisible: bool, decides: bool
) -> None:
    batching = MicroBatching.of(with_keys(parse(Config, tiny_values), changes))
    assert (batching.divisible, batching.decides, batching.trains) == (divisible, decides, True)
