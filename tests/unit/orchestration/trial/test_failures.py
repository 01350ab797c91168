"""Failures are recorded once, and those that may pass are told from those that do not."""

import errno
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from fcos.errors import ConfigError, ReadError, SharedMemoryError
from fcos.storage.checkpoint_folder import CheckpointError, CheckpointReadError
from fcos.storage.run_folder import LOG
from orchestration.trial import files
from orchestration.trial.failures import (
    BudgetUsedUp,
    DiskFull,
    clear_failure,
    failure_reason,
    is_interrupted,
    is_no_space,
    is_retryable,
    no_space_message,
    read_failure,
    write_failure,
)


def test_the_first_failure_is_the_reason(tmp_path: Path) -> None:
    write_failure(tmp_path, ConfigError("data.root=/x: no such folder"), retryable=False)
    write_failure(tmp_path, RuntimeError("connection closed by peer"), retryable=True)
    assert failure_reason(tmp_path) == "data.root=/x: no such folder"
    clear_failure(tmp_path)
    write_failure(tmp_path, KeyError("boom"), retryable=True)
    assert failure_reason(tmp_path) == f"KeyError: 'boom'\nlog: {tmp_path / LOG}"


def test_the_first_line_of_a_long_failure_names_the_error(tmp_path: Path) -> None:
    write_failure(tmp_path, RuntimeError("\n".join(["workers failed:", *map(str, range(40))])), retryable=True)
    first, second, *rest = failure_reason(tmp_path).splitlines()
    assert first == "RuntimeError: workers failed:"
    assert int(second) > 20 and rest[-2:] == ["39", f"log: {tmp_path / LOG}"]


def test_a_death_without_a_word_points_at_the_log(tmp_path: Path) -> None:
    assert str(tmp_path / LOG) in failure_reason(tmp_path)


def test_lasting_errors_of_fcos_are_not_retryable() -> None:
    assert not is_retryable(ConfigError("x"))
    assert is_retryable(ValueError("x"))
    assert is_retryable(OSError("disk"))


def test_transient_errors_of_fcos_are_retryable() -> None:
    for error in (ReadError("a disk"), SharedMemoryError("/dev/shm"), CheckpointReadError("a disk")):
        assert is_retryable(error)
    assert not is_retryable(CheckpointError("damaged"))


def test_what_ends_for_want_of_hours_or_space_is_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "trials" / "a"
    folder.mkdir(parents=True)
    assert not is_interrupted(folder)
    for error, interrupted in ((DiskFull("no space"), True), (BudgetUsedUp("at step 3"), True), (OSError("x"), False)):
        write_failure(folder, error, retryable=False)
        assert is_interrupted(folder) == interrupted
        clear_failure(folder)
    files.hold_back(tmp_path / "sweep")
    assert is_interrupted(folder)
    files.release(tmp_path / "sweep")
    assert not is_interrupted(folder)


def test_a_full_disk_is_known_by_what_an_error_came_from() -> None:
    full = RuntimeError("unexpected pos 64 vs 0")
    full.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_no_space(full)
    assert not is_no_space(OSError(errno.EACCES, "Permission denied"))


def test_the_disk_of_the_file_that_an_error_names_is_the_full_one(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "cache" / "pixels.bin"))
    failed = RuntimeError("cannot be written")
    failed.__cause__ = full
    message = no_space_message(failed, [tmp_path / "trials" / "a"])
    assert message.startswith(f"no space left on the disk of {tmp_path / 'cache' / 'pixels.bin'} (")
    assert message.endswith(f" on {platform.node()})")


def test_of_an_error_without_a_file_the_fullest_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {Path("/proc"): 1, Path("/dev"): 0}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free.get(path, 1 << 40)))
    full = OSError(errno.ENOSPC, "No space left on device")
    folders = [tmp_path, Path("/proc"), Path("/dev")]
    assert no_space_message(full, folders).startswith("no space left on the disk of /dev (/dev on ")
    # One disk is named by the first folder that is on it.
    first = tmp_path / "first"
    assert no_space_message(None, [first, tmp_path]).startswith(f"no space left on the disk of {first} (")


def test_a_failure_that_cannot_be_recorded_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestration.trial.failures.json.dump", refuse)
    write_failure(tmp_path, ValueError("why"), retryable=True)
    assert read_failure(tmp_path) is None
