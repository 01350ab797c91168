"""Status of sweeps in a bucket: read by a host that has none of their folders."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.bucket.objects import Objects
from orchestration.bucket import output as bucket_output
from orchestration.bucket.generations import Holder, create
from orchestration.bucket.output import BucketOutput
from orchestration.cli.bucket_lock import machine_name
from orchestration.monitor import in_bucket, record
from orchestration.monitor.in_bucket import BucketSweeps
from orchestration.monitor.read_sweep import settle
from orchestration.monitor.record import STATUS, StatusRecord
from orchestration.status import read_all
from tests.helpers.bucket_runs import memory_bucket

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
        name: str, *, phase: str = "running", count: int = 1, generation: int = 1, released: bool = False
    ) -> None:
        values = StatusRecord(
            name=name, experiment=name, host="elsewhere", pid=7, started=time.time() - 60, written=time.time(),
            count=count, phase="running", max_concurrent=2, seconds_left=30.0, steps=5, total_steps=10, budget=(),
            best=None, retries=0, store=None, store_lag_seconds=0.0, trainings=(),
        )  # fmt: skip
        values = values.model_copy(update={"phase": phase, "exit_code": 0 if phase == "ended" else None})
        sweep = objects.below(name)
        sweep.write(STATUS, values.model_dump_json().encode())
        holder = Holder(token=name, pid=7, begin=1.0, host="elsewhere", machine="x", since="then", released=released)
        if not create(sweep, generation, holder):
            sweep.write(f"lock/{generation:08d}.json", holder.to_bytes())

    return write


def test_the_file_has_one_name() -> None:
    assert record.STATUS == bucket_output.STATUS and record.STATUS in bucket_output.SWEEP_FILES
    assert machine_name() != "elsewhere"


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


def test_a_misspelt_name_is_refused_with_a_near_one(sweeps: BucketSweeps, write: Write) -> None:
    write("ablation_centerness")
    assert sweeps.find("ablation_centerness") == sweeps.folder / "ablation_centerness"
    with pytest.raises(ConfigError, match="did you mean ablation_centerness"):
        sweeps.find("ablation_centernes")


def test_an_address_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no bucket"):
        in_bucket.BucketSweeps.open("file:///tmp/x")
