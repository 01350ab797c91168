"""A whole cluster is taken away; the same command goes on in another that has nothing but output folder and store."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
import psutil
import pytest
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as services

from tests.helpers.deploy.allocation import JOB, Allocations, needs_allocations
from tests.helpers.experiments.sweeps import (
    SWEEP,
    client,
    finished,
    loss_steps,
    points,
    runs,
    statuses,
    trials_of,
    wait_for,
)
from tests.helpers.processes.clusters import Cluster, cluster
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.interrupted import AGAIN, BEYOND, LOG, ONE, check_whole, redone, seconds_until
from tests.helpers.processes.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.slow(minutes=3), pytest.mark.timeout(1800)]

# Long enough for a notice to come before the end, as in test_nodes.py.
STEPS = 400
# Two trainings; where each machine keeps its decoded images is given beside.
PAIR = (
    *(word for word in ONE if not word.startswith("data.cache_dir")),
    "~experiment.arms.from_regression",
    "~experiment.paper.from_regression",
    f"schedule.steps={STEPS}",
    f"schedule.eval_every={STEPS}",
    "report=false",
)
# No checkpoint but those that something else brings about.
NO_CHECKPOINTS = f"schedule.checkpoint_every={STEPS}"
NAMES = ("ablation_centerness", "none seed 0", "branch seed 0")
# Seconds that Slurm and Kubernetes wait by default between SIGTERM and SIGKILL.
GRACE = 30.0
# A pod's processes do not give way to others; its time to end in order is that of kuberay.yaml, but for busy machines.
POD = ("env", "RAY_worker_niceness=0")
WORKER_POD = (*POD, f"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S={PATIENCE:g}")
Numbers: TypeAlias = dict[str, list[tuple[str, int, float]]]


def numbers(folder: Path) -> Numbers:
    """Return the points of each training's run by its name."""
    store = client(folder)
    return {name: points(run, store) for name, run in runs(folder).items() if name != NAMES[0]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """The numbers of the same sweep from start to end on this machine, with a store of its own."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(folder, *PAIR, NO_CHECKPOINTS, "data.cache_dir=cache")
    return numbers(folder)


@dataclass(frozen=True)
class Story:
    """A sweep in a folder, whose command is given to one cluster after another."""

    folder: Path
    hold: Hold
    # Of the sweep, beside PAIR.
    more: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command, the same on every cluster."""
        folders = (f"output={self.folder / 'outputs'}", f"data.cache_dir={self.folder / 'disk' / 'cache'}")
        return (*PAIR, *self.more, "cluster.address=auto", *folders)

    def lose_disks(self) -> None:
        """Remove what lies on the machines' own disks, once all that was held is gone; nothing is held from here on."""
        wait_until(lambda: not self.hold.held())
        shutil.rmtree(self.folder / "disk", ignore_errors=True)
        self.hold.release()

    def check(self, undisturbed: Numbers, again: int) -> None:
        """Every run is FINISHED with the numbers of an undisturbed one, and so many steps of each were done again."""
        assert statuses(self.folder) == dict.fromkeys(NAMES, "FINISHED")
        check_whole(self.folder, STEPS)
        assert numbers(self.folder) == undisturbed
        found = [redone(trial) for trial in trials_of(self.folder)]
        print(f"steps done again: {found}")
        assert found == [again, again]


@contextmanager
def pods() -> Iterator[Cluster]:
    """Yield a head for the driver alone and two workers of one processor, in a temporary folder of their own."""
    with cluster(token=True, nodes=0) as nodes:
        nodes.start("--num-cpus=0", wrapper=POD)
        for _ in range(2):
            nodes.start(wrapper=WORKER_POD)
        yield nodes


def give(story: Story, nodes: Cluster) -> "subprocess.Popen[str]":
    """Give the command to a cluster, on its head, whose home and temporary folder it has."""
    return subprocess.Popen(
        [sys.executable, str(SWEEP), *story.words],
        cwd=nodes.home,
        env={**nodes.environment, **story.hold.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(nodes: Cluster) -> list[psutil.Process]:
    """Return every process that a cluster has started, its nodes' first ones too."""
    found = []
    for node in nodes.nodes:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(node.pid)
            found += [first, *first.children(recursive=True)]
    return found


def end_all(driver: "subprocess.Popen[str]", processes: list[psutil.Process], *signals: int) -> str:
    """Send a signal to all at once, and the next to those that are there after the grace; return what is printed."""
    for number in signals:
        driver.send_signal(number)
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        _, processes = psutil.wait_procs(processes, timeout=GRACE)
        with suppress(subprocess.TimeoutExpired):
            driver.wait(timeout=GRACE)
    assert not processes
    output, errors = driver.communicate(timeout=PATIENCE)
    return output + errors


def go_on_elsewhere(story: Story, before: Cluster) -> None:
    """Give the same command to a cluster at another address, with another folder and an empty disk, to its end."""
    story.lose_disks()
    with pods() as other:
        assert other.address != before.address and not before.folder.exists()
        driver = give(story, other)
        output, errors = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 0, output + errors


SIGNALS = {"slurm preempts it": (signal.SIGTERM, signal.SIGKILL), "its power fails": (signal.SIGKILL,)}


@pytest.mark.parametrize("how", SIGNALS)
def test_a_cluster_of_which_every_process_is_ended_costs_an_interval(
    undisturbed: Numbers, tmp_path: Path, hold: Hold, how: str
) -> None:
    story = Story(tmp_path, hold)
    hold.at(BEYOND)
    with pods() as first:
        driver = give(story, first)
        seconds_until(lambda: len(hold.held()) == 2, driver)
        printed = end_all(driver, processes_of(first), *SIGNALS[how])
        assert driver.returncode != 0 and "Traceback" not in printed, printed
        print(f"ended with {driver.returncode}, {statuses(tmp_path)}")
    go_on_elsewhere(story, first)
    story.check(undisturbed, AGAIN)


def draining(nodes: Cluster) -> int:
    """Return how many nodes have announced that they will be taken away."""
    with grpc.insecure_channel(nodes.address) as channel:
        reply = services.NodeResourceInfoGcsServiceStub(channel).GetDrainingNodes(
            messages.GetDrainingNodesRequest(),  # type: ignore[attr-defined]
            timeout=GRACE,
            metadata=[("authorization", f"Bearer {nodes.token}")],
        )
    return len(reply.draining_nodes)


def test_a_suspended_cluster_saves_before_it_is_taken_away(undisturbed: Numbers, tmp_path: Path, hold: Hold) -> None:
    """As Kueue suspends a RayJob: SIGTERM to the first process of each worker's pod, and end_sweep.sh on the head."""
    story = Story(tmp_path, hold, (NO_CHECKPOINTS, "cluster.max_failures=0"))
    hold.at(LOG)
    with pods() as first:
        driver = give(story, first)
        seconds_until(lambda: len(hold.held()) == 2, driver)
        workers = first.nodes[1:]
        for worker in workers:
            worker.terminate()
        wait_until(lambda: draining(first) == 2)
        hold.release()
        trials = trials_of(tmp_path)
        seconds_until(lambda: all(any((trial / "checkpoints").glob("step_*")) for trial in trials), driver)
        # Gone by themselves, as nothing runs on them any longer.
        seconds_until(lambda: all(worker.poll() is not None for worker in workers), driver)
        driver.terminate()
        output, errors = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 143, output + errors
        assert statuses(tmp_path) == dict.fromkeys(NAMES, "KILLED")
    go_on_elsewhere(story, first)
    story.check(undisturbed, 0)


def test_a_slurm_job_whose_time_is_up_is_queued_again_and_goes_on(
    undisturbed: Numbers, tmp_path: Path, hold: Hold
) -> None:
    needs_allocations()
    story, machines = Story(tmp_path, hold), Allocations(tmp_path, hold)
    machines.prepare()
    # many_nodes has eight workers of a GPU each.
    words = (*story.words, "cluster.workers=1", "cluster.cpus_per_worker=1", "cluster.gpus_per_worker=0")
    words += ("cluster.device=cpu",)
    hold.at(BEYOND)
    with machines.run(*words, restarts=0) as job:
        # Process ids are the machine's own: what is held shows by what was reported.
        wait_for(lambda: [max(loss_steps(trial), default=0) for trial in trials_of(tmp_path)] == [BEYOND] * 2, job)
        machines.time_is_up.touch()
        output, _ = job.communicate(timeout=PATIENCE)
        assert job.returncode == 143, output
    assert machines.log.read_text() == f"requeue {JOB}\n"
    assert statuses(tmp_path) == dict.fromkeys(NAMES, "KILLED")
    machines.time_is_up.unlink()
    shutil.rmtree(tmp_path / "disk")
    hold.release()
    with machines.run(*words, restarts=1) as job:
        output, _ = job.communicate(timeout=PATIENCE)
        assert job.returncode == 0, output
    assert machines.log.read_text() == f"requeue {JOB}\n"
    story.check(undisturbed, AGAIN)
