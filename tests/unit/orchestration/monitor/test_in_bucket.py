"""Status of sweeps in a bucket: read by a host that has none of their folders."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.bucket.objects import Objects
from orchestration.bucket.generations import Holder, create
from orchestration.bucket.output import SWEEP_FILES, BucketOutput
from orchestration.cli.event_stream import EventStream
from orchestration.cli.lock import lock_folder
from orchestration.experiment.training_folder import STATUS
from orchestration.monitor import in_bucket
from orchestration.monitor.in_bucket import BucketSweeps
from orchestration.monitor.read_sweep import settle
from orchestration.monitor.record import StatusRecord, write_status
from orchestration.status import main, read_all, read_one
from tests.helpers.bucket_runs import memory_bucket
from tests.helpers.status_folders import make_folder, record

Write = Callable[..., None]


@pytest.fixture
def objects() -> Objects:
    return memory_bucket()


@pytest.fixture
def sweeps(objects: Objects, tmp_path: Path) -> BucketSweeps:
    return BucketSweeps(BucketOutput(objects, tmp_path / "mirror"))


@pytest.fixture
def write(objects: Objects) -> Write:
    """Writes what the driver of a sweep, on another host, has in the bucket."""

    def write(
        name: str,
        *,
        phase: str = "running",
        count: int = 1,
        generation: int = 1,
        heartbeats: int = 0,
        released: bool = False,
    ) -> None:
        values = StatusRecord(
            name=name, experiment=name, host="elsewhere", pid=7, started=time.time() - 60, written=time.time(),
            count=count, phase="running", max_concurrent=2, seconds_left=30.0, steps=5, total_steps=10, budget=(),
            best=None, retries=0, store=None, store_lag_seconds=0.0, trainings=(),
        )  # fmt: skip
        values = values.model_copy(update={"phase": phase, "exit_code": 0 if phase == "ended" else None})
        sweep = objects.below(name)
        sweep.write(STATUS, values.model_dump_json().encode())
        holder = Holder(
            token=name,
            pid=7,
            begin=1.0,
            host="elsewhere",
            machine="x",
            since="then",
            counter=heartbeats,
            released=released,
        )
        if not create(sweep, generation, holder):
            sweep.write(f"lock/{generation:08d}.json", holder.to_bytes())

    return write


def test_the_record_is_uploaded() -> None:
    assert STATUS in SWEEP_FILES


def test_sweeps_of_other_hosts_are_shown(sweeps: BucketSweeps, write: Write, tmp_path: Path) -> None:
    write("first")
    write("second", phase="ended", released=True)
    sweeps.fetch_all()
    rows = {row.name: row for row in read_all(sweeps.folder, sweeps.refresh).sweeps}
    assert {name: row.state for name, row in rows.items()} == {"first": "running", "second": "finished"}
    assert (rows["first"].host, rows["first"].pid) == ("elsewhere", 7) and rows["second"].exit_code == 0
    write("first", phase="ended", count=2, released=True)
    sweeps.refresh([sweeps.folder / "first"])
    assert {row.state for row in read_all(sweeps.folder, sweeps.refresh).sweeps} == {"finished"}


def test_a_record_that_changes_in_the_bucket_is_a_sign_of_life(
    sweeps: BucketSweeps, write: Write, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("first")
    sweeps.fetch_all()
    # By a clock that is ten minutes ahead the record is too old to count by itself.
    now = time.time() + 600

    def refresh(folders: object) -> None:
        stored = json.loads(objects.below("first").read(STATUS))
        objects.below("first").write(STATUS, json.dumps({**stored, "count": stored["count"] + 1}).encode())
        sweeps.refresh([sweeps.folder / "first"])

    (event,) = settle((sweeps.folder / "first",), lambda: now, refresh)
    assert event.sweep.state == "running"


def test_a_heartbeat_of_the_lock_is_a_sign_of_life_where_no_record_comes(sweeps: BucketSweeps, write: Write) -> None:
    write("first")
    now, heartbeats = time.time() + 600, iter(range(1, 100))

    def refresh(folders: Sequence[Path]) -> None:
        write("first", heartbeats=next(heartbeats))
        sweeps.refresh(folders)

    folder = sweeps.find("first")
    sweeps.refresh([folder])
    (event,) = settle((folder,), lambda: now, refresh)
    assert event.sweep.state == "running" and "no newer one has arrived" in event.sweep.notes[0]


@pytest.fixture
def killed_here(sweeps: BucketSweeps) -> Path:
    """The local folder of a sweep whose driver on this host was killed."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return make_folder(sweeps.folder / "first", holder=process.pid)


def test_a_host_that_went_on_is_shown_and_not_the_process_that_was_killed_here(
    sweeps: BucketSweeps, write: Write, killed_here: Path
) -> None:
    write("first")
    sweeps.refresh([killed_here])
    row = read_one(killed_here).sweep
    assert (row.state, row.host, row.pid) == ("running", "elsewhere", 7)
    write("first", phase="ended", count=2, released=True)
    sweeps.refresh([killed_here])
    row = read_one(killed_here).sweep
    assert (row.state, row.pid, row.notes) == ("finished", None, ())


def test_a_driver_of_this_host_is_read_from_its_own_folder(sweeps: BucketSweeps, write: Write) -> None:
    write("first")
    folder = sweeps.find("first")
    with lock_folder(folder, "now"):
        write_status(folder, record(steps=77))
        write("first", count=9)
        sweeps.refresh([folder])
        event = read_one(folder)
    assert (event.sweep.state, event.sweep.pid, event.steps) == ("running", os.getpid(), 77)


def test_follow_reads_the_bucket_anew_until_the_sweep_has_ended(
    sweeps: BucketSweeps, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("first")
    monkeypatch.setattr(BucketSweeps, "open", lambda _: sweeps)
    monkeypatch.setattr("time.sleep", lambda _: write("first", phase="ended", count=2, released=True))
    assert main(["first", "--output=memory://bucket/outputs", "--follow"], EventStream(None)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in lines if line.startswith("first: ")] == ["first: running", "first: finished"]


def test_all_sweeps_are_those_of_the_address(
    sweeps: BucketSweeps, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("first")
    monkeypatch.setattr(BucketSweeps, "open", lambda _: sweeps)
    assert main(["--output=memory://bucket/outputs"], EventStream(None)) == 0
    assert capsys.readouterr().out.startswith("1 sweep in memory://bucket/outputs\n")


def test_a_record_is_all_that_is_read_of_a_sweep_but_its_lock(
    sweeps: BucketSweeps, write: Write, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("first")
    objects.below("first").write("plan.json", b"{}")
    sweeps.find("first")
    read: list[str] = []
    call = Objects.read_if_there

    def read_if_there(each: Objects, name: str) -> bytes | None:
        read.append(name)
        return call(each, name)

    monkeypatch.setattr(Objects, "read_if_there", read_if_there)
    sweeps.refresh([sweeps.folder / "first"])
    assert read == [STATUS, "lock/00000001.json", "lock/00000002.json"]


def test_a_misspelt_name_is_refused_with_a_near_one(sweeps: BucketSweeps, write: Write) -> None:
    write("ablation_centerness")
    assert sweeps.find("ablation_centerness") == sweeps.folder / "ablation_centerness"
    with pytest.raises(ConfigError, match="did you mean ablation_centerness"):
        sweeps.find("ablation_centernes")
    with pytest.raises(ConfigError, match=r"memory://.* has ablation_centerness; --output"):
        sweeps.find("../zzz")


def test_an_address_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no bucket"):
        in_bucket.BucketSweeps.open("file:///tmp/x")
