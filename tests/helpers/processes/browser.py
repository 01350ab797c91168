"""A headless Chromium for tests of pages; without one, or without Playwright, they are skipped by name.

uv run --with playwright python -m pytest tests/contract/report/test_pages_in_browser.py
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Yield a browser: the one that FCOS_LAB_BROWSER names, or one that is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = os.environ.get("FCOS_LAB_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here; FCOS_LAB_BROWSER names one")
    with api.sync_playwright() as playwright:
        # The pages are the project's own; a container's root has no other way.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class OpenPage:
    """A page in the browser, and what it complained about."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@contextmanager
def open_page(browser: Any, file: Path, width: int, scheme: str) -> Iterator[OpenPage]:
    """Open a file at a width in pixels in a light or dark colour scheme, without a network."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    opened = OpenPage(context.new_page())
    opened.page.on("console", lambda message: opened.complaints.append(message.text))
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on("dialog", lambda dialog: opened.complaints.append(f"dialog: {dialog.message}"))
    opened.page.goto(file.as_uri())
    yield opened
    context.close()
