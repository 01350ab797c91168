"""The documentation site builds strictly, and looks right in a headless browser without a network.

uv run --group docs --with playwright python -m pytest tests/contract/documents/test_site.py
FCOS_LAB_AXE names axe.min.js (of the npm package axe-core), with which accessibility is checked.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes.accessibility import find_violations
from tests.helpers.processes.browser import open_browser, open_page

# The site is built in half a minute.
pytestmark = pytest.mark.slow(minutes=2)

PHONE, DESK = 390, 1280
PAGES = ("index.html", "first_steps.html", "reports.html", "config_keys.html", "every_experiment.html")
API = "modules/fcos.assignment.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def test_the_site_builds_strictly(built_site: tuple[Path, list[str]]) -> None:
    html, faults = built_site
    assert faults == []
    assert "match_atss" in (html / API).read_text()
    assert 'id="model.head.norm"' in (html / "config_keys.html").read_text()


# One test for all pages: each process that takes a part of them would build the site.
def test_pages_fit_phone_and_desk_and_have_no_serious_faults(browser: Any, built_site: tuple[Path, list[str]]) -> None:
    faults = []
    for name, width, scheme in product((*PAGES, API), (PHONE, DESK), ("light", "dark")):
        with open_page(browser, built_site[0] / name, width, scheme) as opened:
            if (needed := opened.page.evaluate("document.documentElement.scrollWidth")) > width:
                opened.complaints.append(f"needs {needed} pixels")
            faults += [(name, width, scheme, fault) for fault in [*opened.complaints, *find_violations(opened.page)]]
    assert faults == []


def test_search_finds_a_config_key_without_a_server(browser: Any, built_site: tuple[Path, list[str]]) -> None:
    with open_page(browser, built_site[0] / "index.html", DESK, "light") as opened:
        opened.page.keyboard.press("/")
        opened.page.keyboard.type("stall_minutes")
        opened.page.wait_for_selector("a[href*='config_keys.html?'][href$='#cluster.stall_minutes']")
