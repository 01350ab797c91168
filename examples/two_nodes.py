"""Run a sweep on a Ray cluster of two local nodes: python examples/two_nodes.py [WORD ...]

Starts a head and a second node on loopback, with a token and on free ports, and ends these two processes alone; another
Ray on this machine is left as it is. On machines of your own the two commands are the same but for the address.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestration import SweepResult, run_sweep

RAY = Path(sys.executable).with_name("ray")
START_SECONDS = 300
END_SECONDS = 60


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that nothing listens at."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextmanager
def started_node(folder: Path, name: str, *options: str) -> Iterator[None]:
    """Start a node of one processor for the time of the block."""
    fixed = ("--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--disable-usage-stats")
    # Two nodes of one address share no ports.
    ports = ("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_ports(1)[0]}")
    log = folder / f"{name}.log"
    with log.open("w") as output:
        node = subprocess.Popen(
            [str(RAY), "start", *fixed, *ports, "--object-store-memory=100000000", *options],
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for_start(node, log)
        yield
    finally:
        # With --block it ends what it has started.
        node.terminate()
        try:
            node.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, 9)
            node.wait()


def wait_for_start(node: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until Ray reports that the node runs; raises RuntimeError with its log where it does not."""
    until = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in log.read_text():
        if node.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the node did not start:\n{log.read_text()}")
        time.sleep(0.5)


def main(*words: str, folder: Path = Path()) -> SweepResult:
    """Start both nodes, run the sweep on them with two trainings at once, and end them."""
    port, dashboard, client = free_ports(3)
    # Paths of sockets are short, so Ray's own folder does not lie below that of the sweep.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as ray_folder, ExitStack() as stack:
        token = Path(ray_folder) / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16))
        # Of the nodes, and of the sweep that joins them.
        os.environ |= {"RAY_TMPDIR": ray_folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        # The logs of the nodes are read while they run.
        os.environ |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "PYTHONUNBUFFERED": "1"}
        head = ["--head", f"--port={port}", f"--ray-client-server-port={client}"]
        head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        stack.enter_context(started_node(Path(ray_folder), "head", *head))
        stack.enter_context(started_node(Path(ray_folder), "second", f"--address=127.0.0.1:{port}"))
        print(f"two nodes at 127.0.0.1:{port}")
        result = run_sweep(
            "+experiment=ablation_centerness", f"cluster.address=127.0.0.1:{port}", *words, folder=folder
        )
    print(f"{result.meaning}: {len(result.finished)} trainings, at most {result.plan.max_concurrent or 2} at once")
    for verdict in result.verdicts:
        print(verdict.text)
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
