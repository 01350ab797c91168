"""The report of a whole paper: every row, and the runs of a store for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.paper_report.report import FILES, write_paper_report
from analysis.papers.rows import ROWS
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.stored_sweeps import HOSTILE, SweepWriter


@pytest.fixture(scope="module")
def written(writer: SweepWriter, centerness: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report of v1 beside the sweep `centerness`, on synthetic data."""
    return write_paper_report("v1", writer.uri, tmp_path_factory.mktemp("paper"), "main")[1]


def test_every_number_of_the_paper_is_in_the_csv_once(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)
    lines = [(line["row"], line["metric"]) for line in read_rows(written / "table.csv")]
    expected = [(row.id, metric) for row in ROWS.values() if row.version == "v1" for metric in row.metrics]
    assert lines == expected


def test_other_data_is_named_and_has_no_difference(written: Path) -> None:
    lines = read_rows(written / "table.csv")
    line = next(line for line in lines if (line["row"], line["metric"]) == ("v1.table4.branch", "val/AP"))
    assert float(line["ours"]) == pytest.approx((0.491 + 0.462 + 0.505) / 3)
    assert line["difference"] == "" and line["data"] == "drawn shapes, not COCO"
    assert line["seeds"] == "0 1 2" and len(line["runs"].split()) == 3
    assert line["verdict"] == "cannot tell: +3.3 to none, paper +3.6"


def test_what_the_store_holds_is_escaped(written: Path, writer: SweepWriter) -> None:
    page = (written / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert HOSTILE not in (written / "report.md").read_text()


def test_the_page_and_the_text_have_all_tables(written: Path) -> None:
    page, text = (written / "report.html").read_text(), (written / "report.md").read_text()
    for title in {row.table for row in ROWS.values() if row.version == "v1"}:
        assert f"<h2>{title}</h2>" in page
        assert f"\n## {title}\n" in text


def test_the_command_prints_how_many_rows_have_runs(
    run_report: Callable[..., int], writer: SweepWriter, centerness: str, capsys: Any, tmp_path: Path
) -> None:
    assert run_report("--paper", "v2", "--tracking-uri", writer.uri, "--experiment", "main") == 0
    output = capsys.readouterr().out
    assert "arXiv 2006.09214" in output
    assert (tmp_path / "outputs" / "paper_v2" / "report.html").is_file()
    with pytest.raises(SystemExit):
        run_report("--paper", "v2", "some_sweep")
    assert "not both" in capsys.readouterr().err


def test_a_missing_store_ends_with_exit_code_2(run_report: Callable[..., int], capsys: Any) -> None:
    assert run_report("--paper", "v1", "--tracking-uri", "sqlite:///nowhere.db") == 2
    assert "no tracking store" in capsys.readouterr().err
