"""The wheel, built and installed beside the packages of this environment, works from an empty folder."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import ROOT, TINY, client, environment, runs
from tests.helpers.processes.waiting import PATIENCE

# What a distribution is made of, without tests and documents.
SOURCES = ("fcos", "orchestration", "analysis", "conf", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD_SDIST = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
BUILD_WHEEL = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
WHERE = "import fcos, orchestration, analysis; print(fcos.__file__, orchestration.__file__, analysis.__file__)"
MINE = """# @package _global_
experiment:
  name: mine
  claim: More convolutions help.
  baseline: one
  arms:
    one: {model.head.num_convs: 1}
    two: {model.head.num_convs: 2}
  seeds: [0]
  metrics: [val/AP]
"""


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Return what a command prints that ends well, started in a folder without this checkout on its path."""
    env = {key: value for key, value in environment(folder).items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel as `uv build` does, from the source distribution, and return its path."""
    checkout = folder / "checkout"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, checkout / name)
    archive = checkout / "dist" / run([sys.executable, "-c", BUILD_SDIST], checkout).splitlines()[-1]
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "sources", filter="data")
    (sources,) = (folder / "sources").iterdir()
    return sources / "dist" / run([sys.executable, "-c", BUILD_WHEEL], sources).splitlines()[-1]


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel alone into a new environment that sees this one's packages; returns its folder of commands."""
    venv.create(folder, with_pip=True)
    commands = folder / "bin"
    variables = {"base": str(folder), "platbase": str(folder)}
    # Lines of a .pth file come last on the path, and no .pth file of theirs is read: this checkout stays out.
    packages = Path(sysconfig.get_path("purelib", "venv", variables)) / "environment.pth"
    packages.write_text("\n".join(dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))))
    run([commands / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel], folder)
    return commands


@pytest.mark.slow(minutes=2)
def test_the_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    commands = install(build(tmp_path / "build"), tmp_path / "environment")
    folder = tmp_path / "empty"
    folder.mkdir()
    paths = [Path(path) for path in run([commands / "python", "-c", WHERE], folder).split()]
    assert len(paths) == 3 and all(path.is_relative_to(tmp_path / "environment") for path in paths)
    built_in = paths[0].parents[1] / "fcos_lab_conf"
    listed = [{file.relative_to(top) for file in top.rglob("*.yaml")} for top in (built_in, ROOT / "conf")]
    assert listed[0] == listed[1]
    assert all((path.parent / "py.typed").is_file() for path in paths)

    assert "fcos-doctor" in run([commands / "fcos-doctor", "--help"], folder)
    assert "nodes" in run([commands / "fcos-doctor"], folder)
    assert "usage: fcos-report" in run([commands / "fcos-report", "--help"], folder)
    assert "usage: fcos predict" in run([commands / "fcos", "predict", "--help"], folder)

    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "mine.yaml").write_text(MINE)
    own = ["--config-dir", "mine", "+experiment=mine", *TINY]
    planned = run([commands / "fcos-sweep", *own, "dry_run=true"], folder)
    assert "one" in planned and "two" in planned and "note: commit unknown: fcos-lab" in planned

    # The folder of the command comes first on the path of Ray's processes: one of this name is not ours.
    (folder / "analysis").mkdir()
    (folder / "analysis" / "__init__.py").write_text("raise RuntimeError('not the analysis of the wheel')\n")
    trained = run([commands / "fcos-train", *TINY, "name=one"], folder)
    assert trained.count("note: commit unknown") == 1 and "checkpoint" in trained
    run([commands / "fcos-sweep", *own], folder)
    assert (folder / "outputs" / "mine" / "report" / "report.html").is_file()
    found = runs(folder, "mine")
    assert {one.info.status for one in found.values()} == {"FINISHED"} and len(found) == 3
    assert {one.data.tags["fcos.git_commit"] for one in found.values()} == {"unknown"}
    artifact = client(folder).download_artifacts(found["one seed 0"].info.run_id, "versions.json", str(tmp_path))
    assert json.loads(Path(artifact).read_text())["fcos-lab"] == version("fcos-lab")
