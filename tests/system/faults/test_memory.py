"""Memory that runs out: the training goes on once with half the micro-batch, then fails by name; others go on."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.driver.watchdogs import repeating
from tests.helpers.experiments.sweeps import SHARED, runs, start, statuses, sweep, trials_of
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE

MIB = 1 << 20
# A step takes about 500 MB beside what is there between two steps, with half the images 270.
SWEEP = (
    *SHARED,
    "data.synthetic.image_size=1024",
    "schedule.steps=4",
    "schedule.eval_every=4",
    "schedule.checkpoint_every=1",
    "schedule.log_every=1",
    "model.backbone.norm=frozen_bn",
    "cluster.concurrent=1",
    # Want of memory needs none of them.
    "cluster.max_failures=0",
)
NAMES = ("ablation_centerness", "none seed 0", "from_regression seed 0")


@contextmanager
def limited(hold: Hold, limit: Callable[[int], None], attempts: int) -> Iterator[list[int]]:
    """`limit` so many attempts at a sweep's first training, each between two steps; yields their pids.

    What came before, such as imports, takes what it takes.
    """
    trainings: list[str] = []
    pids: list[int] = []

    def look() -> None:
        for training, pid in hold.held().items():
            trainings[:] = trainings or [training]
            if training == trainings[0] and pid not in pids and len(pids) < attempts:
                limit(pid)
                pids.append(pid)
            hold.release(pid)

    hold.at(1)
    with repeating("limits", 0.05, look):
        yield pids
    hold.release()


def limit_data(more: int) -> Callable[[int], None]:
    """Let a process have so many bytes more than it has now; what goes beyond is refused by the kernel."""

    def limit(pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        now = 1024 * int(next(line for line in status.splitlines() if line.startswith("VmData:")).split()[1])
        resource.prlimit(pid, resource.RLIMIT_DATA, (now + more, resource.RLIM_INFINITY))

    return limit


def check_halved(folder: Path) -> None:
    assert statuses(folder) == dict.fromkeys(NAMES, "FINISHED")
    found = runs(folder)
    note = "out of memory with micro-batches of 8 images: it went on with 4 (schedule.accumulate=2)"
    tags = found["none seed 0"].data.tags
    assert tags["fcos.notes"] == note
    assert tags["fcos.accumulate"] == "2"
    assert note in (folder / "outputs" / "ablation_centerness" / "report" / "report.md").read_text()
    # The identity, and with it the folder, is what it was; a later command has nothing to do.
    assert len(trials_of(folder)) == 1
    again = sweep(folder, *SWEEP, "report=false")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "starts" not in again.stdout
    assert runs(folder)["none seed 0"].data.tags["fcos.accumulate"] == "2"


# Beyond what is there between two steps.
ENOUGH_FOR_HALF = 400 * MIB


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("way", ["auto", "always"])
def test_an_allocation_that_is_refused_is_answered_with_half_the_micro_batch(
    tmp_path: Path, hold: Hold, way: str
) -> None:
    # The second attempt has no more than the first.
    with limited(hold, limit_data(ENOUGH_FOR_HALF), 2) as pids:
        done = sweep(tmp_path, *SWEEP, f"cluster.ray_train={way}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(pids) == 2
    check_halved(tmp_path)


@pytest.mark.slow(minutes=1)
def test_what_half_is_too_much_for_fails_by_name_and_others_go_on(tmp_path: Path, hold: Hold) -> None:
    words = (*SWEEP, "experiment.seeds=[0,1]", "data.synthetic.image_size=768", "report=false")
    with limited(hold, limit_data(ENOUGH_FOR_HALF // 8), 2):
        done = sweep(tmp_path, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    sizes = "(schedule.batch_size=8, schedule.accumulate=2, cluster.workers=1)"
    reason = f"out of memory with micro-batches of 4 images and of 8 {sizes}"
    assert f"failed: none, from_regression · seed 0: {reason}" in done.stdout
    found = statuses(tmp_path)
    assert found.pop("ablation_centerness") == "FAILED"
    assert found == {name: "FAILED" if name.endswith("seed 0") else "FINISHED" for name in found}
    assert len(found) == 4
    assert runs(tmp_path)["none seed 0"].data.tags["fcos.failure"].startswith(reason)
    # With more memory the same command finishes, and goes on with what fitted last.
    again = sweep(tmp_path, *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert runs(tmp_path)["none seed 0"].data.tags["fcos.accumulate"] == "2"


@pytest.fixture
def small_group() -> Iterator[Callable[[int], None]]:
    """Puts a process under a limit of memory beyond which the kernel kills it."""
    group = Path("/sys/fs/cgroup/memory") / f"fcos_lab_{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(ENOUGH_FOR_HALF))
    except OSError:
        pytest.skip("needs to make a control group of memory (version 1), as root")

    def limit(pid: int) -> None:
        (group / "cgroup.procs").write_text(str(pid))

    yield limit
    until = time.monotonic() + PATIENCE
    while (group / "cgroup.procs").read_text() and time.monotonic() < until:
        time.sleep(0.1)
    group.rmdir()


@pytest.mark.slow(minutes=1)
@pytest.mark.alone  # the kernel's count of such kills is of the whole machine
def test_a_process_that_the_kernel_killed_for_memory_is_distinguished_from_others(
    tmp_path: Path, small_group: Callable[[int], None], hold: Hold
) -> None:
    with limited(hold, small_group, 1):
        done = sweep(tmp_path, *SWEEP)
    assert done.returncode == 0, done.stdout + done.stderr
    check_halved(tmp_path)


@pytest.mark.slow(minutes=1)
def test_what_ray_s_own_monitor_ends_is_distinguished_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever runs is too much.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    process = start(tmp_path, *SWEEP, "report=false")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output + errors
    assert "OutOfMemory: the machine had no more memory, and Ray ended its process" in " ".join(output.split())
