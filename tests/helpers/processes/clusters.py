"""Ray clusters whose nodes are processes of this machine, started as a person starts them."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as services

from tests.helpers.processes.ports import free_port
from tests.helpers.processes.waiting import PATIENCE

RAY = Path(sys.executable).with_name("ray")


def node_environment(home: Path) -> dict[str, str]:
    """Return the environment of a node with a home folder of its own, and of whoever uses it from there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Tests under `uv run` would make Ray start its workers by that very command.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "900",
    }


@dataclass
class Cluster:
    """Nodes of one CPU on 127.0.0.1; a token where there is one lies in the home folder that they share."""

    folder: Path
    token: str | None
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    nodes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """Of the nodes, and of whoever uses them from a home folder with the token."""
        # Ray's sockets need short paths; its note of the current cluster lies there too.
        return {**node_environment(self.home), "RAY_TMPDIR": str(self.folder)}

    def start(self, *options: str, wrapper: Sequence[str] = ()) -> None:
        """One more node, the first of which is the head."""
        head = (
            "--head",
            f"--port={self.port}",
            f"--dashboard-port={self.dashboard_port}",
            "--dashboard-host=127.0.0.1",
        )
        command = [
            *wrapper,
            *(str(RAY), "start", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1"),
            *((f"--address={self.address}",) if self.nodes else head),
            # Two nodes of one address may not share ports.
            *("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"),
            *("--object-store-memory=100000000", "--disable-usage-stats", *options),
        ]
        mode = "disabled" if self.token is None else "token"
        with (self.folder / f"node-{len(self.nodes)}.log").open("w") as log:
            node = subprocess.Popen(
                command,
                env={**self.environment, "RAY_AUTH_MODE": mode},
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.nodes.append(node)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while self._alive() < len(self.nodes):
            log = self.folder / f"node-{len(self.nodes) - 1}.log"
            assert time.monotonic() < until and self.nodes[-1].poll() is None, log.read_text()
            time.sleep(0.2)

    def _alive(self) -> int:
        metadata = [("authorization", f"Bearer {self.token}")] if self.token else None
        with grpc.insecure_channel(self.address) as channel:
            try:
                every = services.NodeInfoGcsServiceStub(channel).GetAllNodeInfo(
                    messages.GetAllNodeInfoRequest(),  # type: ignore[attr-defined]
                    timeout=5,
                    metadata=metadata,
                )
            except grpc.RpcError:
                return 0
        return sum(node.state == 0 for node in every.node_info_list)

    def stop(self) -> None:
        """End every process that a node started, the head last."""
        for node in reversed(self.nodes):
            with suppress(ProcessLookupError):
                node.send_signal(signal.SIGTERM)
            try:
                node.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


@contextmanager
def cluster(*, token: bool, nodes: int = 1) -> Iterator[Cluster]:
    """A cluster for the time of the block."""
    folder = Path(tempfile.mkdtemp(prefix="fl", dir="/tmp"))
    found = Cluster(folder, secrets.token_hex(16) if token else None)
    (found.home / ".ray").mkdir(parents=True)
    if found.token is not None:
        path = found.home / ".ray" / "auth_token"
        path.touch(mode=0o600)
        path.write_text(found.token)
    try:
        for _ in range(nodes):
            found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(entry: Path, *words: str, at: Path, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, str(entry), *words], cwd=at, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def data_words(root: Path) -> list[str]:
    splits = [f"data.{split}.{key}" for split in ("train", "val") for key in ("annotations", "images")]
    values = ["train.json", "images/train", "val.json", "images/val"]
    return ["data=coco", f"data.root={root}", *map("=".join, zip(splits, values, strict=True))]
