"""A training without a sign of life is found, and its processes are ended whatever state they are in."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from fcos.storage.run_folder import HEARTBEATS
from orchestration.trial import files, processes, stalls
from orchestration.trial.bucket_folder import mark_folder
from orchestration.trial.failures import failure_reason, read_failure
from orchestration.trial.heartbeat import TRIAL, Process, registered
from orchestration.trial.stalls import START_SECONDS, Guard, StallDetector, end_here, guarded
from orchestration.trial.task import BucketTask
from tests.helpers.experiments.tasks import task_in
from tests.helpers.processes.waiting import PATIENCE, wait_until


def asleep() -> "subprocess.Popen[str]":
    """A process that sleeps, and says when all that it starts sleeps too."""
    text = "import subprocess, sys, time\n"
    text += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\nprint(child.pid)\n"
    text += "sys.stdout.flush()\ntime.sleep(3600)"
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def test_quiet_counts_from_the_last_sign_of_any_worker(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"), registered(tmp_path, "rank_1", "here"):
        assert detector.check([tmp_path], 1) == []
        assert detector.check([tmp_path], 9) == []
        os.utime(tmp_path / HEARTBEATS / "rank_1.json", (1, 1))
        assert detector.check([tmp_path], 9) == []
        assert detector.check([tmp_path], 9) == []
        assert detector.check([tmp_path], 1) == [tmp_path]
        assert detector.check([tmp_path], 9) == []


def test_a_training_whose_workers_have_not_signed_in_waits_for_room(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, TRIAL, "here"):
        assert detector.check([tmp_path], 1) == []
        assert detector.check([tmp_path], 100) == []
        with registered(tmp_path, "rank_0", "here"):
            assert detector.check([tmp_path], 100) == []
            assert detector.check([tmp_path], START_SECONDS) == []
            assert detector.check([tmp_path], 10) == [tmp_path]


def test_importing_is_given_time_until_the_first_sign_of_life(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"):
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 100) == []
        os.utime(tmp_path / HEARTBEATS / "rank_0.json", (1, 1))
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 10) == [tmp_path]
    # The next attempt imports anew.
    with registered(tmp_path, "rank_0", "there"):
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 100) == []


def test_time_in_which_a_training_did_not_run_does_not_count(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"):
        detector.check([tmp_path], 1)
        detector.check([tmp_path], START_SECONDS + 9)
        detector.check([], 1)
        assert detector.check([tmp_path], 9) == []


@pytest.mark.ray
def test_a_stopped_process_and_its_child_are_ended_and_the_reason_is_kept(tmp_path: Path) -> None:
    with asleep() as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        for each in (process.pid, child):
            os.kill(each, signal.SIGSTOP)
        end_here(str(tmp_path), [Process("here", process.pid, processes.start_time(process.pid))], 10)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    wait_until(lambda: not processes.start_time(child))
    reason = "no progress for 10 s (cluster.stall_minutes=0.166667); its processes were ended"
    assert failure_reason(tmp_path).startswith(f"Stalled: {reason}")
    assert files.read_notes(tmp_path) == [f"{reason}, and it went on from its last checkpoint"]


@pytest.mark.ray
def test_a_pid_that_was_given_again_is_left_alone(tmp_path: Path) -> None:
    with asleep() as process:
        end_here(str(tmp_path), [Process("here", process.pid, 1.0)], 10)
        assert process.poll() is None
        assert read_failure(tmp_path) is None
        processes.kill(process.pid)
        process.wait(PATIENCE)


BUCKET = BucketTask("s3://bucket/outputs", "sweep", "trials/x", 7)


@pytest.mark.ray
def test_a_guard_ends_what_is_registered_in_the_folder_and_uploads_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads: list[tuple[Any, ...]] = []
    (tmp_path / HEARTBEATS).mkdir()
    monkeypatch.setattr(stalls, "START_SECONDS", 0.0)
    monkeypatch.setattr(stalls, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(stalls, "upload_records", lambda *given: uploads.append((*given, read_failure(tmp_path))))

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    with asleep() as process:
        for name in (TRIAL, "rank_0"):
            record = asdict(Process("there", process.pid, processes.start_time(process.pid)))
            files.write_json(tmp_path / HEARTBEATS / f"{name}.json", record)
        Guard(str(tmp_path), 0.1, BUCKET, "fence/2").watch(wait)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    ((folder, bucket, following, failure),) = uploads
    assert (folder, bucket, following) == (tmp_path, BUCKET, "fence/2")
    assert failure is not None and failure.kind == "Stalled" and failure.retryable


def test_a_guard_travels_as_text() -> None:
    for guard in (Guard("/folder of a run", 1800.0, BUCKET, "fence/2"), Guard("/folder of a run", 1800.0, None)):
        assert Guard.from_json(guard.to_json()) == guard


def children() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children()
    return found


@pytest.mark.ray
def test_a_guard_is_there_as_long_as_the_attempt(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "trials" / "x"
    folder.mkdir(parents=True)
    before = children()
    with guarded(task_in(folder, stall_seconds=60.0, bucket=BUCKET)):
        (guard,) = set(children()) - set(before)
        assert guard.cmdline()[1:3] == ["-m", "orchestration.trial.stalls"]
    assert not guard.is_running()


@pytest.mark.parametrize(
    "changes", [{"stall_seconds": None}, {"bucket": None}, {}], ids=["no limit", "a folder", "the driver's machine"]
)
def test_no_guard_is_there_where_none_is_needed(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = tmp_path / "sweep" / "trials" / "x"
    folder.mkdir(parents=True)
    if not changes:
        mark_folder(tmp_path / "sweep", "one")
    before = children()
    with guarded(task_in(folder, **{"stall_seconds": 60.0, "bucket": BUCKET, **changes})):
        assert children() == before


@pytest.mark.ray
def test_a_guard_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "trials" / "x"
    folder.mkdir(parents=True)
    text = (
        "import time\nfrom pathlib import Path\nimport psutil\n"
        "from orchestration.trial.stalls import guarded\nfrom orchestration.trial.task import BucketTask\n"
        "from tests.helpers.experiments.tasks import task_in\n"
        f"with guarded(task_in(Path({str(folder)!r}), stall_seconds=60.0, bucket={BUCKET!r})):\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n    time.sleep(3600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        guard = int(process.stdout.readline())
        process.kill()
        process.wait(PATIENCE)
    wait_until(lambda: not processes.start_time(guard))
