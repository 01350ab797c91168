"""Every number of the LaTeX table is that of report.json, and bold is what its verdicts are sure of."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.formatting import format_confidence, format_difference, format_interval, format_mean
from analysis.report import write_report
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.decided_sweeps import DECIDED
from tests.helpers.experiments.stored_sweeps import HOSTILE, SweepWriter

NAMES = ("decided", "hostile", "alone")


@pytest.fixture(scope="module")
def reports(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Sweep -> report.json as report.py writes it."""
    folder = tmp_path_factory.mktemp("reports")
    for name in NAMES:
        write_report(name, writer.uri, folder / name, resamples=0)
    return {name: json.loads((folder / name / "report.json").read_text()) for name in NAMES}


def read_cells(written: Path) -> dict[str, dict[str, list[str]]]:
    """Return sweep -> arm -> the cells of its row, without escapes."""
    blocks: dict[str, dict[str, list[str]]] = {}
    for line in (written / "table.tex").read_text().splitlines():
        plain = to_text(line.partition(r" \\")[0])
        if line.startswith(r"\multicolumn"):
            blocks[re.search(r"\\textit\{(\w+):", line)[1]] = {}  # type: ignore[index]
        elif blocks and r"\\" in line:
            name, *cells = (cell.strip() for cell in plain.split("&"))
            blocks[list(blocks)[-1]][name] = cells
    return blocks


def to_text(latex: str) -> str:
    """Return a cell as the report prints it."""
    for command, text in (
        (r"\allowbreak{}", ""), (r"\_", "_"), (r"\%", "%"), (r"$\pm$", "±"), ("$-$", "−"), (r"\textless{}", "<"),
        (r"\textgreater{}", ">"), (r"\textbar{}", "|"), ("{*}", "*"), ("--", "–"),
    ):  # fmt: skip
        latex = latex.replace(command, text)
    return re.sub(r"\\textbf\{\\boldmath ([^}]*)\}", r"\1", latex)


def find(records: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    return next(each for each in records if (each["metric"], each["arm"]) == ("val/AP", arm))


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_the_number_of_the_report(written: Path, reports: dict[str, Any], name: str) -> None:
    report, rows = reports[name], read_cells(written)[name]
    arms = report["experiment"]["arms"]
    assert list(rows) == [f"{arm} (baseline)" if arm == "none" else arm for arm in arms]
    nan = float("nan")
    for arm, cells in zip(arms, rows.values(), strict=True):
        summary = find(report["summaries"], arm)
        deviation = nan if summary["deviation"] is None else summary["deviation"]
        assert cells[:2] == [str(summary["n"]), format_mean(summary["mean"], deviation, "val/AP")]
        if arm == report["experiment"]["baseline"]:
            assert cells[2:] == ["–"] * 4
            continue
        comparison = find(report["comparisons"], arm)
        assert cells[2] == format_difference(comparison["difference"], "val/AP")
        assert cells[4:] == [str(comparison["num_pairs"]), f"{comparison['adjusted_p']:.2g}"]
        low, high = comparison["low"], comparison["high"]
        if comparison["num_pairs"] < 2:
            assert cells[3] == "–"
        elif low is None:
            ends = comparison["smallest"], comparison["largest"]
            assert cells[3] == f"pairs: {format_interval(*ends, 'val/AP')}"
        else:
            assert cells[3] == f"{format_confidence(comparison['level'])}: {format_interval(low, high, 'val/AP')}"


def test_bold_is_a_sure_direction_and_a_mean_that_is_surely_better(written: Path, reports: dict[str, Any]) -> None:
    lines = (written / "table.tex").read_text().splitlines()
    bold = {(report, verdict["arm"]): verdict["outcome"] for report in NAMES for verdict in reports[report]["verdicts"]}
    assert bold["decided", "branch"] == "higher" and bold["decided", "from_regression"] == "lower"
    assert bold["decided", "noise"] == "not shown" and bold["hostile", "branch"] == "too few"
    emphasised = [line for line in lines if r"\textbf" in line]
    assert [line.partition(" &")[0] for line in emphasised] == ["branch", r"from\_\allowbreak{}regression"]
    assert emphasised[0].count(r"\textbf") == 2
    # It is surely worse: its difference alone.
    assert emphasised[1].count(r"\textbf") == 1 and r"\textbf{\boldmath $-$" in emphasised[1]


def test_the_caption_has_the_kind_of_spread_and_the_correction_of_tests(written: Path) -> None:
    (caption,) = re.findall(r"\\caption\{(.*)\}", (written / "table.tex").read_text())
    assert r"$\pm$ one sample standard deviation over n seeds" in caption
    assert r"Holm's procedure" in caption and "3 tests in decided, 2 tests in hostile and 1 test in alone" in caption
    assert "With one seed there is no spread" in caption
    assert "seed 2 (failed)" in caption


def test_every_number_names_its_runs(written: Path, reports: dict[str, Any]) -> None:
    numbers = [row for row in read_rows(written / "numbers.csv") if row["file"] == "table.tex"]
    runs: dict[str, list[str]] = {}
    for row in read_rows(written / "runs.csv"):
        runs.setdefault(row["runs"], []).append(row["run_id"])
    for name in NAMES:
        for arm in reports[name]["experiment"]["arms"]:
            topic = f"{name} {arm} val/AP"
            (mean,) = (row for row in numbers if row["topic"] == f"{topic}: mean")
            assert float(mean["value"]) == find(reports[name]["summaries"], arm)["mean"]
            values = [each for each in reports[name]["values"] if (each["metric"], each["arm"]) == ("val/AP", arm)]
            assert sorted(runs[mean["runs"]]) == sorted(each["run_id"] for each in values if each["value"] is not None)
    (difference,) = (row for row in numbers if row["topic"] == "decided branch val/AP: difference")
    assert len(runs[difference["runs"]]) == 2 * len(DECIDED["none"])
    (pairs,) = (row for row in numbers if row["topic"] == f"hostile {HOSTILE} val/AP: pairs")
    assert (pairs["value"], len(runs[pairs["runs"]])) == ("2", 4)


def test_each_row_has_the_labels_of_its_runs_in_a_comment(written: Path) -> None:
    rows = [line for line in (written / "table.tex").read_text().splitlines() if "seed" not in line and " & " in line]
    assert all(re.search(r"\\\\ % r\d+( r\d+)*$", line) for line in rows[1:])
