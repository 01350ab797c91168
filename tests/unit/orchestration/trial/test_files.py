"""Files of a training are read back whole, whatever killed it."""

import json
from pathlib import Path

from fcos.storage.run_folder import POINTS, SUMMARY, MetricPoint
from orchestration.trial import files
from tests.helpers.experiments.summaries import summary_of

LOSS = "train/loss"


def test_of_points_reported_twice_the_last_attempt_s_are_read(tmp_path: Path) -> None:
    files.append_points(tmp_path, [MetricPoint(None, LOSS, 1, 2.0), MetricPoint("a", "val/AP", 1, 0.5)])
    files.append_points(tmp_path, [MetricPoint(None, LOSS, 1, 3.0)])
    assert files.read_points(tmp_path) == [(None, LOSS, 1, 3.0), ("a", "val/AP", 1, 0.5)]


def test_a_line_cut_short_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    files.append_points(tmp_path, [MetricPoint(None, LOSS, 1, 2.0), MetricPoint(None, LOSS, 2, 2.5)])
    path = tmp_path / POINTS
    path.write_text(path.read_text()[:-8])
    files.append_points(tmp_path, [MetricPoint(None, LOSS, 3, 1.0)])
    assert files.read_points(tmp_path) == [(None, LOSS, 1, 2.0), (None, LOSS, 3, 1.0)]


def test_a_folder_without_points_has_none(tmp_path: Path) -> None:
    assert files.read_points(tmp_path) == []


def test_a_summary_counts_for_its_identity_and_arms_only(tmp_path: Path) -> None:
    summary = summary_of({"a": {"val/AP": 0.5}})
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    files.write_summary(tmp_path, "x", summary)
    assert files.read_summary(tmp_path, "x", ["a"]) == summary
    assert files.read_summary(tmp_path, "y", ["a"]) is None
    assert files.read_summary(tmp_path, "x", ["a", "b"]) is None
    (tmp_path / SUMMARY).write_text('{"identity": "x"')
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    assert [path.name for path in tmp_path.iterdir()] == [SUMMARY]


def test_a_training_that_was_stopped_early_is_a_result_only_where_that_was_meant(tmp_path: Path) -> None:
    files.write_summary(tmp_path, "x", summary_of({"a": {"val/AP": 0.5}}, pruned=40))
    assert files.read_summary(tmp_path, "x", ["a"]) is None
    summary = files.read_summary(tmp_path, "x", ["a"], or_pruned=True)
    assert summary is not None and summary.pruned == 40


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": 1})
    files.write_json(tmp_path / "a.json", {"a": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 2}
    assert len(list(tmp_path.iterdir())) == 1
