"""python orchestration/sweep.py: the script's own folder comes first on the path, of Ray's processes as well."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.installation import ROOT

SCRIPTS = ("sweep.py", "train.py", "doctor.py", "lr_range.py")


@pytest.mark.parametrize("package", ["orchestration", "analysis"])
def test_no_file_or_folder_hides_a_module_of_python_or_of_a_library(package: str) -> None:
    names = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names & ({"report", "sweep", "sections", "driver"}), names
    assert names & {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()} == set()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with an experiment of its own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("fcos", "orchestration", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "conf" / "experiment" / "of_the_copy.yaml").write_text(
        "# @package _global_\nexperiment: {claim: Copied.}\n"
    )
    return folder


@pytest.mark.ray
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_with_the_code_of_its_own_checkout_or_not_at_all(copy: Path, tmp_path: Path, script: str) -> None:
    run = [sys.executable, str(copy / "orchestration" / script), "--help"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{script}: would run with the code in {ROOT}, which this Python has installed" in done.stderr
    assert f"in {copy} run `uv sync`" in done.stderr
    first = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(run, cwd=tmp_path, env=first, capture_output=True, text=True, check=True)
    assert "of_the_copy" in done.stdout and f"usage: python orchestration/{script}" in done.stdout
