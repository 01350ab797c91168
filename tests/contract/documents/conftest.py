"""The documentation site, built once for the tests that need it."""

from pathlib import Path

import pytest

from docs.site.build import HTML, build_site, stage_site


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of the built pages, and what the strict build complained about."""
    pytest.importorskip("zensical", reason="the dependency group docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the dependency group docs is not installed")
    output = tmp_path_factory.mktemp("site")
    stage_site(output)
    return output / HTML, build_site(output)
