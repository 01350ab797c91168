"""The local folder of an output in a bucket: sweeps are brought in step, and nothing that is newer is overwritten."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.errors import ConfigError
from fcos.storage.bucket import address, objects
from fcos.storage.bucket.faults import BucketError
from fcos.storage.checkpoint_folder import steps_in
from fcos.storage.run_folder import CHECKPOINTS, FORKS, SUMMARY
from orchestration.bucket.generations import Superseded, create
from orchestration.bucket.output import BucketOutput, as_config_error, open_output
from orchestration.cli.lock import lock_folder
from orchestration.experiment.training_folder import TRIALS
from orchestration.planning import spent
from orchestration.planning.plan import PLAN
from tests.helpers.bucket_runs import (
    EVALUATION,
    IDENTITY,
    begin_run,
    finish_run,
    holder,
    memory_bucket,
    write_checkpoint,
)

NAME = "mine"


def plan_of(*identities: str) -> str:
    return json.dumps({"trials": [{"identity": each, "seed": 0} for each in identities]})


@pytest.fixture
def host(tmp_path: Path) -> BucketOutput:
    """A host with a sweep of one finished training that is uploaded."""
    output = BucketOutput(memory_bucket(), tmp_path / "host")
    training = begin_run(folder_in(output), 4, 8)
    finish_run(training, 8)
    (output.folder / NAME / PLAN).write_text(plan_of(IDENTITY))
    (output.folder / NAME / spent.SPENT).write_text('{"wall": 1.0, "cpu": 1.0, "gpu": 0.0}')
    output.push(NAME)
    output.push_results([training])
    return output


def folder_in(output: BucketOutput) -> Path:
    return output.folder / NAME / TRIALS / IDENTITY[:16]


def other_host(host: BucketOutput, folder: Path) -> BucketOutput:
    return BucketOutput(host.objects, folder)


def test_another_host_has_plan_hours_and_results(host: BucketOutput, tmp_path: Path) -> None:
    other = other_host(host, tmp_path / "other")
    assert other.pull(NAME) == []
    for name in (PLAN, spent.SPENT):
        assert (other.folder / NAME / name).read_text() == (host.folder / NAME / name).read_text()
    there = folder_in(other)
    assert (there / SUMMARY).exists()
    assert steps_in(there / CHECKPOINTS) == frozenset()
    assert any((other.folder / NAME / TRIALS).glob(f"*/{CHECKPOINTS}/*")), "the plan shows that it holds runs"


def test_checkpoints_and_forks_are_fetched_where_they_are_needed(host: BucketOutput, tmp_path: Path) -> None:
    write_checkpoint(folder_in(host), 6, FORKS)
    host.push_begun([folder_in(host)])
    other = other_host(host, tmp_path / "other")
    other.pull(NAME)
    assert other.fetch_checkpoints({folder_in(other): frozenset()}) == {folder_in(other): []}
    other.fetch_forks([folder_in(other)])
    assert steps_in(folder_in(other) / CHECKPOINTS) == {8}
    assert steps_in(folder_in(other) / FORKS) == {6}


def test_results_are_fetched_where_they_are_needed(host: BucketOutput, tmp_path: Path) -> None:
    other = other_host(host, tmp_path / "other")
    other.pull(NAME)
    summary = finish_run(begin_run(tmp_path / "same", 8), 8)
    assert other.fetch_results(folder_in(other), summary) == []
    assert (folder_in(other) / EVALUATION).read_bytes() == b"the detections"


def test_what_this_host_changed_is_uploaded_and_not_overwritten(host: BucketOutput) -> None:
    plan = host.folder / NAME / PLAN
    plan.write_text(plan_of(IDENTITY, "f" * 32))
    host.pull(NAME)
    assert "ffff" in plan.read_text()
    host.push(NAME)
    assert b"ffff" in host.sweep(NAME).read(PLAN)


def test_what_another_host_changed_is_taken(host: BucketOutput, tmp_path: Path) -> None:
    other = other_host(host, tmp_path / "other")
    other.pull(NAME)
    (other.folder / NAME / PLAN).write_text(plan_of(IDENTITY, "f" * 32))
    other.push(NAME)
    host.pull(NAME)
    assert "ffff" in (host.folder / NAME / PLAN).read_text()


def test_a_folder_in_which_another_command_works_is_left_alone(host: BucketOutput, tmp_path: Path) -> None:
    other = other_host(host, tmp_path / "other")
    other.pull(NAME)
    (other.folder / NAME / PLAN).write_text(plan_of(IDENTITY, "f" * 32))
    other.push(NAME)
    with lock_folder(host.folder / NAME, "now"):
        host.pull(NAME)
        assert "ffff" not in (host.folder / NAME / PLAN).read_text()
        host.pull(NAME, is_locked=True)
        assert "ffff" in (host.folder / NAME / PLAN).read_text()


def test_removed_checkpoints_are_gone_for_all(host: BucketOutput, tmp_path: Path) -> None:
    host.remove_checkpoints(folder_in(host))
    other = other_host(host, tmp_path / "other")
    other.pull(NAME)
    assert other.fetch_checkpoints({folder_in(other): frozenset()}) == {}
    assert (folder_in(other) / SUMMARY).exists(), "the result stays"
    assert host.training(folder_in(host)).list(CHECKPOINTS) == []


def test_a_report_is_uploaded_with_its_folder(host: BucketOutput) -> None:
    report = host.folder / NAME / "report"
    report.mkdir()
    (report / "report.html").write_text("<html>")
    host.push_folder(NAME, "report")
    assert host.sweep(NAME).read("report/report.html") == b"<html>"
    # None was written.
    host.push_folder(NAME, "paper")


def test_a_command_that_was_taken_over_writes_nothing(host: BucketOutput) -> None:
    unchecked = host.sweep(NAME)
    assert create(unchecked, 1, holder())
    host.locked(NAME, 1)
    assert create(unchecked, 2, holder())
    before = host.sweep(NAME).read(PLAN)
    (host.folder / NAME / PLAN).write_text(plan_of(IDENTITY, "f" * 32))
    with pytest.raises(Superseded):
        host.push(NAME)
    assert host.sweep(NAME).read(PLAN) == before


def test_a_damaged_plan_is_left_to_its_reader(host: BucketOutput, tmp_path: Path) -> None:
    host.sweep(NAME).write(PLAN, b"no plan")
    other = other_host(host, tmp_path / "other")
    assert other.pull(NAME) == []
    assert (other.folder / NAME / PLAN).read_bytes() == b"no plan"


class NoBucket(MemoryFileSystem):  # type: ignore[misc]  # which has no types
    """A service that knows no such bucket."""

    cachable = False

    def cat_file(self, path: str, **_: object) -> bytes:
        error = FileNotFoundError(path)
        error.__cause__ = type("ClientError", (Exception,), {"response": {"Error": {"Code": "NoSuchBucket"}}})()
        raise error


def test_a_missing_bucket_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(address, "HERE", ())
    import fsspec

    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: NoBucket)
    with pytest.raises(ConfigError, match=r"output=memory://lab/outputs: .*no such bucket; create it"):
        open_output("memory://lab/outputs")


def test_an_absent_service_is_one_clear_error(host: BucketOutput) -> None:
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"), as_config_error(host.address):
        raise BucketError("connection refused")


def test_hasty_ends_keep_the_address(host: BucketOutput) -> None:
    hasty = replace(host)
    hasty.objects = replace(host.objects, patience=objects.COMMAND_PATIENCE)
    hasty.hasten()
    assert hasty.objects.patience == 0.0
    assert hasty.address == host.address
