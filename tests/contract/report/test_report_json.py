"""report.json: every number of a report with its run, in the published form."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from analysis.reader.runs import read_sweep
from analysis.report import main
from analysis.report_json.schema import ReportRecord
from tests.helpers.experiments.report_json import SCHEMA, read_report
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, HOSTILE, RESULTS, SweepWriter


def test_the_published_schema_is_the_one_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == SCHEMA.read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(printed))


def test_the_file_is_read_back_by_its_own_models(written: Path) -> None:
    text = (written / "report.json").read_text()
    assert ReportRecord.model_validate_json(text).model_dump_json(indent=1) + "\n" == text


def test_every_value_is_there_unrounded_with_the_run_that_logged_it(writer: SweepWriter, written: Path) -> None:
    runs = {(trial.arm, trial.seed): trial.run_id for trial in read_sweep(writer.uri, "centerness").current}
    values = {(item["metric"], item["arm"], item["seed"]): item for item in read_report(written)["values"]}
    assert len(values) == len(EXPERIMENT["metrics"]) * 9
    for (metric, arm, seed), item in values.items():
        expected = RESULTS[arm][seed]
        assert item["run_id"] == runs[arm, seed]
        if expected is None:
            assert (item["value"], item["step"], item["status"]) == (None, None, "FAILED")
        else:
            assert item["value"] == pytest.approx(expected + (0.25 if metric == "val/AP50" else 0), rel=1e-12)
            assert (item["step"], item["status"]) == (1200, "FINISHED")


def test_summaries_comparisons_and_verdicts_have_the_numbers_of_the_page(written: Path) -> None:
    report = read_report(written)
    summary = next(item for item in report["summaries"] if (item["metric"], item["arm"]) == ("val/AP", "branch"))
    assert (summary["n"], summary["missing_seeds"]) == (3, [])
    assert summary["mean"] == pytest.approx(0.486)
    comparison = next(item for item in report["comparisons"] if (item["metric"], item["arm"]) == ("val/AP", "branch"))
    assert comparison["difference"] == pytest.approx((0.031 + 0.032 + 0.035) / 3)
    assert comparison["smallest"] == pytest.approx(0.031)
    assert comparison["largest"] == pytest.approx(0.035)
    assert (comparison["num_pairs"], comparison["num_higher"]) == (3, 3)
    verdict = next(item for item in report["verdicts"] if item["arm"] == "branch")
    assert verdict["text"] in (written / "report.md").read_text()
    assert [paper["source"] for paper in verdict["papers"]] == ["v1 Table 4", "v2 Table 4"]
    assert report["paper_rows"][0]["metrics"]["val/AP"] == pytest.approx(0.335)


def test_the_experiment_has_its_margin_as_a_fraction_and_its_looks(
    own_writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    parent = own_writer.write_sweep("looked", "looked", experiment={**EXPERIMENT, "margin": 2.0})
    own_writer.client.set_tag(parent, "fcos.looks", "[1, 3]")
    assert run_report("looked", "--tracking-uri", own_writer.uri, "--output", tmp_path) == 0
    experiment = read_report(tmp_path)["experiment"]
    assert (experiment["margin"], experiment["looks"]) == (0.02, [1, 3])


def test_curves_hold_every_logged_point(written: Path) -> None:
    curves = {(item["metric"], item["arm"], item["seed"]): item for item in read_report(written)["curves"]}
    assert curves["train/loss", "none", 1]["steps"] == list(range(0, 1201, 100))
    assert curves["val/AP", "none", 0]["values"][-1] == 0.46


def test_names_of_the_store_are_kept_as_they_are(written: Path) -> None:
    report = read_report(written)
    assert HOSTILE in report["experiment"]["arms"]
    assert next(item for item in report["missing"] if item["arm"] == HOSTILE)["reason"].endswith("<img src=x>")


def test_neither_the_store_nor_checkpoints_are_located(writer: SweepWriter, written: Path) -> None:
    text = (written / "report.json").read_text()
    assert str(writer.folder) not in text
    assert "checkpoints/step_" not in text


@pytest.mark.usefixtures("real_figures")
def test_numbers_that_are_not_finite_are_null(
    own_writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    own_writer.write_sweep("infinite", "infinite", {"none": [math.inf], "branch": [0.4]})
    assert run_report("infinite", "--tracking-uri", own_writer.uri, "--output", tmp_path) == 0
    values = {(item["metric"], item["arm"]): item for item in read_report(tmp_path)["values"] if item["seed"] == 0}
    assert values["val/AP", "none"]["value"] is None
    assert values["val/AP", "none"]["status"] == "FINISHED"
    assert values["val/AP", "branch"]["value"] == 0.4


def test_a_single_run_without_a_baseline_has_no_comparisons(
    own_writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    own_writer.write_sweep("alone", "alone", {"only": [0.4]}, experiment=None)
    assert run_report("alone", "--tracking-uri", own_writer.uri, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    assert (report["comparisons"], report["verdicts"], report["search"], report["coverage"]) == ([], [], None, [])
    assert len(report["values"]) == 3
