"""A cluster whose nodes share a bucket and no folder: trainings run there, and all of them reaches the driver."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.trial.files import read_points
from orchestration.trial.processes import start_time
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
# Seconds, of which starting up and the first step must take less.
STALL = 30
NODES = ("node1", "node2")
# Two trainings.
PAIR = (*pair_words(STEPS, INTERVAL, LOG), "report=false")
SWEEP = (*PAIR, f"output={OUTPUT}")


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


@pytest.fixture
def apart(ray_folder: None, proxy: FaultyProxy, tmp_path: Path, monkeypatch) -> Iterator[Callable[[Path], Nodes]]:
    """Starts a cluster of two nodes of one processor, with caches of their own; that of its head is given."""
    made: list[Nodes] = []

    def make(cache: Path) -> Nodes:
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(cache))
            made.append(Nodes([]))
            for name in NODES:
                patch.setenv("XDG_CACHE_HOME", str(Host(tmp_path / name, monkeypatch).cache))
                made[0].add()
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
    # Within these 36 s the training begins, and is held.
    process = near.start(*SWEEP, *joined(nodes), "budget.wall_hours=0.01")
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


def numbers(trials: list[Path]) -> dict[str, object]:
    """What trainings came to: their metrics, and all points but speeds."""
    found: dict[str, object] = {}
    for trial in trials:
        points = [each for each in read_points(trial) if each.key.startswith(("train/loss", "val/"))]
        metrics = json.loads((trial / "summary.json").read_text())["summary"]["metrics"]
        found[trial.name] = (metrics, sorted((str(each.arm), *each[1:]) for each in points))
    return found


def test_trainings_of_two_workers_span_nodes_that_share_no_folder_with_the_same_numbers(
    apart: Callable[[Path], Nodes], server: S3Server, hosts: tuple[Host, Host], tmp_path: Path, monkeypatch
) -> None:
    near, _ = hosts
    nodes = apart(near.cache)
    near.run(*SWEEP, *joined(nodes), "cluster.workers=2")
    far = [Host(tmp_path / name, monkeypatch).trials(NAME) for name in NODES]
    assert [len(trials) for trials in far] == [2, 2]
    for trial, *there in zip(near.trials(NAME), *far, strict=True):
        assert loss_steps(trial) == list(range(LOG, STEPS + 1, LOG))
        assert not list((trial / "checkpoints").glob("step_*")), "what is large stays where it was trained"
        assert sum((each / "points.jsonl").exists() for each in there) == 1, "one worker writes"
        assert all((each / "log.txt").exists() for each in there)
        assert json.loads((trial / "summary.json").read_text())["summary"]["workers"] == [[0, 2]]
    near.run(*PAIR, f"output={tmp_path / 'shared'}", *joined(nodes), "cluster.workers=2")
    assert numbers(near.trials(NAME)) == numbers(sorted((tmp_path / "shared" / NAME / "trials").glob("*")))


def test_two_workers_go_on_from_the_bucket_after_one_was_killed_and_its_disk_lost(
    apart: Callable[[Path], Nodes], server: S3Server, hosts: tuple[Host, Host], hold: Hold, tmp_path: Path, monkeypatch
) -> None:
    """The driver is not on the machine of the head, where the trials' own processes are."""
    near, head = hosts
    hold.at(2 * INTERVAL + LOG)
    nodes = apart(head.cache)
    process = near.start(*SWEEP, *joined(nodes), "cluster.workers=2")
    wait_for(hold.held, process)
    ((name, victim),) = hold.held().items()
    newest = f"outputs/{NAME}/trials/{name}/checkpoints/step_{2 * INTERVAL:08d}/objects.json"
    wait_until(lambda: server.content(newest) is not None)
    folders = [Host(tmp_path / node, monkeypatch).mirror / NAME / "trials" / name for node in NODES]
    (writer,) = (folder for folder in folders if training_processes(folder) == [victim])
    shutil.rmtree(writer / "checkpoints")
    os.kill(victim, signal.SIGKILL)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    trial = near.mirror / NAME / "trials" / name
    assert json.loads((trial / "summary.json").read_text())["summary"]["resumed_from"] == 2 * INTERVAL
    steps = loss_steps(trial)
    assert sorted(set(steps)) == list(range(LOG, STEPS + 1, LOG))
    assert LOG * (len(steps) - len(set(steps))) <= INTERVAL
    assert len(near.summaries(NAME)) == 2


def test_one_of_two_workers_that_hangs_elsewhere_is_ended_by_the_one_that_waits_for_it(
    apart: Callable[[Path], Nodes], server: S3Server, hosts: tuple[Host, Host], hold: Hold, tmp_path: Path, monkeypatch
) -> None:
    near, head = hosts
    hold.at(2 * INTERVAL + LOG)
    nodes = apart(head.cache)
    process = near.start(*SWEEP, *joined(nodes), "cluster.workers=2", "cluster.stall_minutes=0.5")
    wait_for(hold.held, process)
    ((name, writer),) = hold.held().items()
    folders = [Host(tmp_path / node, monkeypatch).mirror / NAME / "trials" / name for node in NODES]
    (victim,) = {pid for folder in folders for pid in training_processes(folder)} - {writer}
    os.kill(victim, signal.SIGSTOP)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert not start_time(victim), "Ray ends it with the others"
    assert json.loads((near.mirror / NAME / "trials" / name / "summary.json").read_text())["summary"]["resumed_from"]
