"""The report of a search over several seeds: the winner, and what it is worth in seeds that chose nothing."""

from pathlib import Path

import pytest

from analysis.reader.runs import read_sweep
from analysis.report import write_report
from fcos.config.parse import with_keys
from fcos.storage.run_folder import MetricPoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import plan_trials
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.search.points import SampledPoint
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.csv_rows import read_rows
from tests.helpers.experiments.report_json import read_report
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.experiments.summaries import summary_of

WORDS = ("+experiment=search_fcos", "search=tpe", "experiment.seeds=[0,1]", "experiment.search.trials=6")
RATE = "schedule.lr_per_16_images"
# AP of the seeds 0 and 1 of each point, and of the confirming seeds 2 to 7.
SEARCHED: dict[str, list[float | None]] = {"t000": [0.40, 0.42], "t001": [0.43], "t002": [0.30], "t003": [None]}
CONFIRMED: dict[str, list[float | None]] = {
    "t000": [0.385, 0.395, 0.380, 0.400, 0.390, 0.390],
    "base": [0.350, 0.362, 0.349, 0.368, 0.357, 0.356],
}


def record(plan: Plan, recorder: RunRecorder, arm: str, seed: int, value: float | None) -> None:
    """Record a training that ended with an AP; None for one that failed."""
    (trial,) = plan_trials({arm: plan.arms[arm]}, (seed,), plan.provenance, {arm: "digest"})
    plan.grow(arm, plan.arms[arm], trial)
    folder = plan.folder_of(trial)
    folder.mkdir(parents=True)
    recorder.start(trial)
    if value is None:
        recorder.fail(trial, "loss is not finite at step 61")
        return
    files.append_points(folder, [MetricPoint(arm, "val/AP", 400, value)])
    recorder.finish(trial, summary_of({arm: {"val/AP": value}}, step=400))


@pytest.fixture(scope="module")
def raced(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report."""
    folder = tmp_path_factory.mktemp("race")
    overrides = [*WORDS, f"output={folder}", "name=raced"]
    lab = compose(check_overrides(overrides))
    plan = make_plan(lab, lambda config: ("digest", ()), overrides)
    assert plan.search is not None and isinstance(plan.arms, dict)
    for number, name in enumerate(SEARCHED):
        keys = {RATE: 0.01 + 0.001 * number}
        plan.search.drawn[name] = SampledPoint(point=dict(keys), keys=keys)
        plan.arms[name] = with_keys(plan.search.base, keys)
    tracker = Tracker(writer.uri, "race", folder, "race")
    recorder = RunRecorder.of(plan, tracker, lab)
    recorder.open_sweep()
    for arm, values in SEARCHED.items():
        for seed, value in enumerate(values):
            record(plan, recorder, arm, seed, value)
    for arm, of_arm in CONFIRMED.items():
        for seed, value in enumerate(of_arm, start=2):
            record(plan, recorder, arm, seed, value)
    recorder.close_sweep(1, 0, (6,), "t000")
    assert tracker.close(60)
    return write_report("raced", writer.uri, folder / "report")[1]


def test_points_have_the_mean_over_their_seeds_and_the_winner_is_first(raced: Path) -> None:
    rows = read_rows(raced / "table.csv")
    assert [row["trial"] for row in rows] == ["t000", "t001", "t002", "t003"]
    assert float(rows[0]["value"]) == pytest.approx(0.41)
    assert [row["seeds"] for row in rows] == ["2", "1", "1", "0"]


def test_the_winner_is_compared_with_the_starting_point_over_unseen_seeds(raced: Path) -> None:
    text = (raced / "report.md").read_text()
    assert "t000**: higher than base: +3.3 AP" in text
    assert "AP 39.0 over 6 seeds that the search did not see" in text
    assert "41.0 over 2 seeds by which it was chosen differ by +2.0 (winner's curse)" in text
    assert "One look, after 6 seeds" in text
    assert "Confirmed: AP (val/AP), in percent" in text
    assert "orchestration/sweep.py" not in text.partition("Best settings")[2].partition("## ")[0]


def test_failed_seeds_are_listed_and_seeds_that_no_point_was_given_are_not(raced: Path) -> None:
    missing = (raced / "report.md").read_text().partition("## Trials without a result")[2].partition("## ")[0]
    assert "t003 seed 0: failed" in missing
    assert missing.count("seed") == 1


def test_report_json_has_the_gap_and_the_comparison(raced: Path) -> None:
    report = read_report(raced)
    confirmation = report["search"]["confirmation"]
    assert (confirmation["winner"], confirmation["seeds"]) == ("t000", [2, 3, 4, 5, 6, 7])
    assert confirmation["search_value"] == pytest.approx(0.41)
    assert confirmation["gap"] == pytest.approx(0.02)
    assert confirmation["comparison"]["num_pairs"] == 6
    assert confirmation["comparison"]["p"] <= 0.05
    assert confirmation["earlier"] == []
    assert [point["num_seeds"] for point in report["search"]["points"]] == [2, 1, 1, 0]


def test_the_winner_of_an_earlier_command_is_none_of_a_later_one(
    raced: Path, writer: SweepWriter, tmp_path: Path
) -> None:
    assert "the winner first" in (raced / "report.md").read_text()
    overrides = [*WORDS, f"output={tmp_path}", "name=open"]
    lab = compose(check_overrides(overrides))
    plan = make_plan(lab, lambda config: ("digest", ()), overrides)
    for winner in ("t000", None):
        tracker = Tracker(writer.uri, "race", tmp_path, "open")
        recorder = RunRecorder.of(plan, tracker, lab)
        recorder.open_sweep()
        recorder.close_sweep(0, 0, (), winner)
        assert tracker.close(60)
        assert read_sweep(writer.uri, "open").winner == winner
