"""Workflows get no secrets, no more rights than they need, and only actions of GitHub's own."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fcos.installation import ROOT
from tests.helpers.deploy.files import linter

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What a job may do beyond reading, by workflow and job.
RIGHTS = {
    ("release", "image"): {"contents": "read", "packages": "write"},
    ("release", "package"): {"id-token": "write"},
    ("release", "page"): {"contents": "write"},
    ("docs", "deploy"): {"pages": "write", "id-token": "write"},
}


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not installed")
    done = subprocess.run([program, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_may_only_read_but_for_those_that_publish(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == RIGHTS.get((path.stem, name), {}), name
        assert "timeout-minutes" in job, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_secret_is_read_and_no_action_of_others_runs(path: Path) -> None:
    assert "secrets." not in path.read_text() and "pull_request_target" not in path.read_text()
    used = [step["uses"] for step in steps_of(path) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in used)
    checkouts = [step for step in steps_of(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_an_event_brings_reaches_no_shell_as_text(path: Path) -> None:
    # A branch or a title may hold commands.
    scripts = [step["run"] for step in steps_of(path) if "run" in step]
    assert scripts and not [script for script in scripts if "${{" in script]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_shellcheck_finds_nothing_in_steps(path: Path) -> None:
    for script in [step["run"] for step in steps_of(path) if "run" in step]:
        command = [linter("shellcheck"), "--shell=bash", "-"]
        # As GitHub runs them.
        done = subprocess.run(command, input=f"set -e\n{script}", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), script


def test_tests_run_on_every_python_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    matrix = read(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_files_that_steps_run_are_there(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"(?:\.ci|orchestration|analysis|docs)/[\w./-]*\w", text)
    assert all((ROOT / name).exists() for name in named)
