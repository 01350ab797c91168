"""A Ray cluster of hosts that share nothing but the folder for output: a head without processors, nodes of one each."""

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.helpers.experiments.sweeps import SWEEP
from tests.helpers.processes.clusters import RAY, node_environment
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.namespaces import ADDRESSES, HOME, OUTSIDE, SHARED, Host, Network, make_host
from tests.helpers.processes.waiting import PATIENCE

HEAD, PORT = "head", 6379
# Ray's own.
DASHBOARD_PORT = 8265
ADDRESS = f"{ADDRESSES[HEAD]}:{PORT}"
# As every host sees it.
OUTPUT = SHARED / "outputs"


class Hosts:
    """Hosts by name, which are in one cluster that requires a token, each with a copy of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # As this process sees it.
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.hold = Hold(self.shared / "holds")
        self.environment = {
            **{key: value for key, value in node_environment(HOME).items() if not key.startswith("XDG_")},
            **self.hold.environment,
            "FCOS_LAB_TEST_HOLDS": str(SHARED / "holds"),
            "TMPDIR": "/tmp",
            # Ray would let its workers give way to all else that this machine has to do.
            "RAY_worker_niceness": "0",
        }
        # Which takes long to start; jobs, and what a lost host had reserved, need it.
        self.dashboard = False
        self._token = secrets.token_hex(16)
        self._network = Network()
        self._hosts: dict[str, Host] = {}
        # Name -> Ray's id, once it is known.
        self._ids: dict[str, str] = {}

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def add(self, *names: str) -> None:
        """Make hosts that join the cluster; the first of all is its head."""
        for name in names:
            self.boot(name)
        self.join(*names)

    def boot(self, name: str, lines: Sequence[str] = (), *, code: bool = True) -> Host:
        """Make a host that is on the network, and not in the cluster yet; see `make_host`."""
        host = make_host(name, self.folder / name, self.shared, lines, code=code)
        self._hosts[name] = host
        token = host.home / ".ray" / "auth_token"
        token.touch(mode=0o600)
        token.write_text(self._token)
        self._network.plug(host)
        return host

    def join(self, *names: str, more: Mapping[str, str] | None = None) -> None:
        """Start Ray on hosts, one after the other; `more` is added to its environment."""
        until = time.monotonic() + PATIENCE
        for name in names:
            while self.start_ray(name, more).wait(timeout=PATIENCE) != 0:
                # Ray gives itself half a minute, which is too little on a machine that has much else to do.
                slow = "timed out during startup" in self.log_of(name) and time.monotonic() < until
                assert slow, f"{name}: {self.log_of(name)}"
                self[name].run(str(RAY), "stop", "--force", env=self.environment)

    def log_of(self, name: str) -> str:
        """Return what the start of Ray on a host has printed."""
        return (self.folder / f"{name}.log").read_text()

    def start_ray(self, name: str, more: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Begin to start Ray on a host; the process ends when it has joined the cluster."""
        head = ("--head", f"--port={PORT}", "--num-cpus=0", f"--include-dashboard={self.dashboard}")
        joins = head if name == HEAD else (f"--address={ADDRESS}", "--num-cpus=1")
        words = (*joins, f"--node-ip-address={ADDRESSES[name]}", "--object-store-memory=100000000")
        environment = {**self.environment, "RAY_AUTH_MODE": "token", **(more or {})}
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                self[name].command(str(RAY), "start", *words, "--disable-usage-stats"),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def start(self, *words: str, entry: Path = SWEEP, on: str = HEAD) -> "subprocess.Popen[str]":
        """Start a command on a host, for the cluster and with the shared folder for its output."""
        own = (f"cluster.address={ADDRESS}", f"output={OUTPUT}")
        return subprocess.Popen(
            self[on].command(sys.executable, str(entry), *words, *own),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, entry: Path = SWEEP, on: str = HEAD) -> "subprocess.CompletedProcess[str]":
        """Run a command as `start` does, to its end."""
        with self.start(*words, entry=entry, on=on) as process:
            output, errors = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in output + errors, output + errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def held(self) -> list[str]:
        """Return the names of the folders of trainings that wait; those that were killed meanwhile are among them."""
        notes = (self.shared / "holds" / "held").glob("*")
        return sorted(note.name for note in notes if note.suffix != ".new")

    def worker(self, trial: Path, rank: int) -> tuple[Host, int]:
        """Return the host of a worker of a training, and its process there."""
        record = json.loads((trial / "alive" / f"rank_{rank}.json").read_text())
        return self._host_of(record["node"]), int(record["pid"])

    def workers(self, trial: Path) -> set[str]:
        """Return the hosts where a training has workers."""
        names = set()
        for path in (trial / "alive").glob("rank_*.json"):
            with suppress(OSError, ValueError, KeyError, StopIteration):
                names.add(self._host_of(json.loads(path.read_text())["node"]).name)
        return names

    def _host_of(self, node_id: str) -> Host:
        for name, host in self._hosts.items():
            if name not in self._ids:
                self._ids[name] = host.node_id()
        return next(host for name, host in self._hosts.items() if self._ids[name] == node_id)

    def drain(self, name: str, seconds: int) -> None:
        """Give notice that a host will be taken away."""
        words = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot")
        command = (str(RAY), "drain-node", "--address", ADDRESS, "--node-id", self[name].node_id(), *words)
        environment = {**self.environment, "RAY_AUTH_MODE": "token"}
        self[HEAD].run(*command, "--deadline-remaining-seconds", str(seconds), env=environment)

    def lose(self, name: str) -> None:
        """Cut a host's power: nothing more comes of it, and no one is notified."""
        self._network.unplug(self[name])
        self._hosts.pop(name).end()

    def cut(self, one: str, other: str) -> None:
        """Let no packet between two hosts through."""
        self._network.set_link(one, other, loss=1.0)

    def slow_down(self, one: str, other: str, *, seconds: float, loss: float) -> None:
        """Let packets between two hosts take that long, one way, and lose a share of them."""
        self._network.set_link(one, other, seconds=seconds, loss=loss)

    def mend(self, one: str, other: str) -> None:
        """Let packets between two hosts through again."""
        self._network.set_link(one, other)

    def close(self) -> None:
        for host in self._hosts.values():
            host.end()
        self._network.close()


@contextmanager
def cluster_of_hosts() -> Iterator[Hosts]:
    """Yield a cluster that has no hosts yet; all that it was given is gone at the end."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="fcos-hosts-", dir=OUTSIDE))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        hosts = Hosts(folder)
        stack.callback(hosts.close)
        yield hosts
