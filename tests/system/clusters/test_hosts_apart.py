"""Hosts that share nothing but the folder for output: code and data reach each of them, and trainings span them."""

import subprocess

import pytest

from tests.helpers.experiments.sweeps import trials_of
from tests.helpers.processes.clusters import RAY
from tests.helpers.processes.hosts import DASHBOARD_PORT, HEAD, OUTPUT, Hosts
from tests.helpers.processes.interrupted import SINGLE, check_whole, redone
from tests.helpers.processes.namespaces import HOME, copy_code
from tests.helpers.processes.waiting import PATIENCE

pytestmark = pytest.mark.slow(minutes=2)


def check_trained_on_two(hosts: Hosts) -> None:
    """The training is whole, and each node has drawn the data for itself."""
    check_whole(hosts.shared)
    (trial,) = trials_of(hosts.shared)
    assert redone(trial) == 0
    for name in (HEAD, "node1", "node2"):
        drawn = hosts[name].home / "cache"
        assert [*drawn.glob("synthetic-*/train.json")], f"{name}: {sorted(drawn.rglob('*'))}"


def test_two_workers_train_over_hosts_with_checkouts_and_caches_of_their_own(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    done = hosts.run(*SINGLE, "cluster.workers=2", "report=false")
    assert done.returncode == 0, done.stdout + done.stderr
    check_trained_on_two(hosts)


def test_a_submitted_job_brings_its_code_to_hosts_that_have_none(hosts: Hosts) -> None:
    hosts.dashboard = True
    for name in (HEAD, "node1", "node2"):
        hosts.boot(name, code=False)
    hosts.join(HEAD, "node1", "node2")
    copy_code(hosts[HEAD].home / "checkout")
    words = [word for word in SINGLE if not word.startswith("data.cache_dir")]
    words += ["cluster.address=auto", "cluster.workers=2", f"output={OUTPUT}", f"data.cache_dir={HOME / 'cache'}"]
    submit = [
        *(str(RAY), "job", "submit", "--address", f"http://127.0.0.1:{DASHBOARD_PORT}"),
        *("--working-dir", "checkout", "--runtime-env", "checkout/orchestration/deploy/runtime_env.yaml", "--"),
        *("python", "orchestration/sweep.py", *words, "report=false"),
    ]
    env = {**hosts.environment, "RAY_AUTH_MODE": "token"}
    done = subprocess.run(
        hosts[HEAD].command(*submit), env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_trained_on_two(hosts)
