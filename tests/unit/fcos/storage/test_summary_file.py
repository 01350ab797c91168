"""summary.json is read back as it was written, with numbers that are not finite, and refused where it is none."""

import json
import math
from pathlib import Path

import pytest

from fcos.storage.run_folder import SUMMARY
from fcos.storage.summary_file import FinishedRun, read_finished_run, write_finished_run
from tests.helpers.experiments.summaries import summary_of


def test_a_summary_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = FinishedRun(identity="ab12", summary=summary_of({"arm": {"val/AP": 0.5, "val/APs": math.nan}}))
    write_finished_run(tmp_path, run)
    found = read_finished_run(tmp_path)
    assert found.identity == "ab12" and math.isnan(found.summary.metrics["arm"].pop("val/APs"))
    assert found.summary.metrics == {"arm": {"val/AP": 0.5}}


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    write_finished_run(tmp_path, FinishedRun(identity="x", summary=summary_of({"": {}})))
    values = json.loads((tmp_path / SUMMARY).read_text())
    (tmp_path / SUMMARY).write_text(json.dumps({**values, "of_a_later_version": 1}))
    assert read_finished_run(tmp_path).identity == "x"


@pytest.mark.parametrize("text", ["", "[]", "7", '{"identity": "x"}', '{"identity": "x", "summary": 3}', "[" * 100_000])
def test_what_is_no_summary_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / SUMMARY).write_text(text)
    with pytest.raises(ValueError):
        read_finished_run(tmp_path)
    with pytest.raises(OSError):
        read_finished_run(tmp_path / "absent")
