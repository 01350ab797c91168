"""Hosts that share a bucket and a tracking server: sweeps of different names that run on them at the same time."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.experiments.sweeps import SWEEP, loss_steps, pair_words, runs, wait_for
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import seconds_until, summary_of
from tests.helpers.processes.namespaces import HOME
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.host_servers import HostServers, host_servers
from tests.helpers.servers.s3_server import BUCKET

pytestmark = [pytest.mark.slow(minutes=3), pytest.mark.timeout(1800)]

STEPS, INTERVAL, LOG = 60, 6, 2
# A step after the newest checkpoint, and that checkpoint's.
MOMENT, NEWEST = 4 * INTERVAL + LOG, 4 * INTERVAL
FIRST, SECOND, LATER = "node1", "node2", "node3"
# Where a host keeps what it writes of the bucket: no two hosts have it at the same path.
CACHES = {name: HOME / f"cache of {name}" for name in (FIRST, SECOND, LATER)}
# Arms none and branch.
PAIR = (*pair_words(STEPS, INTERVAL, LOG), "cluster.concurrent=1", "report=false", f"output=s3://{BUCKET}/outputs")
# Arms none and wide.
OTHER = (
    *PAIR,
    "~experiment.arms.branch",
    "~experiment.paper.branch",
    "+experiment.arms.wide={model.fpn.channels: 32}",
)


def start(hosts: Hosts, servers: HostServers, name: str, *words: str) -> "subprocess.Popen[str]":
    """Start a command on a host, for a Ray of its own."""
    stored = ("tracking=server", f"tracking.uri={servers.tracking}", "tracking.required=true")
    return subprocess.Popen(
        hosts[name].command(sys.executable, str(SWEEP), *words, *stored),
        env={**hosts.environment, **servers.client, "XDG_CACHE_HOME": str(CACHES[name])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    """Wait for a command that ends well, and return what it printed."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    return output


def folder_of(hosts: Hosts, host: str, sweep: str, arm: str) -> Path:
    """Return the folder of a training on a host."""
    (plan,) = (hosts[host].home / CACHES[host].name).glob(f"fcos-lab/buckets/*/{sweep}/plan.json")
    (identity,) = (each["identity"] for each in json.loads(plan.read_text())["trials"] if arm in each["arms"])
    return plan.parent / "trials" / str(identity)[:16]


def is_planned(hosts: Hosts, host: str, sweep: str) -> bool:
    return any((hosts[host].home / CACHES[host].name).glob(f"fcos-lab/buckets/*/{sweep}/plan.json"))


def check_finished(servers: HostServers, sweep: str, *arms: str) -> None:
    """All runs of a sweep are FINISHED."""
    found = runs(Path(), sweep, MlflowClient(f"sqlite:///{servers.store}"))
    assert {name: run.info.status for name, run in found.items()} == dict.fromkeys(
        (sweep, *(f"{arm} seed 0" for arm in arms)), "FINISHED"
    )


def start_both(hosts: Hosts, servers: HostServers) -> "tuple[subprocess.Popen[str], subprocess.Popen[str], Path]":
    """Start two sweeps, of which the second waits for a training of the first, held behind its newest checkpoint.

    Returns both and the folder of that training on the second host.
    """
    hosts.hold.at(MOMENT)
    first = start(hosts, servers, FIRST, *PAIR, "name=first")
    wait_for(hosts.held, first)
    (name,) = hosts.held()
    # It alone waits from here on.
    hosts.hold.at(MOMENT, Path(name))
    hosts.hold.release()
    second = start(hosts, servers, SECOND, *OTHER, "name=second")
    wait_for(lambda: is_planned(hosts, SECOND, "second"), second)
    wait_for((folder_of(hosts, SECOND, "second", "wide") / "summary.json").exists, second)
    shared = folder_of(hosts, SECOND, "second", "none")
    assert shared.name == name and not (shared / "log.txt").exists()
    assert second.poll() is None, "it waits for the other sweep"
    return first, second, shared


def test_two_hosts_with_one_bucket_train_what_their_sweeps_share_once(hosts: Hosts) -> None:
    for name in (HEAD, FIRST, SECOND):
        hosts.boot(name)
    with host_servers(hosts, HEAD) as servers:
        first, second, shared = start_both(hosts, servers)
        hosts.hold.release(shared)
        outputs = end(first), end(second)
        assert "none · seed 0:  trained by sweep first on node1" in outputs[1]
        assert "reused from first" in outputs[1]
        check_finished(servers, "first", "none", "branch")
        check_finished(servers, "second", "none", "wide")
        trained = folder_of(hosts, FIRST, "first", "none")
        assert summary_of(shared)["metrics"] == summary_of(trained)["metrics"]
        assert loss_steps(trained) == loss_steps(shared) == list(range(LOG, STEPS + 1, LOG))
        assert not (shared / "log.txt").exists()


def test_a_training_of_a_lost_host_goes_on_on_another_from_the_bucket(hosts: Hosts) -> None:
    for name in (HEAD, FIRST, SECOND, LATER):
        hosts.boot(name)
    with host_servers(hosts, HEAD) as servers:
        first, second, shared = start_both(hosts, servers)
        index = f"outputs/first/trials/{shared.name}/objects.json"
        wait_until(lambda: f"step_{NEWEST:08d}" in servers.content(index))
        hosts.lose(FIRST)
        first.communicate(timeout=PATIENCE)
        hosts.hold.release(shared)
        print(f"{seconds_until(lambda: loss_steps(shared), second):.0f} s until it goes on")
        output = end(second)
        assert "none · seed 0:  trained by sweep first on node1" in output
        check_finished(servers, "second", "none", "wide")
        assert loss_steps(shared) == list(range(LOG, STEPS + 1, LOG))
        assert json.loads((shared / "origin.json").read_text())["step"] == NEWEST
        print(f"{MOMENT - NEWEST} steps redone")
        # The same command on yet another host takes the result, and trains what is its own.
        output = end(start(hosts, servers, LATER, *PAIR, "name=first"))
        check_finished(servers, "first", "none", "branch")
        assert re.search(r"reused from run \w+ of second", output)
