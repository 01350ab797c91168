"""A training that was done again is said in the report with every value, wherever in the store it was done."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow.entities import Run

from analysis.reader.client import search_runs
from analysis.reader.run_store import RunStore
from analysis.reader.runs import read_sweep
from analysis.report import write_report
from tests.helpers.experiments.stored_sweeps import SweepWriter

LATER = 1_770_000_000_000


def write_twice(writer: SweepWriter, name: str, second: float, identity: str, **tags: str) -> tuple[str, str]:
    """Write one training in a sweep and once more in another; returns their run ids."""
    runs = []
    for sweep, value, start in ((name, 0.4, LATER), (f"{name}_again", second, LATER + 1000)):
        parent = writer.write_sweep(name, sweep, {}, start=start)
        run = writer.write_trial(name, parent, "none", 0, value, start=start)
        writer.client.set_tag(run, "fcos.identity", identity)
        runs.append(run)
    for key, text in tags.items():
        writer.client.set_tag(runs[1], f"fcos.{key}", text)
    return runs[0], runs[1]


def repeat_notes(writer: SweepWriter, name: str) -> list[str]:
    return [note for note in read_sweep(writer.uri, name).notes if "rained" in note or "training again" in note]


def test_both_values_are_reported_in_both_sweeps_with_the_reason(own_writer: SweepWriter, tmp_path: Path) -> None:
    first, second = write_twice(own_writer, "twice", 0.5, "a1" * 32, retrain_reason="another processor")
    reason = "The reason stated for training again: another processor."
    assert repeat_notes(own_writer, "twice") == [
        f"Trained 2 times: none seed 0: val/AP 40.0 (run {first[:8]}) counts, trained otherwise it was 50.0 "
        f"(run {second[:8]}).",
        reason,
    ]
    assert repeat_notes(own_writer, "twice_again")[0].startswith(
        f"Trained 2 times: none seed 0: val/AP 50.0 (run {second[:8]}) counts"
    )
    _, folder = write_report("twice_again", own_writer.uri, tmp_path, resamples=0)
    for name in ("report.md", "report.html", "report.json"):
        assert f"40.0 (run {first[:8]})" in (folder / name).read_text(), name


def test_the_same_number_is_reported_in_one_line(own_writer: SweepWriter) -> None:
    write_twice(own_writer, "equal", 0.4, "b2" * 32)
    assert repeat_notes(own_writer, "equal") == ["Trained more than once, each time with the same val/AP: none seed 0."]


def test_a_training_repeated_within_its_own_sweep_shows_the_superseded_value(own_writer: SweepWriter) -> None:
    parent = own_writer.write_sweep("within", "within", {}, start=LATER)
    runs = [own_writer.write_trial("within", parent, "none", 0, value, start=LATER) for value in (0.3, 0.35)]
    for run in runs:
        own_writer.client.set_tag(run, "fcos.identity", "c3" * 32)
    own_writer.client.set_tag(runs[0], "fcos.superseded_by", runs[1])
    (note,) = repeat_notes(own_writer, "within")
    assert f"35.0 (run {runs[1][:8]}) counts" in note and f"30.0 (run {runs[0][:8]})" in note


def test_a_copy_of_a_result_is_no_other_training(own_writer: SweepWriter) -> None:
    first, _ = write_twice(own_writer, "copied", 0.4, "d4" * 32, reused_from="x")
    again = read_sweep(own_writer.uri, "copied_again").current[0].run_id
    own_writer.client.set_tag(again, "fcos.trained_by", first)
    assert repeat_notes(own_writer, "copied") == repeat_notes(own_writer, "copied_again") == []


def test_what_a_tag_holds_is_no_query(own_writer: SweepWriter) -> None:
    write_twice(own_writer, "quoted", 0.5, "' or tags.`fcos.kind` != '")
    assert repeat_notes(own_writer, "quoted") == []


def test_many_trainings_are_looked_up_by_one_search(own_writer: SweepWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in write_twice(own_writer, "many", 0.5, "e5" * 32):
        own_writer.client.set_tag(run, "fcos.code", "c0" * 32)
    (expected,) = repeat_notes(own_writer, "many")
    conditions: list[Mapping[str, str]] = []

    def count(client: RunStore, experiment_ids: list[str], condition: Mapping[str, str]) -> list[Run]:
        conditions.append(condition)
        return search_runs(client, experiment_ids, condition)

    monkeypatch.setattr("analysis.reader.repeats.search_runs", count)
    monkeypatch.setattr("analysis.reader.repeats.MOST_QUERIES", 0)
    assert repeat_notes(own_writer, "many") == [expected]
    assert len(conditions) == 1 and "fcos.identity" not in conditions[0]


def test_a_run_that_is_none_of_a_sweep_yet_is_no_training(own_writer: SweepWriter) -> None:
    """As an import that was killed leaves it."""
    _, second = write_twice(own_writer, "half", 0.5, "f6" * 32)
    assert repeat_notes(own_writer, "half")
    own_writer.client.delete_tag(second, "fcos.kind")
    assert repeat_notes(own_writer, "half") == []
