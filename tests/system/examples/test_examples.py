"""The examples run and print what their list says; those of whole sweeps are slow."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from examples import own_assignment, own_backbone, own_data
from fcos.installation import ROOT
from tests.helpers.experiments.sweeps import TINY, environment
from tests.helpers.processes.waiting import PATIENCE

EXAMPLES = ROOT / "examples"


def test_the_list_has_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")]
    assert len(files) >= 6 and [name for name in files if name not in text] == []


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "python_api.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_data_of_ones_own_are_trained_on_and_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = own_data.main(tmp_path / "out", steps=4)
    assert training.step == 4 and training.detector.classes == ("square", "disk")
    assert re.search(r"(?m)^AP 0\.\d\d after 4 steps$", shown := capsys.readouterr().out), shown
    assert (tmp_path / "out" / "detections.png").is_file()


def test_a_backbone_begins_from_the_weights_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = own_backbone.main(tmp_path, steps=2)
    backbone = training.detector.config.model.backbone
    assert (backbone.name, backbone.weights) == ("timm/lcnet_035", str(tmp_path / "weights.safetensors"))
    assert re.search(r"(?m)^timm/lcnet_035: \d\.\d\d M parameters, 2 steps$", capsys.readouterr().out)


def test_an_assignment_of_ones_own_is_drawn_and_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainings = own_assignment.main(tmp_path, steps=4)
    counts = dict(re.findall(r"(?m)^(\w+): .* boxes, (\d+) positive locations; AP", capsys.readouterr().out))
    assert set(counts) == {"configured", "own"} and 0 < int(counts["own"]) != int(counts["configured"])
    assert "own_assignment.inner_half" in trainings["own"].notes[0]
    assert trainings["own"].curve("train/loss") != trainings["configured"].curve("train/loss")


def run(example: str, folder: Path, *words: str) -> str:
    """What a script prints that is started in a folder and ends well."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow(minutes=1)
def test_an_experiment_of_ones_own_ends_with_its_verdict(tmp_path: Path) -> None:
    # Which its arms set themselves.
    words = [word for word in TINY if not word.startswith("model.head.num_convs=")]
    shown = run("own_experiment.py", tmp_path, *words, "experiment.seeds=[0,1]")
    assert re.search(r"(?m)^two: AP \d+\.\d over 2 seeds\nthree: AP \d+\.\d over 2 seeds$", shown), shown
    report = tmp_path / "outputs" / "head_of_mine" / "report" / "report.html"
    assert f"all is well: {report}" in shown and report.is_file()


@pytest.mark.slow(minutes=2)
def test_two_nodes_share_a_sweep_and_are_gone_behind_it(tmp_path: Path) -> None:
    words = ("experiment.seeds=[0]", "~experiment.arms.from_regression", "~experiment.paper.from_regression")
    shown = run("two_nodes.py", tmp_path, *TINY, *words)
    [port] = re.findall(r"(?m)^two nodes at 127\.0\.0\.1:(\d+)$", shown)
    assert "all is well: 2 trainings" in shown
    left = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if f":{port}" in read(path)]
    assert left == []


def read(path: Path) -> str:
    """The content of a file that may be gone."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.slow(minutes=1)
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "6")
    # Where Jupyter keeps files of its own.
    monkeypatch.setenv("HOME", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "python_api.ipynb", as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output
    )
    assert "schedule.stepz=200: no such key" in printed and "AP 0." in printed
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in str(output)]
    assert len(pictures) == 2
