"""The file for SkyPilot: held against the documented fields, and its scripts run with stand-ins on each node."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.helpers.deploy.files import DEPLOY, composed, stand_in, words_after_entry
from tests.helpers.deploy.skypilot_schema import TASK

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray Serve's own
# What SkyPilot sets on each node: https://docs.skypilot.co/en/latest/running-jobs/environment-variables.html
SET_BY_SKYPILOT = {
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NUM_GPUS_PER_NODE": "4",
}


def task() -> dict[str, Any]:
    values = yaml.safe_load((DEPLOY / "skypilot.yaml").read_text())
    assert isinstance(values, dict)
    return values


def variables() -> dict[str, str]:
    """The task's own, as a launch gives them."""
    own = task()
    return {**own["envs"], **{name: value or "given" for name, value in own["secrets"].items()}}


def test_the_task_has_the_documented_fields() -> None:
    jsonschema.validate(task(), TASK)


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_spot", "yes"), ("job_recovery", {"max_restarts_on_errors": 1, "recover_on_exit_codes": [137]}), ("gpus", 8)],
)
def test_what_skypilot_would_refuse_is_found(key: str, value: object) -> None:
    wrong = task()
    wrong["resources"][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, TASK)


def test_a_budget_or_a_mistake_is_not_tried_for_ever() -> None:
    codes = set(task()["resources"]["job_recovery"]["recover_on_exit_codes"])
    # Signals alone; 1 to 4 are ends of a sweep's own, of which some come again each time.
    assert codes and all(code > 128 for code in codes)


def test_the_token_has_to_be_given_and_everything_used_is_set() -> None:
    assert task()["secrets"] == {"RAY_AUTH_TOKEN": None}
    for script in ("setup", "run"):
        text = task()[script]
        set_here = set(re.findall(r"\b(\w+)=", text))
        used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", text))
        assert used <= set_here | set(variables()) | set(SET_BY_SKYPILOT) | {"SKYPILOT_NODE_RANK"}
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    done = subprocess.run(["bash", "-c", task()["setup"]], env={"PATH": "/bin"}, capture_output=True, text=True)
    assert done.returncode != 0 and "RAY_AUTH_TOKEN: must be given" in done.stderr


def run_on(rank: int, folder: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the task's `run` on a node, with programs that note their words; the sweep ends with a code."""
    log = folder / f"log_{rank}"
    (folder / "venv" / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "venv" / "bin" / "activate").touch()
    # The head does not answer the first time.
    refused = f"[ $2 != --head ] && [ ! -e {folder / 'refused'} ] && touch {folder / 'refused'} && exit 1"
    stand_in(folder / "bin" / "ray", f'{refused}\nprintf "%q " ray "$RAY_AUTH_MODE" "$@" >> {log}; echo >> {log}')
    stand_in(folder / "bin" / "sleep", "exit 0")
    stand_in(folder / "bin" / "timeout", 'shift; exec "$@"')
    waits = f"{sys.executable} -c 'import ast, sys; ast.parse(sys.stdin.read())' && exit 0"
    stand_in(
        folder / "bin" / "python",
        f'[ "$1" = - ] && {waits}\nprintf "%q " python "$@" >> {log}; echo >> {log}; exit {code}',
    )
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    env = {"HOME": str(folder), "PATH": path, **SET_BY_SKYPILOT, **variables(), "SKYPILOT_NODE_RANK": str(rank)}
    return subprocess.run(["bash", "-c", task()["run"]], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 4, 143])
def test_the_first_node_has_the_head_and_the_sweep(tmp_path: Path, code: int) -> None:
    done = run_on(0, tmp_path, code)
    assert done.returncode == code, done.stderr
    head, sweep = (tmp_path / "log_0").read_text().splitlines()
    assert shlex.split(head)[:4] == ["ray", "token", "start", "--head"]
    check_options(head)
    lab = composed(words_after_entry(sweep))
    assert (lab.cluster.address, lab.tracking.uri) == ("10.0.0.1:6379", variables()["TRACKING_URI"])
    gpus = int(task()["resources"]["accelerators"].partition(":")[2]) * task()["num_nodes"]
    assert gpus >= lab.cluster.workers * lab.cluster.gpus_per_worker
    assert lab.folder.is_relative_to(variables()["NFS_EXPORT"].partition(":")[2])


def test_the_other_nodes_join_once_the_head_is_there(tmp_path: Path) -> None:
    done = run_on(1, tmp_path)
    assert done.returncode == 0, done.stderr
    (joined,) = (tmp_path / "log_1").read_text().splitlines()
    assert "--address=10.0.0.1:6379" in shlex.split(joined)
    check_options(joined)


def check_options(line: str) -> None:
    """Let Ray itself read the options of a `ray start`."""
    from ray.scripts.scripts import start

    words = shlex.split(line)
    start.make_context("start", words[words.index("start") + 1 :])
