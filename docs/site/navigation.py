"""The navigation of the site: sections in the order in which one reads, each with its pages.

A page is a document of docs/ or a page that docs/site/ makes; its title is its first heading, where none is given here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Pages below one heading of the navigation, as (title or nothing, file)."""

    title: str
    pages: tuple[tuple[str, str], ...]


CONFIG_KEYS = "config_keys.md"
EVERY_EXPERIMENT = "every_experiment.md"
API_FOLDER = "modules"

SECTIONS = (
    Section("", (("FCOS Lab", "index.md"), ("First steps", "first_steps.md"))),
    Section(
        "Guides",
        (
            ("Running", "running.md"),
            ("Your own data", "own_data.md"),
            ("Ablations and other experiments", "experiments.md"),
            ("Searches", "search.md"),
            ("Augmentation", "augmentation.md"),
            ("Prediction", "prediction.md"),
            ("Export", "export.md"),
            ("A run's folder", "run_folder.md"),
            ("From Python", "api.md"),
            ("Examples", "examples.md"),
        ),
    ),
    Section(
        "Clusters and storage",
        (("Clusters", "clusters.md"), ("Buckets", "buckets.md"), ("MLflow", "mlflow.md"), ("Faults", "faults.md")),
    ),
    Section(
        "Statistics and papers",
        (
            ("Statistics and reports", "reports.md"),
            ("Verify and publish", "publishing.md"),
            ("What a paper needs", "paper.md"),
            ("Results", "results.md"),
            ("The papers' tables", "coverage.md"),
            ("Common questions", "questions.md"),
            ("Analyses", "analyses.md"),
        ),
    ),
    Section(
        "Reference",
        (
            ("Every config key", CONFIG_KEYS),
            ("Every experiment", EVERY_EXPERIMENT),
            ("The detector", "detector.md"),
            ("Glossary", "glossary.md"),
            ("Benchmarks", "benchmarks.md"),
            ("For programs", "AGENTS.md"),
            ("Contributing", "CONTRIBUTING.md"),
            ("Security", "SECURITY.md"),
            ("Code of conduct", "CODE_OF_CONDUCT.md"),
            ("Changelog", "CHANGELOG.md"),
        ),
    ),
)


def listed_pages() -> list[str]:
    """Return the files of all pages in the order of the navigation, without those of the API reference."""
    return [file for section in SECTIONS for _, file in section.pages]


def navigation_toml(modules: list[tuple[str, str]]) -> str:
    """Return the line of a TOML file that lists the pages, and those of modules after them."""
    entries = []
    for section in SECTIONS:
        items = [_entry(title, file) for title, file in section.pages]
        entries += items if not section.title else [f'{{ "{section.title}" = [{", ".join(items)}] }}']
    items = [_entry(title, file) for title, file in modules]
    return f'nav = [{", ".join([*entries, f"""{{ "Modules" = [{", ".join(items)}] }}"""])}]\n'


def _entry(title: str, file: str) -> str:
    return f'{{ "{title}" = "{file}" }}'
