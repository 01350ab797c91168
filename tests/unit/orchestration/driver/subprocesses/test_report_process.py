"""The process of the report waits until it is needed; what it prints is one event of the sweep's, or none."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.storage.events import ErrorEvent
from orchestration.cli.event_stream import SILENT, EventStream
from orchestration.driver.subprocesses.report_process import ReportProcess
from orchestration.sweep import report_command

# Writes a file with the store's address once it reads a line.
PROGRAM = """
import os, sys
from pathlib import Path
Path("begun").touch()
if sys.stdin.readline():
    Path("written").write_text(os.environ["MLFLOW_TRACKING_URI"])
    sys.stdout.write(sys.argv[1])
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def process(printed: str = "", code: int = 0, stream: EventStream = SILENT) -> ReportProcess:
    return ReportProcess([sys.executable, "-c", PROGRAM, printed, str(code)], stream)


@pytest.mark.ray
@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(("code", "written"), [(0, True), (141, True), (2, False)])
def test_a_report_is_written_when_it_is_requested(folder: Path, ahead: bool, code: int, written: bool) -> None:
    report = process(code=code)
    if ahead:
        report.begin("sqlite:///x.db")
        assert not (folder / "written").exists()
    assert report.write("sqlite:///x.db") is written
    assert (folder / "written").read_text() == "sqlite:///x.db"
    report.end()


@pytest.mark.ray
def test_a_process_without_a_request_is_ended_and_writes_nothing(folder: Path) -> None:
    report = process()
    report.begin("sqlite:///x.db")
    report.end()
    assert report._process is not None and report._process.returncode is not None
    assert not (folder / "written").exists()


@pytest.mark.ray
def test_the_real_process_ends_without_a_report_where_its_input_ends(folder: Path) -> None:
    command = report_command("x", folder / "report", json=False)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(folder.iterdir()) == []


@pytest.mark.ray
@pytest.mark.parametrize(
    ("printed", "notes"),
    [
        (ErrorEvent.of("store", 2, ["no sweep x"]).to_line(), ["report: no sweep x"]),
        ("a library's line\n", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("code", [0, 2])
def test_what_is_no_report_is_no_event_of_another_exit_code(printed: str, notes: list[str], code: int) -> None:
    file = io.StringIO()
    assert not process(printed, code, EventStream(file)).write("sqlite:///x.db")
    events = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(event["type"], event["text"]) for event in events] == [("note", text) for text in notes]


@pytest.mark.ray
def test_a_process_that_died_while_it_waited_is_started_again(folder: Path) -> None:
    report = process()
    report.begin("sqlite:///x.db")
    report.end()
    assert report.write("sqlite:///y.db")
    assert (folder / "written").read_text() == "sqlite:///y.db"


@pytest.mark.ray
def test_a_report_may_repeat_what_it_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the tracker sets it.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    program = "import os\nfrom pathlib import Path\ninput()\n"
    program += "Path('written').write_text(os.environ.get('MLFLOW_HTTP_REQUEST_MAX_RETRIES', 'unset'))"
    report = ReportProcess([sys.executable, "-c", program], SILENT)
    assert report.write("http://127.0.0.1:1")
    assert (folder / "written").read_text() == "unset"


def test_it_begins_shortly_before_the_last_training_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    report = ReportProcess(["no such program"], SILENT)
    # What cannot be started now is when it is to write.
    report.begin_in_time("sqlite:///x.db", 1.0)
    monkeypatch.setattr(report, "begin", started.append)
    for left in (None, 1000.0, 1.0):
        report.begin_in_time("sqlite:///x.db", left)
    assert started == ["sqlite:///x.db"]
