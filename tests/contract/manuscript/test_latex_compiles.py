"""The LaTeX compiles, whatever names the store holds; skipped where no LaTeX is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.processes.waiting import PATIENCE

ENGINES = {
    "pdflatex": ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"],
    "xelatex": ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"],
    "tectonic": ["--only-cached"],
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> list[str]:
    """The command of an engine that is installed."""
    name = str(request.param)
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return [path, *ENGINES[name]]


def compile_file(engine: list[str], file: Path) -> Path:
    done = subprocess.run(
        [*engine, file.name], cwd=file.parent, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return file.with_suffix(".pdf")


def test_the_document_with_the_table_compiles(engine: list[str], written: Path, tmp_path: Path) -> None:
    shutil.copyfile(written / "table_standalone.tex", tmp_path / "table_standalone.tex")
    assert compile_file(engine, tmp_path / "table_standalone.tex").read_bytes().startswith(b"%PDF")


def test_table_and_methods_compile_in_a_paper(engine: list[str], written: Path, tmp_path: Path) -> None:
    for name in ("table.tex", "methods.tex"):
        shutil.copyfile(written / name, tmp_path / name)
    text = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{methods}\input{table}\end{document}"
    (tmp_path / "a_paper.tex").write_text(text)
    assert compile_file(engine, tmp_path / "a_paper.tex").read_bytes().startswith(b"%PDF")
