"""A cluster whose nodes share a bucket and no folder: trainings run there, and all of them reaches the driver."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.data.shapes import NAMES, upload_shapes, words_of, write_shapes
from tests.helpers.experiments.sweeps import loss_steps, pair_words, training_processes, wait_for
from tests.helpers.processes.bucket_hosts import OUTPUT, Host, hosts, proxy, server
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.ray_nodes import Nodes, ray_folder
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import BUCKET, S3Server

__all__ = ["hosts", "proxy", "ray_folder", "server"]

pytestmark = pytest.mark.slow(minutes=2)

NAME, STEPS, INTERVAL, LOG = "ablation_centerness", 24, 6, 2
# Two trainings.
SWEEP = (*pair_words(STEPS, INTERVAL, LOG), f"output={OUTPUT}", "report=false")


@pytest.fixture
def far(ray_folder: None, proxy: FaultyProxy, hosts: tuple[Host, Host], monkeypatch) -> Iterator[Callable[[], Nodes]]:
    """Starts a cluster of one node whose cache is that of the second host."""
    made: list[Nodes] = []

    def make() -> Nodes:
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(hosts[1].cache))
            made.append(Nodes([1]))
        return made[0]

    yield make
    for each in made:
        each.close()


def joined(nodes: Nodes) -> tuple[str, ...]:
    return (f"cluster.address={nodes.address}", "cluster.allow_unauthenticated=true")


def test_a_sweep_trains_on_a_node_that_shares_no_folder(
    far: Callable[[], Nodes], server: S3Server, hosts: tuple[Host, Host]
) -> None:
    near, _ = hosts
    nodes = far()
    near.run(*SWEEP, *joined(nodes))
    assert len(near.summaries(NAME)) == 2
    for trial in near.trials(NAME):
        assert loss_steps(trial) == list(range(LOG, STEPS + 1, LOG))
        assert not list((trial / "checkpoints").glob("step_*")), "what is large stays where it was trained"
    assert near.summaries(NAME) == hosts[1].summaries(NAME)


def test_a_node_fetches_data_of_a_bucket_once_into_a_cache_of_its_own(
    far: Callable[[], Nodes], server: S3Server, proxy: FaultyProxy, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    near, there = hosts
    upload_shapes(server, write_shapes(tmp_path / "shapes"), "shapes")
    nodes = far()
    words = [word for word in SWEEP if not word.startswith("data.")]
    near.run(*words, *words_of(f"s3://{BUCKET}/shapes"), *joined(nodes))
    assert len(near.summaries(NAME)) == 2
    seen = [name for method, name in proxy.faults.seen if method == "GET" and name.startswith(f"{BUCKET}/shapes/")]
    # By the driver for its plan, and by the node for the two trainings.
    assert Counter(name.removeprefix(f"{BUCKET}/shapes/") for name in seen) == Counter(2 * NAMES)
    for host in hosts:
        copies = list((host.cache / "fcos-lab" / "from_buckets").glob(f"*/files/{BUCKET}/shapes"))
        assert len(copies) == 1 and len(list(copies[0].rglob("*.png"))) == len(NAMES) - 2
    assert near.summaries(NAME) == there.summaries(NAME)


def test_a_training_killed_there_goes_on_there(
    far: Callable[[], Nodes], server: S3Server, hosts: tuple[Host, Host], hold: Hold
) -> None:
    near, there = hosts
    hold.at(2 * INTERVAL + LOG)
    nodes = far()
    process = near.start(*SWEEP, *joined(nodes))
    wait_for(hold.held, process)
    ((name, _),) = hold.held().items()
    (victim,) = training_processes(there.mirror / NAME / "trials" / name)
    os.kill(victim, signal.SIGKILL)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    summary = json.loads((near.mirror / NAME / "trials" / name / "summary.json").read_text())["summary"]
    assert summary["resumed_from"] == 2 * INTERVAL


def test_a_budget_stops_trainings_there(
    far: Callable[[], Nodes], server: S3Server, hosts: tuple[Host, Host], hold: Hold
) -> None:
    near, _ = hosts
    hold.at(LOG)
    nodes = far()
    process = near.start(*SWEEP, *joined(nodes), "budget.wall_hours=0.0005")
    wait_for(hold.held, process)
    wait_until(lambda: (near.mirror / NAME / "stop").exists())
    wait_until(lambda: server.content(f"outputs/{NAME}/stop") is not None)
    (name,) = hold.held()
    wait_until(lambda: (hosts[1].mirror / NAME / "trials" / name / "stop").exists())
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4, output + errors
    assert "budget.wall_hours" in output
    near.run(*SWEEP, *joined(nodes))
    assert len(near.summaries(NAME)) == 2
