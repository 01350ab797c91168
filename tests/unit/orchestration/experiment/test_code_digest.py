"""The code digest moves with code that decides a result, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from fcos.installation import ROOT
from orchestration.experiment.code_digest import ENTRIES, code_digest, deciding_modules


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "fcos", folder / "fcos", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def digests(root: Path) -> dict[str, str]:
    return {task: code_digest(root, entry) for task, entry in ENTRIES.items()}


def changed_by(checkout: Path, file: str, old: str, new: str) -> set[str]:
    """The tasks whose digest a replacement in a file changes."""
    before, path = digests(checkout), checkout / "fcos" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        after = digests(checkout)
    finally:
        path.write_text(text)
    assert digests(checkout) == before
    return {task for task in before if after[task] != before[task]}


def test_a_changed_loss_makes_other_trainings_and_the_same_counts(checkout: Path) -> None:
    assert changed_by(checkout, "losses/criterion.py", "EMA_DECAY = ", "EMA_DECAY = 0.5 * ") == {"train"}


def test_a_changed_assignment_makes_other_trainings_and_other_counts(checkout: Path) -> None:
    assert changed_by(checkout, "geometry.py", "return ", "return 2 * ") == {"train", "coverage"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("training_run.py", '"""One training run', '"""One long training run'),
        ("training/step.py", "\nimport torch\n", "\n# Why.\nimport torch  # a remark\n\n\n"),
        ("drawing/canvas.py", "sheet.paste(row, (0, top))", "sheet.paste(row, (1, top))"),
        ("evaluation/saved/save_evaluations.py", "COMPRESSION = 4", "COMPRESSION = 9"),
        ("evaluation/saved/saved_evaluation.py", "VERSION: Final = 1", "VERSION: Final = 2"),
        ("storage/bucket/folder_copy.py", "SIDE_BY_SIDE = 16", "SIDE_BY_SIDE = 8"),
        ("data/bucket_source.py", "import sys\n", "import json\nimport sys\n"),
        ("__main__.py", "import ", "import json  # noqa\nimport "),
        ("__init__.py", "from importlib", "import json  # noqa\nfrom importlib"),
        ("api/train.py", "MOST_DIFFERENCES: Final = 5", "MOST_DIFFERENCES: Final = 6"),
        ("studies/two_stage.py", "import torch\n", "import json\nimport torch\n"),
    ],
)
def test_docstrings_comments_drawing_saving_fetching_and_what_is_not_imported_change_nothing(
    checkout: Path, file: str, old: str, new: str
) -> None:
    assert changed_by(checkout, file, old, new) == set()


def test_coverage_code_does_not_decide_trainings(checkout: Path) -> None:
    assert changed_by(checkout, "coverage/tally.py", "CHUNK_IMAGES = ", "CHUNK_IMAGES = 2 * ") == {"coverage"}


def test_a_renamed_module_is_other_code(tmp_path: Path) -> None:
    package = tmp_path / "fcos"
    package.mkdir()
    (package / "train.py").write_text("from fcos.a import x\n")
    (package / "a.py").write_text("x = 1\n")
    first = code_digest(tmp_path, "fcos.train")
    (package / "unused.py").write_text("y = 1\n")
    assert code_digest(tmp_path, "fcos.train") == first
    (package / "a.py").rename(package / "b.py")
    (package / "train.py").write_text("from fcos.b import x\n")
    assert code_digest(tmp_path, "fcos.train") != first


def test_imports_within_functions_are_followed(tmp_path: Path) -> None:
    package = tmp_path / "fcos"
    (package / "deep").mkdir(parents=True)
    (package / "train.py").write_text("def run():\n    from fcos.deep import late\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "late.py").write_text("x = 1\n")
    assert list(deciding_modules(tmp_path, "fcos.train")) == ["fcos.deep", "fcos.deep.late", "fcos.train"]


def test_code_that_does_not_parse_has_a_digest_of_its_own(tmp_path: Path) -> None:
    package = tmp_path / "fcos"
    package.mkdir()
    (package / "train.py").write_text("x = 1\n")
    first = code_digest(tmp_path, "fcos.train")
    (package / "train.py").write_text("x = 1\ndef unfinished(:\n")
    assert code_digest(tmp_path, "fcos.train") != first
