"""With --json nothing comes between the events, and the result is the last of them however a command ends."""

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import os, subprocess, sys
from orchestration.cli.entry import run_entry
from orchestration.cli.event_records import NoteEvent
from orchestration.cli.lock import FolderInUse
from fcos.errors import ConfigError

def main(arguments, stream):
    print("of a library")
    os.write(1, b"of its C code\\n")
    subprocess.run([sys.executable, "-c", "print('of a child')"])
    if stream.is_open:
        stream.emit(NoteEvent(text="größe"))
    {end}

code = run_entry(sys.argv[1:], main, lambda arguments: "the help", json="{json}")
print("after it", file=sys.stdout)
sys.exit(code)
"""


def run(end: str, *arguments: str, json_is: str = "lines") -> subprocess.CompletedProcess[str]:
    script = SCRIPT.replace("{end}", end).replace("{json}", json_is)
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def events_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines() if line != "after it"]


def test_what_libraries_and_children_print_goes_to_standard_error() -> None:
    done = run("return 0", "--json")
    assert done.stdout.splitlines()[-1] == "after it", "standard output is as before"
    note, result = events_of(done)
    assert (note["type"], note["text"]) == ("note", "größe")
    assert (result["type"], result["exit_code"], done.returncode) == ("result", 0, 0)
    assert all(text in done.stderr for text in ("of a library", "of its C code", "of a child"))


def test_without_the_option_people_read_it() -> None:
    done = run("return 0")
    assert "of a library" in done.stdout and "{" not in done.stdout


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("raise ConfigError('a.b=1: must not')", 2, "config"),
        ("raise FolderInUse('outputs/x is in use by process 7')", 3, "folder_in_use"),
        ("return 4", 4, None),
        ("import signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 143, None),
    ],
)
def test_the_last_line_is_the_result(end: str, code: int, error: str | None) -> None:
    done = run(end, "--json")
    _, *errors, result = events_of(done)
    assert (result["type"], result["exit_code"], done.returncode) == ("result", code, code)
    assert [each["error"] for each in errors] == ([] if error is None else [error])
    assert "Traceback" not in done.stderr


def test_an_error_of_our_own_has_its_traceback_and_a_result() -> None:
    done = run("raise RuntimeError('a bug')", "--json")
    assert events_of(done)[-1]["exit_code"] == done.returncode == 1
    assert "Traceback" in done.stderr and "a bug" in done.stderr


def test_a_command_of_one_object_has_no_result_line() -> None:
    done = run("raise ConfigError('a.b=1: must not')", "--json", json_is="object")
    assert [event["type"] for event in events_of(done)] == ["note", "error"]


def test_help_is_text() -> None:
    done = run("return 0", "--json", "--help")
    assert done.stdout.splitlines() == ["the help", "after it"]


@pytest.mark.parametrize(("json_is", "advice"), [("lines", True), ("object", False)])
@pytest.mark.parametrize(
    ("end", "text", "more"),
    [
        ("raise OutputClosed", "stopped: standard output was closed", ""),
        ("raise KeyboardInterrupt", "stopped", " from the last checkpoints"),
    ],
)
def test_a_command_that_only_reads_has_nothing_to_go_on_with(
    end: str, text: str, more: str, json_is: str, advice: bool
) -> None:
    done = run(f"from orchestration.cli.entry import OutputClosed; {end}", json_is=json_is)
    expected = f"{text}; the same command goes on{more}" if advice else text
    assert done.stderr.splitlines()[-1] == expected


def test_a_command_without_events_takes_the_word_as_any_other() -> None:
    assert "{" not in run("return 0", "--json", json_is="none").stdout


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_a_stream_that_was_closed_before_is_no_traceback(closed: tuple[int, ...]) -> None:
    script = SCRIPT.replace("{end}", "return 0").replace("{json}", "lines")
    shut = " ".join(f"{descriptor}>&-" for descriptor in closed)
    command = ["sh", "-c", f'exec "$0" -c "$1" --json {shut}', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr
    if 1 in closed:
        assert (done.returncode, done.stdout) == (141, "")
        assert done.stderr.startswith("stopped: standard output was closed") or 2 in closed
    else:
        assert done.returncode == 0 and [event["type"] for event in events_of(done)] == ["note", "result"]
