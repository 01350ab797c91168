"""A checkout and an installed wheel are distinguished by what lies beside the packages."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from fcos import installation
from fcos.installation import ROOT, checkout, command, conf_folder, installed_command


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like site-packages with the packages of a wheel; another distribution has a `conf` there."""
    for name in ("fcos_lab_conf", "conf"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    return tmp_path


def test_a_checkout_reads_its_own_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout() == ROOT == Path(__file__).parents[3]
    assert conf_folder() == ROOT / "conf"
    monkeypatch.setattr(sys, "argv", ["orchestration/sweep.py"])
    assert (command("sweep"), command("report")) == ("python orchestration/sweep.py", "python analysis/report.py")
    monkeypatch.setattr(sys, "argv", [".venv/bin/fcos-train"])
    assert command("report") == "fcos-report"


def test_a_wheel_reads_what_it_was_built_with(wheel: Path) -> None:
    assert checkout() is None
    assert conf_folder() == wheel / "fcos_lab_conf"
    assert (command("sweep"), command("report")) == ("fcos-sweep", "fcos-report")


def test_the_version_is_written_in_one_file() -> None:
    (written,) = re.findall(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    assert version("fcos-lab") == written
    images = (ROOT / "orchestration" / "deploy" / "kuberay.yaml").read_text()
    assert set(re.findall(r"image: \S+/fcos-lab:(\S+)", images)) == {written}


def test_every_command_is_named_by_its_script_or_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["analysis/publish.py"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for program, entry in scripts.items():
        if program != "fcos":
            name = program.removeprefix("fcos-").replace("-", "_")
            assert installed_command(name) == program
            assert command(name) == f"python {entry.partition(':')[0].replace('.', '/')}.py"
