"""A whole cluster is taken away; the same command goes on in another that has nothing but output folder and store."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as services

from tests.helpers.experiments.sweeps import (
    ROOT,
    TINY,
    client,
    environment,
    loss_steps,
    points,
    runs,
    start,
    statuses,
    trials_of,
    wait_for,
)
from tests.helpers.processes.clusters import RAY, Cluster, cluster
from tests.helpers.processes.holding import MODULE_FOLDER, Hold
from tests.helpers.processes.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow(minutes=2)

# Long enough for a notice to come in time, as in test_nodes.py.
STEPS, INTERVAL, LOG = 400, 20, 4
# A step that is reported after the first checkpoint.
BEYOND = 28
# Two trainings.
PAIR = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0]",
    "~experiment.arms.from_regression",
    "~experiment.paper.from_regression",
    *(word for word in TINY if not word.startswith("data.cache_dir")),
    f"schedule.log_every={LOG}",
    f"schedule.steps={STEPS}",
    f"schedule.eval_every={STEPS}",
    "report=false",
    "cluster.max_failures=0",
)
NAMES = ("ablation_centerness", "none seed 0", "branch seed 0")
# Seconds that Slurm and Kubernetes wait by default between SIGTERM and SIGKILL.
GRACE = 30.0
# As kuberay.yaml has it, but for machines that are busy; nor do a pod's processes give way to other tests.
POD = ("env", f"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S={PATIENCE:g}", "RAY_worker_niceness=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sweep from start to end on this machine, in a folder and a store of its own."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, *PAIR, f"schedule.checkpoint_every={STEPS}", "data.cache_dir=cache")
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output + errors
    return folder


@dataclass(frozen=True)
class Story:
    """A sweep that is interrupted, beside the same one that is not."""

    folder: Path
    # Steps between checkpoints, on which no number depends.
    interval: int

    @property
    def disk(self) -> Path:
        """The machines' own disk, of which nothing is left when they are gone."""
        return self.folder / "disk"

    def on_a_cluster(self) -> list[str]:
        """The words of the command, the same on every cluster."""
        folders = [f"output={self.folder / 'outputs'}", f"data.cache_dir={self.disk / 'cache'}"]
        return [*PAIR, f"schedule.checkpoint_every={self.interval}", "cluster.address=auto", *folders]

    def check(self, whole: Path) -> None:
        """Every run is FINISHED, no point is missing or twice, and all numbers are those of the undisturbed one."""
        assert statuses(self.folder) == dict.fromkeys(NAMES, "FINISHED")
        found, expected = (numbers(folder) for folder in (self.folder, whole))
        for name, reported in found.items():
            assert len({(key, step) for key, step, _ in reported}) == len(reported)
            assert [step for key, step, _ in reported if key == "train/loss"] == list(range(LOG, STEPS + 1, LOG))
            assert reported == expected[name]

    def redone(self) -> list[int]:
        """Steps that each training did again."""
        return [LOG * (len(steps) - len(set(steps))) for steps in map(loss_steps, trials_of(self.folder))]


def numbers(folder: Path) -> dict[str, list[tuple[str, int, float]]]:
    """Name of each training's run -> its points."""
    store = client(folder)
    return {name: points(run, store) for name, run in runs(folder).items() if name != NAMES[0]}


@contextmanager
def submitted(nodes: Cluster, words: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Submit a sweep as a job of this checkout; yield the process that follows it, whose output is in job.log."""
    command = [
        *(str(RAY), "job", "submit", "--address", f"http://127.0.0.1:{nodes.dashboard_port}", "--working-dir", "."),
        *("--runtime-env", "orchestration/deploy/runtime_env.yaml", "--"),
        *("sh", "-c", f'export PYTHONPATH="$PYTHONPATH:{MODULE_FOLDER}" && exec python "$@"', "job"),
        *("orchestration/sweep.py", *words),
    ]
    env = {**nodes.environment, "RAY_AUTH_MODE": "token"}
    with (nodes.folder / "job.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def pods() -> Iterator[Cluster]:
    """A head for the driver alone, and two workers of one processor, in a temporary folder of their own."""
    with cluster(token=True, nodes=0) as nodes:
        nodes.start("--num-cpus=0", wrapper=POD[:1] + POD[2:])
        for _ in range(2):
            nodes.start(wrapper=POD)
        yield nodes


def processes_of(nodes: Cluster) -> list[psutil.Process]:
    """Every process that a cluster has started, its nodes' first ones too."""
    found = []
    for node in nodes.nodes:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(node.pid)
            found += [first, *first.children(recursive=True)]
    return found


def driver_of(nodes: Cluster) -> psutil.Process:
    """The process of the job's sweep, which end_sweep.sh finds in the same way."""
    for each in processes_of(nodes):
        with suppress(psutil.NoSuchProcess):
            words = each.cmdline()
            if words and "python" in Path(words[0]).name and "orchestration/sweep.py" in words:
                return each
    raise AssertionError("the cluster runs no sweep")


def draining(nodes: Cluster) -> int:
    """How many nodes have announced that they will be taken away."""
    with grpc.insecure_channel(nodes.address) as channel:
        reply = services.NodeResourceInfoGcsServiceStub(channel).GetDrainingNodes(
            messages.GetDrainingNodesRequest(),  # type: ignore[attr-defined]
            timeout=GRACE,
            metadata=[("authorization", f"Bearer {nodes.token}")],
        )
    return len(reply.draining_nodes)


def end_all(processes: list[psutil.Process]) -> None:
    """Send SIGTERM to all at once, and SIGKILL to those that are there after the grace."""
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    _, left = psutil.wait_procs(processes, timeout=GRACE)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=PATIENCE)


def go_on_elsewhere(story: Story, hold: Hold, before: Cluster) -> None:
    """Give the same command to a cluster at another address, with another folder and an empty disk."""
    shutil.rmtree(story.disk, ignore_errors=True)
    wait_until(lambda: not hold.held())
    hold.release()
    with pods() as other, submitted(other, story.on_a_cluster()) as job:
        assert other.address != before.address and not before.folder.exists()
        code = job.wait(timeout=PATIENCE)
        assert code == 0, (other.folder / "job.log").read_text()


def test_a_cluster_of_which_every_process_is_ended_costs_an_interval(whole: Path, tmp_path: Path, hold: Hold) -> None:
    """As Slurm preempts a job: SIGTERM to all of its processes, then SIGKILL."""
    story = Story(tmp_path, INTERVAL)
    hold.at(BEYOND)
    with pods() as first, submitted(first, story.on_a_cluster()) as job:
        wait_for(lambda: len(hold.held()) == 2, job)
        assert job.poll() is None, (first.folder / "job.log").read_text()
        end_all(processes_of(first))
        print(f"after the end: {statuses(tmp_path)}")
    go_on_elsewhere(story, hold, first)
    story.check(whole)
    print(f"steps done again: {story.redone()}")
    assert story.redone() == [BEYOND - INTERVAL] * 2


def test_a_suspended_job_saves_before_it_is_taken_away(whole: Path, tmp_path: Path, hold: Hold) -> None:
    """As Kueue suspends a RayJob: SIGTERM to the first process of each pod, after the head's preStop hook."""
    # No checkpoint but the one for the notice, and no failure is counted.
    story = Story(tmp_path, STEPS)
    hold.at(LOG)
    with pods() as first, submitted(first, story.on_a_cluster()) as job:
        wait_for(lambda: len(hold.held()) == 2, job)
        assert job.poll() is None, (first.folder / "job.log").read_text()
        driver = driver_of(first)
        for worker in first.nodes[1:]:
            worker.send_signal(signal.SIGTERM)
        wait_until(lambda: draining(first) == 2)
        hold.release()
        trials = trials_of(tmp_path)
        wait_for(lambda: all(any((trial / "checkpoints").glob("step_*")) for trial in trials), job)
        # Gone by themselves, as nothing runs on them any longer.
        wait_until(lambda: all(worker.poll() is not None for worker in first.nodes[1:]))
        driver.terminate()
        psutil.wait_procs([driver], timeout=PATIENCE)
        assert statuses(tmp_path) == dict.fromkeys(NAMES, "KILLED")
        end_all(processes_of(first))
    go_on_elsewhere(story, hold, first)
    story.check(whole)
    assert story.redone() == [0, 0]


@dataclass
class Allocation:
    """A machine that Slurm has given to a job: its own processes and network, and stand-ins for Slurm's programs."""

    folder: Path
    hold: Hold

    def __post_init__(self) -> None:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        log = self.folder / "scontrol.log"
        programs = {
            "scontrol": f'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> {log}; fi',
            "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        }
        for name, body in programs.items():
            (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (bin_folder / name).chmod(0o755)
        submit = self.folder / "submit"
        (submit / ".venv" / "bin").mkdir(parents=True)
        (submit / ".venv" / "bin" / "activate").touch()
        (submit / "orchestration").symlink_to(ROOT / "orchestration")

    def start(self, words: list[str], ray_folder: Path, restarts: int) -> "subprocess.Popen[str]":
        """Run slurm.sh; SIGUSR1 comes to the script alone once the file `time_is_up` is there."""
        script = (
            'ip link set lo up; bash "$0" "$@" & job=$!; '
            f"(until [ -e {self.folder / 'time_is_up'} ]; do sleep 0.1; done; kill -USR1 $job) & "
            "wait $job"
        )
        slurm = {
            "SUBMIT_DIR": str(self.folder / "submit"),
            "JOB_NODELIST": "node-1",
            "JOB_NUM_NODES": "1",
            "JOB_ID": "4123",
            "CPUS_PER_TASK": "2",
            "GPUS_ON_NODE": "0",
            "RESTART_COUNT": str(restarts),
        }
        env = {key: value for key, value in environment(self.folder).items() if not key.startswith("RAY_")}
        env |= {f"SLURM_{name}": text for name, text in slurm.items()} | self.hold.environment
        env |= {"PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        env |= {"RAY_TMPDIR": str(ray_folder), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        return subprocess.Popen(
            [*NAMESPACES, "bash", "-c", script, str(ROOT / "orchestration" / "deploy" / "slurm.sh"), *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


# Ray's command line ends every Ray process of its user that it sees.
NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")


@contextmanager
def machine() -> Iterator[Path]:
    """Ray's folder on a machine, short because paths of sockets have a limit; removed with it."""
    folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_slurm_job_whose_time_is_up_is_queued_again_and_goes_on(whole: Path, tmp_path: Path, hold: Hold) -> None:
    probe = subprocess.run([*NAMESPACES, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("needs to make namespaces of processes and networks (root, ip)")
    story = Story(tmp_path, INTERVAL)
    allocation = Allocation(tmp_path, hold)
    # Slurm's default is one GPU for each of eight workers.
    words = [*story.on_a_cluster(), "cluster.workers=1", "cluster.cpus_per_worker=1", "cluster.gpus_per_worker=0"]
    words += ["cluster.device=cpu"]
    hold.at(BEYOND)
    with machine() as ray_folder:
        job = allocation.start(words, ray_folder, restarts=0)
        try:
            # Process ids are the machine's own: what is held shows by what was reported.
            wait_for(lambda: [max(loss_steps(trial), default=0) for trial in trials_of(tmp_path)] == [BEYOND] * 2, job)
            (tmp_path / "time_is_up").touch()
            output, _ = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode == 143, output
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4123\n"
    assert statuses(tmp_path) == dict.fromkeys(NAMES, "KILLED")
    shutil.rmtree(story.disk, ignore_errors=True)
    (tmp_path / "time_is_up").unlink()
    hold.release()
    with machine() as ray_folder:
        job = allocation.start(words, ray_folder, restarts=1)
        try:
            output, _ = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode == 0, output
    story.check(whole)
    print(f"steps done again: {story.redone()}")
    assert story.redone() == [BEYOND - INTERVAL] * 2
