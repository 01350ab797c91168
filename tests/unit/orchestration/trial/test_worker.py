"""What a training's own process leaves behind when it ends."""

import errno
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcos.errors import DataError
from fcos.storage.reading import raise_cache_error
from orchestration.trial import files, worker
from orchestration.trial.failures import FailureKind, read_failure
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.experiments.tasks import task_in


def test_the_notes_of_the_sweep_and_of_all_attempts_are_in_the_summary_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trials" / "x"
    folder.mkdir(parents=True)
    files.write_sweep_notes(tmp_path, ["of the folder", "of the data"])
    files.add_note(folder, "of an attempt")
    summary = summary_of({"": {"val/AP": 0.5}}, notes=["of the data"])
    monkeypatch.setattr(worker, "check_provenance", lambda _: None)
    monkeypatch.setattr(worker, "_run", lambda *_: summary)
    runtime: Any = SimpleNamespace(rank=0, heartbeat=lambda: None)

    worker.train(task_in(folder), lambda: runtime)

    written = files.read_summary(folder, "x", [""])
    assert written is not None and written.notes == ("of the folder", "of the data", "of an attempt")


def test_a_full_disk_of_prepared_data_is_named_and_not_that_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "trials" / "x", tmp_path / "cache"
    folder.mkdir(parents=True)

    def fill_up(*_: object) -> None:
        raise_cache_error(cache, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(worker, "check_provenance", lambda _: None)
    monkeypatch.setattr(worker, "_run", fill_up)
    runtime: Any = SimpleNamespace(rank=0, heartbeat=lambda: None)
    with pytest.raises(DataError, match="No space left on device"):
        worker.train(task_in(folder, config={"data": {"cache_dir": str(cache)}}), lambda: runtime)
    failure = read_failure(folder)
    assert failure is not None and failure.kind is FailureKind.DISK_FULL and failure.is_interruption
    assert failure.message.startswith(f"no space left on the disk of {cache} (")
    assert failure.message.endswith(f" on {platform.node()}); its checkpoints are whole")
