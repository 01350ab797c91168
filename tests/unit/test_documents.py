"""What documents name and link to is there, and files that the code writes are in the document of a run's folder."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from analysis import report
from fcos.annotations import conversion_notes
from fcos.formats import as_coco
from fcos.images import decoded
from fcos.storage import (
    array_cache,
    average_files,
    checkpoint_folder,
    evaluation_files,
    noise_floor,
    run_folder,
    thumbnail_files,
)
from fcos.training import best
from orchestration.driver import tune_run
from orchestration.experiment import training_folder
from orchestration.planning import plan, spent
from tests.helpers.documents.commands import DOCUMENTS

ROOT = Path(__file__).parents[2]
# A path below one of the project's folders; placeholders such as <name> are none.
NAMED = re.compile(
    r"(?<![\w/<>.-])(?:fcos|conf|orchestration|analysis|benchmarks|tests|docs)/[\w/.-]+\.(?:py|yaml|md|png|html)\b"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    named = set(NAMED.findall(document.read_text()))
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def headings_of(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as a repository page and the site make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_a_document_lead_to_a_file_and_a_heading(document: Path) -> None:
    prose = re.sub(r"^    .*$", "", document.read_text(), flags=re.M)
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if "://" not in target and (not file.exists() or (anchor and anchor not in headings_of(file))):
            lost.append(target)
    assert lost == []


def names_in(module: ModuleType) -> set[str]:
    """Return the values of a module's constants that are names of files or folders."""
    values = [value for key, value in vars(module).items() if key.isupper() and isinstance(value, str)]
    return {value for value in values if re.fullmatch(r"[\w/.]+", value)}


def test_the_document_of_a_runs_folder_has_every_file_that_code_writes() -> None:
    section = (ROOT / "docs" / "run_folder.md").read_text().partition("\n## ")[0]
    written = {
        *names_in(run_folder),
        *checkpoint_folder.REQUIRED_FILES,
        checkpoint_folder.MANIFEST,
        average_files.OWN,
        best.BEST,
        *evaluation_files.FILES,
        thumbnail_files.THUMBNAILS,
        *(
            plan.PLAN,
            training_folder.TRIALS,
            spent.SPENT,
            tune_run.RAY_FOLDER,
            tune_run.RAY_LOG,
            training_folder.STATUS,
        ),
        *(noise_floor.NOISE, report.EXPLORER, *report.FILES),
        *(decoded.CACHE_FOLDER, decoded.PIXELS_FILE, decoded.TRAITS_FILE, array_cache.CACHE_FOLDER),
        *(as_coco.CACHE_FOLDER, as_coco.OUTCOME, conversion_notes.CONVERSION),
    }
    assert len(written) > 35
    assert sorted(name for name in written if not re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", section)) == []
