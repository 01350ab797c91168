"""What a training's own process leaves behind when it ends."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.trial import files, worker
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
