"""The pages that docs/site/ makes of schema and config files, and its navigation, are complete."""

from pathlib import Path

import pytest

from docs.site.api_reference import rooms, write_api_pages
from docs.site.config_keys import config_keys_page, read_sections
from docs.site.documents import DOCS, OUTSIDE, ROOT, page_target, stage_documents
from docs.site.experiments import FOLDER, experiments_page, question_groups, read_experiment
from docs.site.links import find_faults
from docs.site.navigation import CONFIG_KEYS, EVERY_EXPERIMENT, listed_pages
from docs.site.units import UNITS

KEYS = [key for section in read_sections() for key in section.keys]
EXPERIMENTS = sorted(FOLDER.glob("*.yaml"))


def test_every_config_key_has_an_effect() -> None:
    assert len(KEYS) > 200
    assert [key.name for key in KEYS if not key.effect] == []
    assert len({key.name for key in KEYS}) == len(KEYS)


def test_every_key_that_is_a_number_has_a_unit() -> None:
    # A distribution has the unit of the key that it is of.
    numbers = {key.name for key in KEYS if "number" in key.values and "<key>" not in key.name}
    listed = [key for keys in UNITS.values() for key in keys]
    assert sorted(listed) == sorted(numbers)


def test_the_page_of_config_keys_has_default_values_and_unit() -> None:
    page = config_keys_page()
    _, _, rest = page.partition("### `cluster.stall_minutes`")
    entry = rest.partition("\n### ")[0]
    assert "- Values: number, at least 0.1 or `null`" in entry
    assert "- Default: `30`" in entry
    assert "- Unit: minutes" in entry


def test_every_experiment_is_on_its_page_with_claim_and_cost() -> None:
    page = experiments_page()
    for file in EXPERIMENTS:
        experiment = read_experiment(file)
        assert page.count(f"### {file.stem}\n") == 1
        assert f"+experiment={file.stem}" in experiment.command
        assert experiment.claim and experiment.papers and experiment.cost


def test_a_header_without_cost_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "no_cost.yaml"
    file.write_text("# @package _global_\n# python orchestration/sweep.py +experiment=no_cost\n#\n# Claim   One.\n")
    with pytest.raises(ValueError, match="no cost"):
        read_experiment(file)


def test_every_experiment_stands_below_a_question() -> None:
    listed = [name for _, names in question_groups() for name in names]
    assert sorted(listed) == [file.stem for file in EXPERIMENTS]


def test_every_document_is_in_the_navigation() -> None:
    documents = {file.name for file in DOCS.glob("*.md")} | set(OUTSIDE.values())
    listed = listed_pages()
    assert len(set(listed)) == len(listed)
    assert documents - set(listed) == set()
    assert set(listed) - documents - {CONFIG_KEYS, EVERY_EXPERIMENT} == set()


@pytest.mark.parametrize(
    "document, target, page",
    [
        ("README.md", "docs/running.md#ray", "running.md#ray"),
        ("README.md", "LICENSE", "license.txt"),
        ("README.md", "CITATION.cff", "citation.txt"),
        ("docs/api.md", "../examples/README.md", "examples.md"),
        ("README.md", "docs/images/report.png", "images/report.png"),
        ("docs/running.md", "../AGENTS.md", "AGENTS.md"),
        ("docs/running.md", "../conf/experiment", "every_experiment.md"),
        ("docs/running.md", "faults.md", "faults.md"),
        ("docs/running.md", "#ray", "#ray"),
        ("AGENTS.md", "https://example.com/a#b", "https://example.com/a#b"),
    ],
)
def test_links_of_documents_lead_to_pages(document: str, target: str, page: str) -> None:
    assert page_target(ROOT / document, target) == page


def test_documents_are_staged_in_their_words(tmp_path: Path) -> None:
    stage_documents(tmp_path)
    assert (tmp_path / "search.md").read_text() == (DOCS / "search.md").read_text()
    # Of which the site's Markdown would show the backslash.
    assert "<code>&#124; head</code>" in (tmp_path / "faults.md").read_text()
    assert "](docs/" not in (tmp_path / "index.md").read_text()


def test_each_room_of_the_library_has_a_page_with_all_of_its_modules(tmp_path: Path) -> None:
    pages = write_api_pages(tmp_path)
    assert len(pages) == len(list(rooms())) > 20
    text = "\n".join((tmp_path / file).read_text() for _, file in pages)
    for module in (
        "fcos.training_run",
        "fcos.assignment.fcos",
        "fcos.evaluation.saved.saved_evaluation",
        "analysis.stats.paired",
    ):
        assert f"::: {module}\n" in text
    assert "::: fcos.cli" not in text


def test_faults_of_built_pages_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">1</a><a href="b.html#not">2</a><a href="c.html">3</a>'
        '<a href="#top">4</a><a href="https://example.com">5</a><script src="https://example.com/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="there">B</p><img src="data:image/png;base64,">')
    (tmp_path / "s.css").write_text("@import url(//example.com/font.css); a { background: url(images/x.png) }")
    assert find_faults(tmp_path) == [
        "a.html: fetches https://example.com/x.js",
        "a.html: b.html#not leads nowhere",
        "a.html: c.html leads nowhere",
        "s.css: fetches //example.com/font.css",
    ]
