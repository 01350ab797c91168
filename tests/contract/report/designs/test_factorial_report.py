"""The report of a factorial experiment: planned and recorded as the commands do it; only the trainings are made up."""

import zlib
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from fcos.storage.run_folder import MetricPoint
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.driver.recorder import RunRecorder
from orchestration.planning.make_plan import make_plan
from orchestration.tracking.tracker import Tracker
from orchestration.trial import files
from tests.helpers.experiments.report_json import read_report
from tests.helpers.experiments.stored_sweeps import SweepWriter
from tests.helpers.experiments.summaries import summary_of

SEEDS = 9


def write_factorial(writer: SweepWriter, folder: Path, word: str, seeds: int = SEEDS) -> Path:
    """Record a sweep whose AP lacks one cell in the last seed; return the folder of its report.

    Center-ness adds 8 points where positives are everywhere, and 2 where they are near the center.
    """
    overrides = [word, f"experiment.seeds=[{','.join(map(str, range(seeds)))}]", f"output={folder}", "name=factors"]
    lab = compose(check_overrides(overrides))
    plan = make_plan(lab, lambda config: ("digest", ()), overrides)
    tracker = Tracker(writer.uri, f"factorial {folder.name}", folder, "factors")
    recorder = RunRecorder.of(plan, tracker, lab)
    recorder.open_sweep()
    for trial in plan.trials:
        recorder.start(trial)
        (arm,) = trial.arms
        if trial.seed == seeds - 1 and arm == lab.experiment.baseline:  # type: ignore[union-attr]
            recorder.fail(trial, "loss is not finite at step 61")
            continue
        gain = (0.02 if "center" in arm.split("+") else 0.08) * ("branch" in arm)
        chance = zlib.crc32(f"{arm}{trial.seed}".encode()) / 2**32 * 0.01
        value = 0.3 + 0.02 * trial.seed + gain + chance
        plan.folder_of(trial).mkdir(parents=True)
        files.append_points(plan.folder_of(trial), [MetricPoint(arm, "val/AP", 400, value)])
        recorder.finish(trial, summary_of({arm: {"val/AP": value}}, step=400))
    recorder.close_sweep(1, 0)
    assert tracker.close(60)
    return write_report("factors", writer.uri, folder / "report", f"factorial {folder.name}")[1]


@pytest.fixture(scope="module")
def full(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_factorial(writer, tmp_path_factory.mktemp("full"), "+experiment=factorial_centerness_sampling")


@pytest.fixture(scope="module")
def report(full: Path) -> Any:
    return read_report(full)


def test_main_effects_and_the_interaction_have_the_verdicts(full: Path, report: Any) -> None:
    outcomes = {verdict["arm"]: verdict["outcome"] for verdict in report["verdicts"]}
    assert outcomes == {"centerness": "higher", "sampling": "lower", "centerness*sampling": "lower"}
    text = (full / "report.md").read_text()
    assert "branch minus none is lower with center than with everywhere: −6" in text
    assert "Effects on AP (val/AP), in percent" in text


def test_arms_are_described_and_not_tested(report: Any) -> None:
    of_arms = [item for item in report["comparisons"] if item["metric"] == "val/AP"]
    assert len(of_arms) == 3
    assert {item["adjusted_p"] for item in of_arms} == {None}


def test_a_seed_without_a_cell_is_left_out_with_a_note(full: Path, report: Any) -> None:
    assert all(effect["sizes"].keys() == {str(seed) for seed in range(SEEDS - 1)} for effect in effects(report))
    assert (
        f"Seed {SEEDS - 1} is left out of the effects: no value of none+everywhere." in (full / "report.md").read_text()
    )


def effects(report: Any) -> list[Any]:
    """Return the records of the effects on AP."""
    return [effect for effect in report["factorial"]["effects"] if effect["metric"] == "val/AP"]


def test_report_json_has_the_design_and_each_size(report: Any) -> None:
    assert report["factorial"]["factors"] == {"centerness": ["none", "branch"], "sampling": ["everywhere", "center"]}
    assert (report["factorial"]["generators"], report["factorial"]["resolution"]) == ([], "")
    values = {(item["arm"], item["seed"]): item["value"] for item in report["values"] if item["metric"] == "val/AP"}
    interaction = next(effect for effect in effects(report) if effect["effect"] == "centerness*sampling")
    cells = [values[arm, 0] for arm in ("branch+center", "none+center", "branch+everywhere", "none+everywhere")]
    assert interaction["sizes"]["0"] == pytest.approx((cells[0] - cells[1]) - (cells[2] - cells[3]))
    assert interaction["levels"] == {"centerness": "branch", "sampling": "center"}


def test_the_page_has_the_interaction_plot(full: Path) -> None:
    page = (full / "report.html").read_text()
    assert "AP by the levels of two factors" in page and "AP: effects of the factors" in page


def test_a_fraction_names_its_aliases(writer: SweepWriter, tmp_path: Path) -> None:
    folder = write_factorial(writer, tmp_path, "+experiment=factorial_improvements", seeds=2)
    text = (folder / "report.md").read_text()
    assert "a fraction of resolution IV, I = centerness\\*norm\\*sampling\\*loss" in text
    assert "; aliased with +sampling\\*loss" in text
    content = read_report(folder)
    pairs = {effect["effect"]: [alias["factors"] for alias in effect["aliases"]] for effect in effects(content)}
    assert pairs["centerness"] == ["norm*sampling*loss"]
    assert pairs["centerness*norm"] == ["sampling*loss"]
