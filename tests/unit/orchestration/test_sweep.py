"""What the process of the report prints reaches programs as one event of the sweep's, or not at all."""

import io
import json
import subprocess
from pathlib import Path

import pytest

from fcos.storage.events import ErrorEvent
from orchestration import sweep
from orchestration.cli.event_stream import EventStream


@pytest.mark.parametrize(
    ("printed", "notes"),
    [
        (ErrorEvent.of("store", 2, "no sweep x").to_line(), ["report: no sweep x"]),
        ("a library's line\n", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("code", [0, 2])
def test_what_is_no_report_is_no_event_of_another_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, notes: list[str], code: int
) -> None:
    done = subprocess.CompletedProcess([], code, printed.encode(), b"")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    file = io.StringIO()
    assert not sweep.write_report("x", tmp_path, EventStream(file), "sqlite:///x.db")
    events = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(event["type"], event["text"]) for event in events] == [("note", text) for text in notes]
