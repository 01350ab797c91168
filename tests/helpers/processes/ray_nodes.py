"""A Ray cluster on loopback whose machines are processes of their own: a head without processors, and nodes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Ray gives each node a fixed half minute to come up, which a machine with much to do may need more than once.
STARTS = 4
# Keeps an actor on a node until its own standard input ends: python -c OCCUPY ADDRESS NODE.
OCCUPY = """
import sys
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

class Occupant:
    def stay(self):
        pass

ray.init(sys.argv[1], log_to_driver=False)
where = NodeAffinitySchedulingStrategy(sys.argv[2], soft=False)
occupant = ray.remote(num_cpus=0)(Occupant).options(scheduling_strategy=where).remote()
ray.get(occupant.stay.remote())
print("there", flush=True)
sys.stdin.read()
"""


class Nodes:
    """The cluster, in the folder of `ray_folder`."""

    def __init__(self, cpus: list[int]) -> None:
        self._occupants: list[subprocess.Popen[str]] = []
        for left in reversed(range(STARTS)):
            try:
                self._start(cpus)
                return
            except Exception as error:
                if not left or "timed out during startup" not in str(error):
                    raise
                # What has begun ends with the head.
                self.close()

    def _start(self, cpus: list[int]) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._cluster.add_node(num_cpus=0, include_dashboard=False, node_ip_address="127.0.0.1")
        self.nodes = [self.add(count) for count in cpus]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, cpus: int = 1) -> Any:
        return self._cluster.add_node(num_cpus=cpus, node_ip_address="127.0.0.1")

    def lose(self, node: Any) -> None:
        """Kill all processes of a node, as a power cut would."""
        self._cluster.remove_node(node, allow_graceful=False)

    def lose_head(self) -> None:
        """Kill the head's processes, the workers' machines stay."""
        head: Any = self._cluster.head_node
        for processes in head.all_processes.values():
            for each in processes:
                os.kill(each.process.pid, signal.SIGKILL)

    def drain(self, node: Any, seconds: int) -> None:
        """Give notice that a node will be taken away."""
        command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", self.address]
        command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        subprocess.run([*command, "--deadline-remaining-seconds", str(seconds)], check=True, capture_output=True)

    def occupy(self, node: Any) -> None:
        """Keep an actor without resources on a node until the cluster is closed."""
        process = subprocess.Popen(
            [sys.executable, "-c", OCCUPY, self.address, node.node_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._occupants.append(process)
        assert process.stdout is not None and process.stdout.readline() == "there\n"

    def is_up(self, node: Any) -> bool:
        """Whether the process that serves a node runs."""
        return node.all_processes["raylet"][0].process.poll() is None

    def node_of(self, pid: int) -> Any:
        """The node that started a process."""
        raylets = {node.all_processes["raylet"][0].process.pid: node for node in self._cluster.list_all_nodes()}
        while pid > 1:
            if pid in raylets:
                return raylets[pid]
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        raise AssertionError("a process of no node")

    def close(self) -> None:
        for process in self._occupants:
            process.kill()
            process.communicate()
        self._occupants.clear()
        self._cluster.shutdown()


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for Ray, short because paths of sockets have a limit, and no other Ray of the machine in sight."""
    folder = Path(tempfile.mkdtemp(prefix="nodes"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Otherwise Ray takes 127.0.0.1 for the address that other machines know this one by.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(ray_folder: None) -> Iterator[Callable[..., Nodes]]:
    """Starts a cluster with nodes of so many processors each."""
    made: list[Nodes] = []

    def make(*cpus: int) -> Nodes:
        made.append(Nodes(list(cpus)))
        return made[0]

    yield make
    for each in made:
        each.close()
