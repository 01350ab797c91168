"""With --json a report prints its event alone."""

import argparse
import json
import os
from collections.abc import Callable

import pytest

from analysis import report


def test_what_a_library_prints_while_a_report_is_made_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(options: argparse.Namespace) -> Callable[[], None]:
        os.write(1, b"of a library\n")
        return lambda: print("the event")

    monkeypatch.setattr(report, "_write_sweep", write)
    assert report.main(["x", "--json", "--tracking-uri", "sqlite:///x.db"]) == 0
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("the event\n", "of a library\n")
    assert report.main(["x", "--tracking-uri", "sqlite:///x.db"]) == 0
    assert capfd.readouterr().out == "of a library\nthe event\n"


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--resamples", "x"], "argument --resamples: 'x' is neither 0 nor a number from 100 to 10000"),
        (["x", "--paper", "v1"], "--paper v1 x: give a sweep or a paper, not both"),
        (["--nothing"], "unrecognized arguments: --nothing"),
    ],
)
def test_a_wrong_command_line_is_an_event_too(words: list[str], rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        report.main([*words, "--json"])
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    event = json.loads(line)
    assert ended.value.code == event["exit_code"] == 2 and event["error"] == "config"
    assert [problem["text"] for problem in event["problems"]] == [rule]
    assert rule in printed.err
    with pytest.raises(SystemExit):
        report.main(words)
    assert capsys.readouterr().out == ""
