"""Both pages of a report in a headless browser, at phone and desk width, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from tests.helpers.experiments.explored_sweeps import CLASSES, write_explored_sweep
from tests.helpers.experiments.stored_sweeps import HOSTILE, SweepWriter
from tests.helpers.processes.accessibility import find_violations
from tests.helpers.processes.browser import open_browser, open_page

PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(browser: Any, own_writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # After the browser, without which nothing of this is needed.
    write_explored_sweep(own_writer, "browsed", tmp_path_factory.mktemp("browsed"), 60)
    return write_report("browsed", own_writer.uri, tmp_path_factory.mktemp("pages"))[1]


@pytest.fixture
def explorer(browser: Any, folder: Path) -> Iterator[Any]:
    with open_page(browser, folder / "explorer.html", DESK, "light") as opened:
        yield opened.page
        assert opened.complaints == []


@pytest.mark.parametrize("name", ["report.html", "explorer.html"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_their_width_and_have_no_errors(
    browser: Any, folder: Path, name: str, width: int, scheme: str
) -> None:
    with open_page(browser, folder / name, width, scheme) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)")
        if name == "explorer.html":
            opened.page.locator(".card").first.click()
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
            box = opened.page.locator("#viewer").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        assert opened.complaints == []


@pytest.mark.parametrize("name", ["report.html", "explorer.html"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_serious_accessibility_faults(
    browser: Any, folder: Path, name: str, width: int, scheme: str
) -> None:
    with open_page(browser, folder / name, width, scheme) as opened:
        assert find_violations(opened.page) == []


def texts(explorer: Any, selector: str) -> list[str]:
    return [str(text) for text in explorer.locator(selector).all_text_contents()]


def test_a_column_sorts_numbers_from_the_highest_and_names_from_a(explorer: Any) -> None:
    column = "#metrics table >> nth=0 >> tbody td:nth-child({})"
    assert texts(explorer, column.format(1)) == ["none (baseline)", "branch", HOSTILE]
    seed_2 = explorer.locator("#metrics th button").nth(5)
    seed_2.click()
    # The failed seed is last, whatever the direction.
    assert texts(explorer, column.format(6)) == ["50.5", "47.0", "–"]
    seed_2.click()
    assert texts(explorer, column.format(6)) == ["47.0", "50.5", "–"]
    explorer.locator("#metrics th button").first.click()
    assert texts(explorer, column.format(1)) == [HOSTILE, "branch", "none (baseline)"]


def test_a_number_shows_its_seeds_and_runs(explorer: Any) -> None:
    mean = explorer.locator("#metrics tbody tr").nth(1).locator("td").nth(1)
    mean.hover()
    lines = explorer.locator("#tip").inner_text().splitlines()
    assert lines[0] == "branch"
    assert lines[1].startswith("seed 0: 49.1, run ")
    assert lines[-2:] == ["median difference to none: +3.2", "75 % interval of 3 pairs: +3.1 to +3.5"]
    explorer.keyboard.press("Escape")
    assert explorer.locator("#tip").is_hidden()
    failed = explorer.locator("#metrics tbody tr").nth(2).locator("td").nth(5)
    failed.focus()
    assert explorer.locator("#tip").inner_text().startswith("seed 2: failed, run ")


def test_the_class_filter_leaves_rows_and_images_of_the_class(explorer: Any) -> None:
    count = int(explorer.locator("#count").inner_text().split()[0])
    explorer.locator("#kind").select_option("all")
    every = int(explorer.locator("#count").inner_text().split()[0])
    assert every == 60 > count
    explorer.locator("#image-class").select_option(label=CLASSES[1])
    assert int(explorer.locator("#count").inner_text().split()[0]) < every
    visible = explorer.locator(".table-class >> nth=0 >> tbody tr:visible")
    assert [text.startswith(CLASSES[1]) for text in visible.all_text_contents()] == [True]
    assert explorer.locator("#table-class").input_value() == "1"
    explorer.locator("#table-class").select_option("-1")
    assert int(explorer.locator("#count").inner_text().split()[0]) == every


def test_a_click_on_an_image_shows_the_truth_and_all_arms(explorer: Any) -> None:
    explorer.locator(".card").first.click()
    viewer = explorer.locator("#viewer")
    headings = texts(explorer, "#panels h3")
    assert headings[0] == "truth"
    assert [heading.rpartition(": F1")[0] for heading in headings[1:]] == ["none", "branch", HOSTILE]
    assert viewer.locator("svg").count() == 4
    assert viewer.locator("svg image").count() == 4
    assert viewer.locator("svg >> nth=0 >> rect.truth").count() > 0
    name = explorer.locator("#viewer-name").inner_text()
    explorer.keyboard.press("ArrowRight")
    assert explorer.locator("#viewer-name").inner_text() != name
    explorer.locator("#previous").click()
    assert explorer.locator("#viewer-name").inner_text() == name
    explorer.locator("#viewer-seed").select_option(label="1")
    assert viewer.locator("svg").count() == 4
    explorer.locator("#close").click()
    assert viewer.is_hidden()


def test_mended_and_spoiled_images_of_each_arm_are_listed(explorer: Any) -> None:
    assert texts(explorer, "#arm option") == ["branch", HOSTILE]
    explorer.locator("#kind").select_option("spoiled")
    changes = texts(explorer, ".card span:last-child")
    assert changes
    assert all("worse in" in text for text in changes)
    explorer.locator("#arm").select_option(label=HOSTILE)
    assert all(text.endswith("of 2 seeds") for text in texts(explorer, ".card span:last-child"))


def test_the_confusion_of_an_arm_has_a_row_for_each_class_and_one_for_no_box(explorer: Any) -> None:
    explorer.locator("#confusion-arm").select_option(label="branch")
    assert texts(explorer, '#confusion th[scope="row"]') == [*CLASSES, "no box"]
    assert texts(explorer, '#confusion th[scope="col"]') == [*CLASSES, "missed"]
    explorer.locator("#confusion td.cell").first.hover()
    assert explorer.locator("#tip").inner_text().startswith("disc as disc\nseed 0: ")
