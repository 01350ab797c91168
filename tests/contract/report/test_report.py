"""The report of a stored sweep: its numbers, its texts, and that it loads nothing from elsewhere."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report import make_folder_name
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, HOSTILE, SweepWriter

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "golden" / "report_table.md"


class Sources(HTMLParser):
    """Collects every tag and every address that a page would load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def test_all_files_are_written(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == [
        "explorer.html",
        "report.html",
        "report.json",
        "report.md",
        "table.csv",
        "table.tex",
    ]


def test_the_page_loads_nothing_from_elsewhere(written: Path) -> None:
    page = (written / "report.html").read_text()
    sources = Sources()
    sources.feed(page)
    assert sources.addresses
    assert all(address.startswith("data:image/") or address == "explorer.html" for address in sources.addresses)
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"url\(|@import", page)


def test_what_the_store_holds_is_escaped(written: Path, writer: SweepWriter) -> None:
    page = (written / "report.html").read_text()
    sources = Sources()
    sources.feed(page)
    assert "script" not in sources.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page
    assert HOSTILE not in (written / "report.md").read_text()


def test_the_table_of_the_markdown_is_the_golden_one(written: Path) -> None:
    lines = (written / "report.md").read_text().splitlines()
    start = lines.index("AP (val/AP), in percent")
    table = [line for line in lines[start : start + 7] if line.startswith("|")]
    assert table == GOLDEN.read_text().splitlines()


def test_the_csv_holds_unrounded_fractions(written: Path) -> None:
    rows = {(row["metric"], row["arm"]): row for row in read_rows(written / "table.csv")}
    branch = rows[("val/AP", "branch")]
    assert float(branch["mean"]) == pytest.approx(0.486)
    assert float(branch["difference"]) == pytest.approx((0.031 + 0.032 + 0.035) / 3)
    assert (branch["num_pairs"], branch["num_higher"], branch["adjusted_p"]) == ("3", "3", "1.0")
    assert (branch["p"], branch["low"], branch["high"], branch["level"]) == ("0.75", "-inf", "inf", "0.025")
    assert rows[("val/AP50", "branch")]["p"] == ""
    assert float(branch["paper v1 Table 4 difference"]) == pytest.approx(0.036)


def test_the_latex_table_is_booktabs_and_plain_ascii(written: Path) -> None:
    table = (written / "table.tex").read_text()
    assert r"\toprule" in table
    assert "48.6 $\\pm$ 2.2" in table
    assert "37.1 (+3.6)" in table
    assert table.isascii()


def test_the_failed_seed_is_shown_with_its_reason(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert "9 trials: 8 finished and 1 failed" in text
    assert re.search(r"seed 2: failed, non-finite loss at step 700", text)


def test_the_verdict_gives_direction_statistics_and_papers(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert (
        "**branch**: too few seeds to tell: +3.3 AP, +3.1 to +3.5 in 3 pairs, higher in each; "
        "3 pairs cannot decide, at least 7 are needed." in text
    )
    assert "v1 Table 4 (+3.6): cannot tell, though every pair points the same way" in text
    assert "Absolute numbers are not comparable with v1 Table 4 and v2 Table 4" in text
    assert "reproduced" not in text


NONE = (0.460, 0.430, 0.470, 0.455, 0.441, 0.462, 0.450, 0.448)
GAINS = (0.031, 0.032, 0.035, 0.028, 0.036, 0.030, 0.033, 0.029)
EIGHT_SEEDS = {"none": NONE, "branch": [value + gain for value, gain in zip(NONE, GAINS, strict=True)]}


def report_eight_seeds(writer: SweepWriter, run_report: Callable[..., int], looks: str, output: Path) -> str:
    """Return the report of a sweep with one arm beside the baseline, over eight seeds, with a tag of its looks."""
    experiment = {**EXPERIMENT, "seeds": list(range(8)), "arms": {"none": {}, "branch": {}}, "margin": 4.0}
    parent = writer.write_sweep(output.name, output.name, EIGHT_SEEDS, experiment=experiment)
    writer.client.set_tag(parent, "fcos.looks", looks)
    assert run_report(output.name, "--tracking-uri", writer.uri, "--output", output) == 0
    return (output / "report.md").read_text()


def test_the_looks_of_a_sweep_are_shown_and_count(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    text = report_eight_seeds(writer, run_report, "[3, 6, 8]", tmp_path / "looks")
    assert "**branch**: higher than none: +3.2 AP, 95 % interval" in text and "over 8 pairs" in text
    assert "v1 Table 4 (+3.6): agrees in direction" in text
    assert "Looks after 3, 6 and 8 seeds" in text
    assert "One arm, tested at 5 %" in text and "within 4.0 AP of zero (experiment.margin)" in text
    assert re.search(
        r"branch: correlation with none 0\.\d\d over 8 seeds; a paired seed replaces about \d+ unpaired", text
    )


def test_a_broken_tag_of_looks_is_one_note(writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path) -> None:
    text = report_eight_seeds(writer, run_report, "[3, 3]", tmp_path / "broken_looks")
    assert text.count("is no list of rising numbers of seeds; the report counts one look at all") == 1
    assert "One look, after 8 seeds" in text


def test_a_sweep_that_adds_seeds_and_has_no_looks_yet_is_taken_to_have_looked_after_each(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    experiment = {**EXPERIMENT, "until": "decided", "arms": {"none": {}, "branch": {}}}
    writer.write_sweep("adding", "adding", EIGHT_SEEDS, experiment=experiment, status="RUNNING")
    assert run_report("adding", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    text = (tmp_path / "report.md").read_text()
    assert "Looks after 3, 4, 5, 6, 7 and 8 seeds" in text
    assert "fcos.looks is not recorded; the report counts a look after each seed from 3 seeds on." in text


def test_a_report_names_every_run(written: Path, writer: SweepWriter, centerness: str) -> None:
    from analysis.reader.runs import read_sweep

    text = (written / "report.md").read_text()
    assert all(trial.run_id in text for trial in read_sweep(writer.uri, "centerness").trials)


@pytest.mark.usefixtures("real_figures")
def test_the_same_store_gives_the_same_bytes(
    writer: SweepWriter, written: Path, run_report: Callable[..., int], tmp_path: Path
) -> None:
    assert run_report("centerness", "--tracking-uri", writer.uri, "--output", tmp_path / "again") == 0
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("real_figures")
def test_the_report_of_a_running_sweep_marks_its_numbers_as_preliminary(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    parent = writer.write_sweep("running", "running", {"none": [0.4]}, status="RUNNING")
    writer.write_trial("running", parent, "branch", 0, 0.5, status="RUNNING")
    assert run_report("running", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    text = (tmp_path / "report.md").read_text()
    assert "still running, these are its numbers so far; 9 trials: 7 missing, 1 finished and 1 running" in text
    assert "**branch**: too few seeds to tell: no seed has finished in both this arm and none" in text


@pytest.mark.usefixtures("real_figures")
def test_one_arm_with_one_seed_is_reported_without_a_verdict(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    writer.write_sweep("one", "one", {"only": [0.4]}, experiment=None)
    assert run_report("one", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    text = (tmp_path / "report.md").read_text()
    assert "Nothing is compared" in text
    assert "| only | 1 | 40.0 | – | – | – | – | 40.0 |" in text


def test_a_metric_that_no_trial_has_is_shown_as_missing(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    experiment = {
        "name": "x",
        "baseline": "a",
        "arms": {"a": {}, "b": {}},
        "seeds": [0],
        "metrics": ["val/nothing"],
    }
    writer.write_sweep("metric", "metric", {"a": [0.4], "b": [0.5]}, experiment=experiment)
    assert run_report("metric", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    text = (tmp_path / "report.md").read_text()
    assert "a seed 0: finished without the metrics" in text
    assert "| a (baseline) | 0 | – | – | – | – | – | no value |" in text


def test_a_sweep_without_trials_is_reported(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    writer.write_sweep("empty", "empty", {}, status="FAILED")
    assert run_report("empty", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    assert "failed; 9 trials: 9 missing" in (tmp_path / "report.md").read_text()


def test_an_unknown_row_of_a_paper_is_a_note(
    writer: SweepWriter, run_report: Callable[..., int], tmp_path: Path
) -> None:
    experiment = {
        "name": "x",
        "baseline": "a",
        "arms": {"a": {}},
        "seeds": [0],
        "paper": {"a": ["v1.table4.nome"]},
    }
    writer.write_sweep("rows", "rows", {"a": [0.4]}, experiment=experiment)
    assert run_report("rows", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    assert "no row 'v1.table4.nome'; did you mean v1.table4.none" in (tmp_path / "report.md").read_text()


def test_a_name_from_the_store_cannot_leave_the_output_folder() -> None:
    assert make_folder_name("../../etc/passwd") == "_.._etc_passwd"
    assert make_folder_name("..") == "sweep"
    assert "/" not in make_folder_name("/tmp/x")


@pytest.mark.parametrize(
    "arguments", [["--tracking-uri", "sqlite:///nowhere/mlflow.db"], ["--tracking-uri", "ftp://x"]]
)
def test_a_store_that_cannot_be_read_is_one_line_and_exit_code_2(
    arguments: list[str], run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: ")
    assert arguments[1] in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1


def test_a_password_in_the_address_of_a_store_is_not_printed(
    run_report: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_report("--tracking-uri", "ftp://user:secret@host/x") == 2
    assert "secret" not in capsys.readouterr().err


def test_as_a_script_it_prints_the_table_and_the_path(writer: SweepWriter, centerness: str, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "analysis" / "report.py")]
    done = subprocess.run(
        [*script, "centerness", "--tracking-uri", writer.uri],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "48.6 ± 2.2" in done.stdout
    assert done.stdout.splitlines()[-1] == "report: outputs/centerness/report/report.html"
    assert done.stderr == ""


def test_a_report_that_waits_has_loaded_what_it_needs_and_no_more(
    writer: SweepWriter, centerness: str, tmp_path: Path
) -> None:
    """Its process is started before the last training ends, and begins to read at once."""
    code = (
        "import sys\nfrom analysis import preload, report\n"
        "def main(*words): return report.main(['centerness', '--output', sys.argv[1], *words])\n"
        "assert main('--wait') == 0\n"
        "before = set(sys.modules)\n"
        "print(sorted({'pandas', 'mlflow', 'matplotlib', 'scipy', 'torch', 'ray', 'orchestration'} & before))\n"
        "assert main() == 0\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "MLFLOW_TRACKING_URI": writer.uri},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, *_, later = done.stdout.splitlines()
    assert loaded == "['matplotlib', 'mlflow', 'pandas', 'scipy']"
    # Above all nothing of MLflow, of which the store's classes take as long as the report.
    assert set(ast.literal_eval(later)) <= {"PIL", "analysis", "encodings", "fcos", "pandas", "pyarrow", "rich"}


def test_the_table_is_printed_before_figures_are_drawn(
    writer: SweepWriter,
    centerness: str,
    run_report: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(figure: object) -> bytes:
        raise OSError("no figure today")

    monkeypatch.setattr("analysis.render.plots.to_svg", fail)
    assert run_report("centerness", "--tracking-uri", writer.uri, "--output", tmp_path) == 2
    printed = capsys.readouterr()
    assert "48.6 ± 2.2" in printed.out and "no figure today" in printed.err
    assert "report:" not in printed.out, "no file is written"


def test_a_reader_who_left_before_the_table_costs_no_file(writer: SweepWriter, centerness: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), "centerness", "--tracking-uri", writer.uri]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 141
    assert errors == "report: standard output was closed; the files are written\n"
    assert (tmp_path / "outputs" / "centerness" / "report" / "report.html").exists()


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys\nfrom analysis import report\n"
        "try: report.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'pandas', 'mlflow', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
