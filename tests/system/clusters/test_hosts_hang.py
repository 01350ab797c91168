"""A training hangs on another host than the command's, where no process of it is one of this host."""

import time
from pathlib import Path

import psutil
import pytest

from orchestration.trial.processes import start_time
from tests.helpers.experiments.sweeps import runs, trials_of
from tests.helpers.processes.hosts import HEAD, Hosts
from tests.helpers.processes.interrupted import (
    AGAIN,
    BEYOND,
    INTERVAL,
    SINGLE,
    check_whole,
    redone,
    seconds_until,
    summary_of,
)
from tests.helpers.processes.namespaces import Host
from tests.helpers.processes.waiting import PATIENCE

pytestmark = [pytest.mark.slow(minutes=4), pytest.mark.timeout(1800)]

# Seconds, of which starting up and the first step must take less.
STALL = 30


def seen_from_here(host: Host, pid: int) -> psutil.Process:
    """Return a process of a host, which has another number outside of it."""
    own = Path(f"/proc/{host.pid}/ns/pid").stat().st_ino
    for process in psutil.process_iter():
        folder = Path(f"/proc/{process.pid}")
        try:
            numbers = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("NSpid:"))
            if (folder / "ns" / "pid").stat().st_ino == own and int(numbers.split()[-1]) == pid:
                return process
        except OSError:
            # It has just ended.
            continue
    raise AssertionError(f"{host.name}: no process {pid}")


def test_a_training_that_hangs_on_another_host_is_ended_there_with_its_loader_and_taken_up(hosts: Hosts) -> None:
    hosts.add(HEAD, "node1", "node2")
    hosts.hold.at(BEYOND)
    process = hosts.start(*SINGLE, "report=false", "data.num_workers=1", f"cluster.stall_minutes={STALL / 60}")
    seconds_until(hosts.held, process)
    (trial,) = trials_of(hosts.shared)
    host, pid = hosts.worker(trial, 0)
    training = seen_from_here(host, pid)
    victims = [training, *training.children(recursive=True)]
    assert len(victims) > 1, "there is a process that loads data"
    for each in victims:
        each.suspend()
    hosts.hold.release()
    began = time.monotonic()
    seconds_until(lambda: not any(start_time(each.pid) for each in victims), process)
    print(f"{time.monotonic() - began:.0f} s until its processes on {host.name} were ended")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    reason = f"no progress for {STALL} s (cluster.stall_minutes={STALL / 60:g}); its processes were ended"
    assert reason in " ".join(output.split())
    assert reason in runs(hosts.shared)["none seed 0"].data.tags["fcos.notes"]
    check_whole(hosts.shared)
    assert redone(trial) == AGAIN and summary_of(trial)["resumed_from"] == INTERVAL
    print(f"{AGAIN} steps redone")
