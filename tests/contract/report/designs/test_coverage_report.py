"""The report of coverage sweeps: counted, recorded and read as the commands do it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.report import write_report
from fcos.coverage.run import read_source, run
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import ProgressRecord
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.tracking.tracker import Tracker
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.report_json import read_report
from tests.helpers.experiments.stored_sweeps import SweepWriter

SMALL = ("data.synthetic.train_images=12", "data.synthetic.val_images=6")
Counted = Callable[..., Path]


@pytest.fixture(scope="module")
def counted(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """Function that counts some arms of an experiment on synthetic data and returns the folder of the report."""

    def make(experiment: str, *arms: str) -> Path:
        folder = tmp_path_factory.mktemp(experiment)
        overrides = [f"+experiment={experiment}", f"output={folder}", f"data.cache_dir={writer.folder}", *SMALL]
        lab = compose(check_overrides(overrides))
        assert lab.experiment is not None
        chosen = {arm: lab.experiment.arms[arm] for arm in arms}
        rows = {arm: ids for arm, ids in lab.experiment.paper.items() if arm in arms}
        lab = lab.model_copy(update={"experiment": lab.experiment.model_copy(update={"arms": chosen, "paper": rows})})
        plan = make_plan(lab, lambda config: (read_source(config).digest, ()))
        tracker = Tracker(writer.uri, experiment, folder, experiment)
        recorder = RunRecorder.of(plan, tracker, lab)
        recorder.open_sweep()
        for trial in plan.trials:
            recorder.start(trial)

            def listen(record: ProgressRecord, trial: Trial = trial) -> None:
                recorder.add(trial, record.points)

            runtime = LocalRuntime(plan.folder_of(trial), torch.device("cpu"), listen)
            recorder.finish(trial, run(trial.config, runtime, trial.arms))
        recorder.close_sweep(0, 0)
        assert tracker.close(60)
        return write_report(experiment, writer.uri, folder / "report")[1]

    return make


@pytest.fixture(scope="module")
def table1(counted: Counted) -> Path:
    return counted("table1_bpr", "v1_retinanet_none", "v1_fcos_fpn", "v2_fcos_fpn", "torchvision_fcos_fpn")


@pytest.fixture(scope="module")
def advised(counted: Counted) -> Path:
    return counted("advise_levels", "coco_defaults", "p3_to_p5_radius_1_0")


def results(folder: Path) -> str:
    text = (folder / "report.md").read_text()
    return text[text.index("## Results") : text.index("## Method and limitations")]


def test_the_only_table_has_no_seeds_and_no_statistics(table1: Path) -> None:
    text = results(table1)
    assert text.count("| arm |") == 1
    assert "| arm | bpr | paper | source | verdict |" in text
    assert not re.search(r"seed|sd|interval|pairs|deviation|\bp\b", text)
    page = (table1 / "report.html").read_text()
    assert "95 %" not in page
    assert "sample detections" not in page.lower()
    assert "trained by" not in page


def test_on_other_data_the_papers_numbers_have_no_differences(table1: Path) -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", results(table1), flags=re.MULTILINE))
    assert re.fullmatch(r"\d+\.\d\d \| 98\.95 \| v2 Table 1 \| other data", rows["v2_fcos_fpn"])
    assert re.fullmatch(r"\d+\.\d\d \| 86\.82 \| v1 Table 1 \| other data", rows["v1_retinanet_none"])
    assert re.fullmatch(r"\d+\.\d\d \| – \| – \| no row in the papers", rows["torchvision_fcos_fpn"])


def test_the_map_of_equal_ranges_is_shown_once(table1: Path) -> None:
    page = (table1 / "report.html").read_text()
    titles = re.findall(r"<h3>(Locations assigned[^<]*)</h3>", page)
    assert titles == ["Locations assigned to each box of one image: v1_fcos_fpn (and 2 others)"]
    assert page.count('<figure class="wide">') == 1
    assert "Notes" not in page


def test_the_arm_with_the_highest_objective_comes_first_and_the_baseline_is_marked(advised: Path) -> None:
    text = (advised / "report.md").read_text()
    assert "| arm | objective | difference | bpr | ambiguous | evenness | levels | radius | range ends |" in text
    rows = re.findall(
        r"^\| (\w+(?: \(baseline\))?) \| (\d+\.\d\d) \| (\S+) \|.*\| (P3–P\d) \|", text, flags=re.MULTILINE
    )
    assert {row[0] for row in rows} == {"coco_defaults (baseline)", "p3_to_p5_radius_1_0"}
    assert float(rows[0][1]) >= float(rows[1][1])
    assert {row[0]: row[2] for row in rows}["coco_defaults (baseline)"] == "–"
    assert "| P3–P7 | 1.5 | 0 64 128 256 512 ∞ |" in text
    assert "# best: " in text
    assert "no row in the papers" not in text


def test_the_csv_holds_fractions_and_the_latex_table_is_plain(advised: Path, table1: Path) -> None:
    rows = read_rows(advised / "table.csv")
    best, other = (float(row["coverage/objective"]) for row in rows)
    assert best >= other
    difference = next(float(row["difference"]) for row in rows if row["difference"])
    assert abs(difference) == pytest.approx(best - other)
    printed = {row["arm"]: row["paper v2 Table 1 coverage/bpr"] for row in read_rows(table1 / "table.csv")}
    assert printed == {"v1_retinanet_none": "", "v1_fcos_fpn": "", "v2_fcos_fpn": "0.9895", "torchvision_fcos_fpn": ""}
    table = (advised / "table.tex").read_text()
    assert table.isascii()
    assert r"P3--P7 & 1.5 & 0 64 128 256 512 $\infty$" in table


def test_the_console_shows_every_arm(
    table1: Path,
    writer: SweepWriter,
    run_report: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_report("table1_bpr", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:1] == ["torchvision_fcos_fpn"] and "no row in the papers" in line for line in lines)
    assert not any("coverage/" in line for line in lines)
    assert max(len(line.rstrip()) for line in lines if line.startswith("  v")) < 80


def test_report_json_has_the_counts_of_every_arm_with_its_run(advised: Path) -> None:
    report = read_report(advised)
    rows = {row["arm"]: row for row in report["coverage"]}
    assert set(rows) == {"coco_defaults", "p3_to_p5_radius_1_0"}
    runs = {item["arm"]: item["run_id"] for item in report["provenance"]}
    assert all(row["run_id"] == runs[arm] for arm, row in rows.items())
    values = {(item["metric"], item["arm"]): item["value"] for item in report["values"]}
    assert rows["coco_defaults"]["metrics"]["coverage/bpr"] == values["coverage/bpr", "coco_defaults"]
    assert rows["coco_defaults"]["levels"] == [3, 4, 5, 6, 7]
    assert sum(rows["coco_defaults"]["longest_side"]["boxes"]) > 0
    assert report["summaries"] == []
