"""Want of memory or space that ends Tune stops a sweep, which the same command continues; other errors are raised."""

import errno
from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError

from fcos.errors import ConfigError
from orchestration.driver.interruption import FEWER, MEMORY_SHORT, OWN_MEMORY_SHORT, advise, find_interruption
from orchestration.trial.failures import is_disk_full


def raised_from(cause: Exception) -> Exception:
    """Return the error that Tune raises for what it does not know."""
    try:
        raise RuntimeError("Caught unexpected exception") from cause
    except RuntimeError as error:
        return error


def test_processes_that_the_memory_monitor_ended_together_stop_the_sweep(tmp_path: Path) -> None:
    killed = OutOfMemoryError("2 worker(s) were killed due to the node running low on memory.")
    assert find_interruption(raised_from(killed), tmp_path) == MEMORY_SHORT


def test_a_full_disk_stops_it_and_another_error_does_not(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    reason = find_interruption(raised_from(full), tmp_path)
    assert reason is not None and reason.startswith(f"no space left on the disk of {tmp_path} (")
    elsewhere = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/session")
    reason = find_interruption(raised_from(elsewhere), tmp_path)
    assert reason is not None and reason.startswith("no space left on the disk of /elsewhere/session (")
    assert find_interruption(raised_from(ValueError("x")), tmp_path) is None


@pytest.mark.parametrize("error", [KeyError("x"), OSError(errno.EACCES, "Permission denied")])
def test_errors_of_the_lab_itself_are_raised(tmp_path: Path, error: Exception) -> None:
    assert find_interruption(error, tmp_path) is None


def test_want_of_memory_of_the_command_itself_is_not_reported_as_rays(tmp_path: Path) -> None:
    own = OSError(errno.ENOMEM, "Cannot allocate memory")
    assert find_interruption(raised_from(own), tmp_path) == OWN_MEMORY_SHORT
    assert advise(OWN_MEMORY_SHORT) == advise(MEMORY_SHORT) == FEWER
    log = (tmp_path / "ray.log").read_text()
    assert "OSError: [Errno 12] Cannot allocate memory" in log and "Caught unexpected exception" in log


def test_a_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "sweep"
    with pytest.raises(ConfigError, match=f"output: {gone} was removed while its trainings ran"):
        find_interruption(raised_from(FileNotFoundError(2, "No such file", str(gone))), gone)
    assert not is_disk_full(gone)
