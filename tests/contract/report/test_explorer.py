"""explorer.html of a stored sweep: its data, what it says is missing, and that names cannot become markup."""

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis.explorer.page import MAX_BYTES, make_explorer_page
from analysis.reader.runs import read_sweep
from analysis.reader.sweep_evaluations import open_evaluations
from analysis.report import write_report
from analysis.sections.document import build_document
from analysis.sections.resampling import Resampling
from tests.helpers.experiments.explored_sweeps import CLASSES, draw_images, log_files, save_run, write_explored_sweep
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, HOSTILE, SweepWriter

NUM_IMAGES = 24


class Page(HTMLParser):
    """Elements of a page, its addresses and its handlers of events."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def notes_of(page: str) -> str:
    found = re.search(r'<ul class="notes">(.*?)</ul>', page, re.DOTALL)
    return found[1] if found else ""


@pytest.fixture(scope="module")
def folder(own_writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_explored_sweep(own_writer, "explored", tmp_path_factory.mktemp("images"), NUM_IMAGES)
    return write_report("explored", own_writer.uri, tmp_path_factory.mktemp("report"))[1]


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "explorer.html").read_text()


def test_every_image_is_there_with_truth_thumbnail_and_the_detections_of_all_runs(page: str) -> None:
    data = data_of(page)
    assert data["arms"] == ["none", "branch", HOSTILE]
    assert (data["baseline"], data["seeds"], data["classes"]) == (0, [0, 1, 2], list(CLASSES))
    assert len(data["pictures"]) == NUM_IMAGES
    for picture in data["pictures"]:
        assert picture["thumbnail"].startswith("data:image/jpeg;base64,")
        assert picture["changes"][0] is None
        assert picture["changes"][1]["pairs"] == 3
        # The third arm's last seed failed.
        assert picture["changes"][2]["pairs"] == 2
        assert picture["f1"][2][2] is None
        assert [len(seeds) for seeds in picture["detections"]] == [2, 2, 2]
        assert all(detections is not None for seeds in picture["detections"] for detections in seeds)


def test_images_that_changed_most_come_first(page: str) -> None:
    def change(picture: Any) -> float:
        changes = [item for item in picture["changes"] if item]
        counted = [item for item in changes if 2 * max(item["better"], item["worse"]) > item["pairs"]]
        return max((abs(item["mean"]) for item in counted), default=0.0)

    sizes = [change(picture) for picture in data_of(page)["pictures"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0


def test_values_and_runs_are_those_of_the_store(page: str, own_writer: SweepWriter) -> None:
    data = data_of(page)
    runs = {(trial.arm, trial.seed): trial.run_id for trial in read_sweep(own_writer.uri, "explored").current}
    for arm, of_arm in zip(data["arms"], data["runs"], strict=True):
        assert [run["run_id"] for run in of_arm] == [runs[arm, seed] for seed in data["seeds"]]
    assert [table["is_tested"] for table in data["metrics"]] == [True] + [False] * (len(data["metrics"]) - 1)
    cell = data["metrics"][0]["rows"][0]["cells"][1]
    assert cell["values"] == pytest.approx([0.491, 0.462, 0.505])
    assert cell["difference"] == pytest.approx(0.032, rel=1e-5), "the median"
    assert (cell["low"], cell["high"]) == (pytest.approx(0.031, rel=1e-5), pytest.approx(0.035, rel=1e-5))


def test_tables_by_class_size_crowding_and_error_have_every_arm_and_seed(page: str) -> None:
    tables = {table["caption"]: table for table in data_of(page)["groups"]}
    assert list(tables) == [
        "AP50 by class",
        "Recall by class",
        "Precision by class",
        "Recall by object size",
        "Recall by crowding",
        "Where errors go",
    ]
    for table in tables.values():
        assert all(len(row["cells"]) == 3 for row in table["rows"])
        assert all(len(cell["values"]) == 3 for row in table["rows"] for cell in row["cells"])
    by_class = sum(row["count"] for row in tables["Recall by class"]["rows"])
    assert by_class == sum(row["count"] for row in tables["Recall by object size"]["rows"])
    assert by_class == sum(row["count"] for row in tables["Recall by crowding"]["rows"])


def test_names_of_arms_classes_and_images_are_no_markup(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags.count("script") == 2
    # Those of the two figures.
    assert parsed.tags.count("img") == 2
    assert parsed.handlers == []
    assert "onerror=alert(3)>" not in page
    assert any("onerror=alert(3)>" in picture["name"] for picture in data_of(page)["pictures"])


def test_the_page_loads_nothing_and_runs_its_own_script_alone(page: str) -> None:
    parsed = Page(page)
    assert all(address == "report.html" or address.startswith("data:image/") for address in parsed.addresses)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]
    # What stands between its tags, byte by byte.
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert html.unescape(policy[1]).partition("script-src ")[2] == f"'sha256-{digest}'"
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval\(", page)


def test_the_report_without_scripts_links_to_the_page(folder: Path) -> None:
    report = Page((folder / "report.html").read_text())
    assert "explorer.html" in report.addresses
    assert "script" not in report.tags


@pytest.mark.usefixtures("real_figures")
def test_the_same_store_gives_the_same_page(page: str, own_writer: SweepWriter, tmp_path: Path) -> None:
    write_report("explored", own_writer.uri, tmp_path)
    assert (tmp_path / "explorer.html").read_text() == page


@pytest.mark.usefixtures("real_figures")  # as large as those of the page that it is compared with
def test_pictures_are_left_out_with_a_note_where_the_page_would_be_too_large(
    page: str, own_writer: SweepWriter
) -> None:
    assert len(page.encode()) < MAX_BYTES
    max_bytes = len(page.encode()) - 20_000
    sweep = read_sweep(own_writer.uri, "explored")
    with open_evaluations(sweep) as evaluations:
        document = build_document(sweep, evaluations, Resampling(0))
        smaller = make_explorer_page(document, evaluations, max_bytes=max_bytes)
    assert len(smaller.encode()) <= max_bytes
    shown = len(data_of(smaller)["pictures"])
    assert 0 < shown < NUM_IMAGES
    assert f"{shown} of {NUM_IMAGES} images are shown" in notes_of(smaller)


def test_of_runs_without_evaluations_the_values_by_seed_are_left(
    writer: SweepWriter, centerness: str, run_report: Callable[..., int], tmp_path: Path
) -> None:
    assert run_report("centerness", "--tracking-uri", writer.uri, "--output", tmp_path) == 0
    page = (tmp_path / "explorer.html").read_text()
    data = data_of(page)
    assert len(data["metrics"]) == 2
    assert (data["groups"], data["pictures"]) == ([], [])
    assert "No trial has a saved evaluation" in notes_of(page)
    assert "Images that changed" not in page


@pytest.fixture
def other_truth(own_writer: SweepWriter, tmp_path: Path) -> str:
    """Name of a sweep whose arms are evaluated against different annotations, one of them tampered with."""
    experiment = {**EXPERIMENT, "arms": {"none": {}, "branch": {}, "broken": {}}, "seeds": [0], "paper": {}}
    parent = own_writer.write_sweep("mixed", "mixed", {}, experiment=experiment)
    for arm, count in (("none", 4), ("branch", 5), ("broken", 4)):
        folder = tmp_path / arm
        folder.mkdir()
        files = save_run(draw_images(folder, count), "none", 0, folder / "saved")
        if arm == "broken":
            next(file for file in files if file.name == "results.json.gz").write_bytes(b"[]")
        log_files(own_writer, own_writer.write_trial("mixed", parent, arm, 0, 0.4), files)
    return "mixed"


def test_evaluations_of_other_annotations_or_tampered_with_are_noted_and_left_out(
    own_writer: SweepWriter, other_truth: str, run_report: Callable[..., int], tmp_path: Path
) -> None:
    assert run_report(other_truth, "--tracking-uri", own_writer.uri, "--output", tmp_path / "report") == 0
    page = (tmp_path / "report" / "explorer.html").read_text()
    notes = notes_of(page)
    assert "The evaluation of branch seed 0 is left out: its annotations are others" in notes
    assert "The evaluation of broken seed 0 is left out: run" in notes
    assert "results_sha256 differs" in notes
    assert "The store has no thumbnails" in notes
    data = data_of(page)
    assert [len(item["f1"]) for item in data["pictures"]] == [3] * 4
    assert all(picture["detections"][1] == [None] for picture in data["pictures"])
    assert [confusion is None for confusion in data["confusions"]] == [False, True, True]


def test_a_report_does_not_import_torch() -> None:
    code = (
        "import sys, analysis.report, analysis.explorer.page, analysis.report_json.build; print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
