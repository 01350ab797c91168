"""A cluster whose nodes share a bucket and no folder: trainings run there, and all of them reaches the driver."""

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from orchestration.trial.processes import start_time
from tests.helpers.experiments.sweeps import loss_steps, pair_words, training_processes, wait_for
from tests.helpers.processes.bucket_hosts import OUTPUT, Host, hosts, proxy, server
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.ray_nodes import Nodes, ray_folder
from tests.helpers.processes.waiting import PATIENCE, wait_until
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import S3Server

__all__ = ["hosts", "proxy", "ray_folder", "server"]

pytestmark = pytest.mark.slow(minutes=2)

NAME, STEPS, INTERVAL, LOG = "ablation_centerness", 24, 6, 2
# Seconds, of which starting up and the first step must take less.
STALL = 30
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


def test_a_training_that_hangs_there_is_ended_there_and_goes_on(
    far: Callable[[], Nodes], server: S3Server, hosts: tuple[Host, Host], hold: Hold
) -> None:
    near, _ = hosts
    hold.at(2 * INTERVAL + LOG)
    nodes = far()
    process = near.start(*SWEEP, *joined(nodes), f"cluster.stall_minutes={STALL / 60}")
    wait_for(hold.held, process)
    ((name, victim),) = hold.held().items()
    os.kill(victim, signal.SIGSTOP)
    hold.release()
    wait_for(lambda: not start_time(victim), process)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    trial = near.mirror / NAME / "trials" / name
    summary = json.loads((trial / "summary.json").read_text())["summary"]
    assert summary["resumed_from"] == 2 * INTERVAL
    # The steps that were reported and not saved, and no others.
    assert loss_steps(trial) == sorted([*range(LOG, STEPS + 1, LOG), 2 * INTERVAL + LOG])
    reason = f"no progress for {STALL} s (cluster.stall_minutes={STALL / 60:g}); its processes were ended"
    assert any(reason in note for note in summary["notes"])


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
