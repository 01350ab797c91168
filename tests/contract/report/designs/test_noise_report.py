"""The report of a noise floor: its tables, its sentences, its figures, and the noise.json that later sweeps read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.reader.runs import read_sweep
from analysis.report import write_report
from analysis.sections.noise_floor import build_noise_content
from analysis.stats.noise import ValidationNoise
from analysis.stats.paired import collect_final_values
from analysis.stats.weighted_metrics import compute_weighted_metrics
from fcos.evaluation.coco import coco_metrics
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.storage.evaluation_files import FILES
from fcos.storage.noise_floor import NOISE, read_noise_floor
from tests.helpers.csv_rows import read_rows
from tests.helpers.detections.evaluations import random_evaluation
from tests.helpers.experiments.report_json import read_report
from tests.helpers.experiments.stored_sweeps import PARAMS, SweepWriter

FIXED = {"seeds.weights": 0, "seeds.order": 0, "seeds.augmentation": 0}
VARYING = ("weights", "order", "augmentation")
EXPERIMENT: dict[str, Any] = {
    # Not recognised by its name.
    "name": "how_much_is_chance",
    "kind": "noise_floor",
    "claim": "Two trainings of one configuration differ by chance.",
    "baseline": "all",
    "arms": {
        "all": {f"seeds.{source}": None for source in VARYING},
        **{source: {**FIXED, f"seeds.{source}": None} for source in VARYING},
    },
    "seeds": [0, 1, 2, 3, 4, 5],
    "metrics": ["val/AP", "val/AP50"],
}
RESULTS = {
    "all": (0.300, 0.340, 0.320, 0.360, 0.310, 0.350),
    "weights": (0.300, 0.330, 0.310, 0.335, 0.305, 0.325),
    "order": (0.300, 0.310, 0.305, 0.320, 0.290, 0.315),
    "augmentation": (0.300, 0.302, 0.304, 0.299, 0.301, None),
}


@pytest.fixture(scope="module")
def floor(writer: SweepWriter) -> str:
    """Run id of a noise floor with one failed trial."""
    return writer.write_sweep("noise", "floor", RESULTS, experiment=EXPERIMENT)


@pytest.fixture(scope="module")
def written(writer: SweepWriter, floor: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report("floor", writer.uri, tmp_path_factory.mktemp("noise"))[1]


def test_noise_json_has_the_spread_by_metric_and_source_and_what_it_holds_for(written: Path, floor: str) -> None:
    noise = read_noise_floor(written / NOISE)
    assert (noise.sweep, noise.run_id, noise.data_digest) == ("floor", floor, "da" * 32)
    assert noise.settings == dict(PARAMS)
    ap = noise.metrics["val/AP"]
    assert (ap.seeds, round(ap.deviation, 5), round(ap.mean, 3)) == (6, 0.02366, 0.330)
    assert ap.low < ap.deviation < ap.high
    assert {source: spread.seeds for source, spread in ap.sources.items()} == {
        "weights": 6,
        "order": 6,
        "augmentation": 5,
    }
    assert set(noise.metrics) == {"val/AP", "val/AP50"}


def test_the_report_states_how_large_the_noise_is_and_what_counts_for_nothing(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert "AP has a standard deviation of 2.4 over 6 seeds (95 % interval 1.5 to 5.8)." in text
    assert "- A difference of two arms in AP counts for nothing below 4.3 over 6 seeds, 3.1 over 8 seeds and" in text
    assert "; over 3 no exact test shows any." in text
    assert "single ones have weights 37 %, order 21 % and augmentation 1 %, together 59 %; over" in text
    # F at 5 and 4 degrees of freedom: one seed of an arm failed.
    assert "; over 5 seeds beside 6 a share is known to a factor of 9.4 either way." in text
    assert "(seed 0 of all arms): the samples of the arms are not quite independent." in text
    assert "| sum of weights, order and augmentation |" in text
    # Neither verdicts on arms nor a plea for a baseline.
    assert "## Verdict" not in text and "Nothing is compared" not in text
    assert "augmentation seed 5: failed, non-finite loss" in text
    assert "How much other validation images would add is not measured here." in text


def test_the_page_shows_values_and_power_and_loads_nothing_from_elsewhere(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert "AP of one configuration, by what varies with the seed" in page
    assert "Power: which differences in AP a sweep finds" in page
    assert page.count("<figure") == 2
    assert "http://" not in page and "https://" not in page


def test_the_table_has_every_metric_and_arm(written: Path) -> None:
    rows = read_rows(written / "table.csv")
    assert [(row["metric"], row["arm"]) for row in rows] == [
        (metric, arm) for metric in ("val/AP", "val/AP50") for arm in RESULTS
    ]
    assert rows[0]["sources"] == "weights order augmentation" and rows[3]["missing"] == "5"


@pytest.mark.usefixtures("real_figures")
def test_the_same_store_gives_the_same_files(writer: SweepWriter, written: Path, tmp_path: Path) -> None:
    again = write_report("floor", writer.uri, tmp_path)[1]
    for path in written.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_validation_sample_has_a_row_and_a_share_where_it_is_known(writer: SweepWriter, floor: str) -> None:
    sweep = read_sweep(writer.uri, floor)
    values = collect_final_values(sweep.current, sweep.points, sweep.experiment.metrics, list(RESULTS), range(6))
    validation = ValidationNoise(variance=0.02366**2 / 4, images=300, resamples=1000)
    content = build_noise_content(sweep, values, "all", validation)
    row = content.tables[0].frame.iloc[-1]
    assert row["varies"] == "validation images" and row["share"] == pytest.approx(0.25, abs=0.001)
    assert any("20 % is from the 300 images (bootstrap, 1000 resamples)" in line for line in content.limitations)


def test_the_validation_sample_is_measured_from_saved_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outputs").mkdir()
    own = SweepWriter(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}", tmp_path / "outputs")
    experiment = {**EXPERIMENT, "arms": {"all": {}}, "seeds": [0, 1], "metrics": ["val/AP", "val/ARs"]}
    parent = own.write_sweep("noise", "measured", {}, experiment=experiment)
    for seed in (0, 1):
        annotations, detections = random_evaluation(tmp_path, 1)
        moved = {image: replace(found, boxes=found.boxes + seed) for image, found in detections.items()}
        run = own.write_trial("noise", parent, "all", seed, coco_metrics(annotations, moved)["val/AP"])
        save_evaluations(annotations, {"": moved}, tmp_path / str(seed), data_digest="d", step=1200)
        for name in FILES:
            own.client.log_artifact(run, str(tmp_path / str(seed) / name), "evaluation")
    evaluated: list[Sequence[str]] = []

    def compute(*arguments: Any) -> Any:
        evaluated.append(arguments[3])
        return compute_weighted_metrics(*arguments)

    monkeypatch.setattr("analysis.sections.resampling.compute_weighted_metrics", compute)
    document, folder = write_report("measured", own.uri, tmp_path / "report", resamples=200)
    # What is not shown is not evaluated on resamples.
    assert evaluated == [["val/AP"]] * 2
    validation = document.content.validation
    assert validation is not None
    assert (validation.images, validation.resamples) == (len(annotations), 200)
    assert 0 < validation.variance < 0.1
    recorded = read_report(folder)["noise"]["validation"]
    assert recorded["deviation"] == pytest.approx(validation.variance**0.5)
    assert "validation images" in (folder / "report.md").read_text()


def test_one_seed_is_no_noise_and_leaves_no_file(writer: SweepWriter, tmp_path: Path) -> None:
    one = {**EXPERIMENT, "seeds": [0]}
    writer.write_sweep("noise", "one_seed", {"all": (0.3,), "weights": (0.3,)}, experiment=one)
    folder = write_report("one_seed", writer.uri, tmp_path)[1]
    assert "Fewer than two seeds have a value of AP: its noise is unknown." in (folder / "report.md").read_text()
    assert not (folder / NOISE).exists()


def test_the_console_shows_the_findings(
    run_report: Callable[..., int], writer: SweepWriter, floor: str, capsys
) -> None:
    assert run_report("floor", "--tracking-uri", writer.uri) == 0
    output = capsys.readouterr().out
    assert "floor: Noise of AP (val/AP), in percent" in output
    assert "standard deviation of 2.4 over 6 seeds" in output


def test_report_json_has_every_spread_and_what_seeds_resolve(written: Path) -> None:
    report = read_report(written)
    spreads = {(item["metric"], item["arm"]): item for item in report["noise"]["spreads"]}
    assert spreads["val/AP", "all"]["deviation"] == read_noise_floor(written / NOISE).metrics["val/AP"].deviation
    assert (spreads["val/AP", "weights"]["sources"], spreads["val/AP", "augmentation"]["n"]) == (["weights"], 5)
    assert report["noise"]["source_sum"]["sources"] == list(VARYING)
    assert [(item["seeds"], item["shows"] is None) for item in report["noise"]["resolutions"]] == [
        (3, True),
        (6, False),
        (8, False),
        (12, False),
    ]
    assert (report["comparisons"], report["summaries"]) == ([], [])
    assert report["findings"]
    assert not (written / "explorer.html").exists()
