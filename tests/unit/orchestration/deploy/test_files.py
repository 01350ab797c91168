"""The ready files for clusters: machines over ssh, the environment of jobs, and every word for a sweep composed."""

import re
import shlex
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from fcos.installation import ROOT
from tests.helpers.deploy.files import DEPLOY, composed, stand_in

DOCUMENT = ROOT / "docs" / "clusters.md"


def machines() -> dict[str, Any]:
    values = yaml.safe_load((DEPLOY / "vms.yaml").read_text())
    assert isinstance(values, dict)
    return values


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray Serve's own
def test_the_cluster_of_machines_holds_against_rays_own_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    written = machines()
    validate_config(prepare_config(written))
    assert written["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [
        line for name in ("head", "worker") for line in written[f"{name}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    # Ray itself reads the options.
    from ray.scripts.scripts import start

    for line in starts:
        options = shlex.split(line.replace("$RAY_HEAD_IP", "10.0.0.1"))
        start.make_context("start", options[options.index("start") + 1 :])


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")
def test_a_field_that_ray_does_not_know_is_found() -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError, match="idle_minutes"):
        validate_config(prepare_config({**machines(), "idle_minutes": 5}))


def test_bash_reads_every_command_of_the_machines() -> None:
    commands = [line for name, lines in machines().items() if name.endswith("_commands") for line in lines]
    assert len(commands) >= 8
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_a_job_on_the_machines_finds_the_python_with_the_packages(tmp_path: Path) -> None:
    # Ray runs the words of a job in the environment that it was started in itself.
    stand_in(tmp_path / "venv" / "bin" / "ray", "command -v python")
    stand_in(tmp_path / "venv" / "bin" / "python", "exit 0")
    own = str(tmp_path / "venv" / "bin" / "python")
    for name in ("head", "worker"):
        start = machines()[f"{name}_start_ray_commands"][-1]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_HEAD_IP": "10.0.0.1"}
        done = subprocess.run(["bash", "-c", start], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, own), done.stderr


def test_the_environment_of_a_job_is_one_and_packs_code_alone(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package
    from ray.runtime_env import RuntimeEnv

    values = yaml.safe_load((DEPLOY / "runtime_env.yaml").read_text())
    RuntimeEnv(**{key: value for key, value in values.items() if key != "excludes"})
    # `ray job stop` has to give a sweep the time to close its runs.
    assert int(values["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 30
    package = tmp_path / "package.zip"
    create_package(str(ROOT), package, include_gitignore=True, excludes=values["excludes"])
    with zipfile.ZipFile(package) as packed:
        names = packed.namelist()
    for needed in (
        "fcos/training_run.py",
        "orchestration/sweep.py",
        "analysis/templates/report.html.j2",
        "conf/config.yaml",
    ):
        assert needed in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".git", ".venv", "outputs", "mlruns", "tests", "docs", "benchmarks"}
    # Ray takes 500 MiB at most.
    assert package.stat().st_size < 5 * 2**20


def documented_commands() -> list[str]:
    text = DOCUMENT.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?m)^    (.+)$", text)
    return [command for command in commands if re.search(r"orchestration/(sweep|train|doctor)\.py|slurm\.sh", command)]


@pytest.mark.parametrize("command", documented_commands())
def test_every_documented_command_composes(command: str) -> None:
    arguments = " ".join(shlex.split(command, comments=True)).split()
    keys = [word for word in arguments if re.match(r"[+~]?[a-z][\w./]*=", word)]
    assert keys or "doctor.py" in command
    assert composed([re.sub(r"<[^>]*>", "/given", word) for word in keys]) is not None


def test_the_document_names_every_ready_file() -> None:
    text = DOCUMENT.read_text()
    assert [file.name for file in DEPLOY.iterdir() if file.is_file() and file.name not in text] == []


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*.yaml")), ids=lambda file: file.name)
def test_deploy_files_hold_plain_values_without_tags_and_anchors(file: Path) -> None:
    events = list(yaml.parse(file.read_text()))
    marked = [event for event in events if getattr(event, "tag", None) or getattr(event, "anchor", None)]
    assert [str(event.start_mark) for event in marked] == []
    assert any(isinstance(event, yaml.ScalarEvent) for event in events)
