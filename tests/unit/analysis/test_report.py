"""With --json a report prints its event alone."""

import argparse
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
