"""The report of a search: planned, recorded and read as the commands do it; only the trainings are made up."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from analysis.report import write_report
from fcos.storage.run_folder import MetricPoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import arm_configs, changed_keys
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.report_json import read_report
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.experiments.summaries import summary_of

OVERRIDES = ("+experiment=search_fcos", "search=asha", "experiment.search.trials=12", "tracking.uri=http://me:secret@x")


@pytest.fixture(scope="module")
def searched(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """Twelve points: t000 fails, t001 is pruned, the others end with an AP of 0.02, 0.03, ..."""
    folder = tmp_path_factory.mktemp("search")
    overrides = [*OVERRIDES, f"output={folder}"]
    lab = compose(check_overrides(overrides))
    plan = make_plan(lab, lambda config: ("digest", ()), overrides)
    tracker = Tracker(writer.uri, "search", folder, "search")
    recorder = RunRecorder.of(plan, tracker, lab)
    recorder.open_sweep()
    for index, trial in enumerate(plan.trials):
        recorder.start(trial)
        (arm,) = trial.arms
        trial_folder = plan.folder_of(trial)
        trial_folder.mkdir(parents=True)
        step = 50 if index == 1 else 400
        value = 0.5 if index == 1 else index / 100
        files.append_points(
            trial_folder, [MetricPoint(arm, "val/AP", 50, value / 2), MetricPoint(arm, "val/AP", step, value)]
        )
        if index == 0:
            recorder.fail(trial, "loss is not finite at step 61")
        else:
            pruned = 50 if index == 1 else None
            recorder.finish(trial, summary_of({arm: {"val/AP": value}}, step=step, pruned=pruned))
    recorder.close_sweep(1, 0)
    assert tracker.close(60)
    return plan, write_report("search_fcos", writer.uri, folder / "report")[1]


def test_trainings_are_listed_best_first_and_none_is_dropped(searched: tuple[Plan, Path]) -> None:
    plan, folder = searched
    rows = read_rows(folder / "table.csv")
    assert [row["trial"] for row in rows] == [*(f"t{index:03d}" for index in range(11, 1, -1)), "t001", "t000"]
    assert [row["state"] for row in rows[-3:]] == ["finished", "pruned", "failed"]
    assert (rows[-2]["step"], rows[-2]["value"]) == ("50.0", "0.5")
    assert plan.search is not None
    assert float(rows[0]["schedule.lr_per_16_images"]) == plan.search.drawn["t011"].keys["schedule.lr_per_16_images"]
    text = (folder / "report.md").read_text()
    assert "| failed: loss is not finite at step 61 |" in text
    assert "t000 seed 0: failed, loss is not finite at step 61" in text.partition("## Trials without a result")[2]
    assert "t001 seed 0: killed" not in text
    assert "Nothing is compared" not in text
    assert "chosen by the number shown here" in text
    assert "Importance of the keys for AP" in text


def test_the_best_settings_can_be_confirmed_by_the_printed_command(searched: tuple[Plan, Path]) -> None:
    plan, folder = searched
    text = (folder / "report.md").read_text()
    assert "secret" not in text
    match = re.search(r"# python orchestration/sweep\.py (.*)", text)
    assert match is not None
    lab = compose(check_overrides(shlex.split(match[1])))
    assert lab.experiment is not None
    assert (lab.experiment.seeds, lab.experiment.baseline, lab.experiment.search) == ((1, 2, 3), "base", None)
    best = arm_configs(lab.training, lab.experiment)["best"]
    assert best == plan.arms["t011"]


def test_the_path_to_the_best_settings_changes_one_key_at_a_time(searched: tuple[Plan, Path]) -> None:
    plan, folder = searched
    lines = (folder / "report.md").read_text().splitlines()
    line = lines[lines.index("# from the base to them, one key at a time:") + 1]
    lab = compose(check_overrides(shlex.split(line)[3:]))
    assert lab.experiment is not None
    assert (lab.experiment.seeds, lab.experiment.baseline, lab.experiment.cumulative) == ((1, 2, 3), "base", True)
    configs = list(arm_configs(lab.training, lab.experiment).values())
    assert configs[-1] == plan.arms["t011"]
    changed = [
        len(changed_keys(before.model_dump(mode="json"), after.model_dump(mode="json")))
        for before, after in pairwise(configs)
    ]
    assert len(changed) >= 3 and set(changed) == {1}


def test_the_page_shows_history_and_keys(searched: tuple[Plan, Path]) -> None:
    page = (searched[1] / "report.html").read_text()
    assert "AP of each training" in page and "AP over each key" in page
    assert page.count("data:image/svg+xml") == 4


def test_report_json_has_every_point_with_its_run_and_settings(searched: tuple[Plan, Path]) -> None:
    plan, folder = searched
    assert plan.search is not None
    report = read_report(folder)
    points = report["search"]["points"]
    assert [point["trial"] for point in points] == [*(f"t{index:03d}" for index in range(11, 1, -1)), "t001", "t000"]
    assert all(point["run_id"] for point in points)
    assert points[0]["value"] == 0.11
    assert (points[-2]["state"], points[-2]["value"], points[-2]["step"]) == ("pruned", 0.5, 50)
    assert points[-1]["value"] is None
    assert all(point["settings"] == dict(plan.search.drawn[point["trial"]].keys) for point in points)
    assert sum(item["importance"] for item in report["search"]["importance"]) == pytest.approx(1)
    assert (report["summaries"], report["comparisons"], report["coverage"]) == ([], [], [])
