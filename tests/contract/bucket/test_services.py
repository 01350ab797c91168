"""The bucket's own code against each service that is tested, S3's and Google's: what both promise alike."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fcos.__main__ import main
from fcos.config.parse import parse
from fcos.config.run import Config, DataConfig, SplitConfig
from fcos.data.prepare import prepare
from fcos.errors import ConfigError, DataError
from fcos.runtime import LocalRuntime
from fcos.storage.bucket.address import Address
from fcos.storage.bucket.faults import BucketMissing, BucketRefused
from fcos.storage.bucket.fetch import fetch_newest, fetch_results, pull_run
from fcos.storage.bucket.manifest import OBJECTS, read_index
from fcos.storage.bucket.objects import Objects, open_objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS, SUMMARY, RunSummary
from fcos.training_run import run as train
from orchestration.bucket.generations import create, read_newest
from orchestration.bucket.output import open_output
from orchestration.cli.bucket_lock import LockTimes, lock_bucket
from orchestration.cli.lock import FolderInUse
from tests.contract.bucket.conftest import Service
from tests.helpers.bucket_runs import begin_run, finish_run, holder, write_checkpoint
from tests.helpers.data.shapes import NAMES, write_shapes


@pytest.fixture
def objects(service: Service) -> Objects:
    return service.objects()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_objects_are_written_read_listed_and_removed(objects: Objects, tmp_path: Path) -> None:
    assert objects.read_if_there("a") is None
    objects.write("a", b"one")
    objects.write("a", b"three")
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    objects.upload(tmp_path / "file", "deep/file")
    objects.download("deep/file", tmp_path / "back")
    assert (objects.read("a"), objects.size("deep/file"), objects.size("none")) == (b"three", 100_000, None)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    assert objects.list("deep") == ["deep/file"] and objects.folders() == ("deep",)
    objects.remove(["a", "deep/file", "none"])
    assert objects.list("deep") == [] and objects.read_if_there("a") is None


def test_a_large_file_goes_and_comes_back(objects: Objects, tmp_path: Path) -> None:
    content = bytes(range(256)) * 250_000
    (tmp_path / "file").write_bytes(content)
    objects.upload(tmp_path / "file", "large")
    objects.download("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_an_object_has_the_same_version_alone_and_listed_until_it_changes(objects: Objects) -> None:
    objects.write("deep/a", b"one")
    before = objects.version("deep/a")
    assert before is not None and before.size == 3 and before.version
    assert objects.versions() == {"deep/a": before}
    objects.write("deep/a", b"two")
    after = objects.version("deep/a")
    assert after is not None and after != before and objects.below("deep").versions() == {"a": after}
    assert objects.version("deep") is None and objects.version("none") is None


def test_the_server_creates_an_object_for_one_of_many(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: create(objects, 1, holder(token=str(number))), range(8)))
    assert sum(taken) == 1
    _, found = read_newest(objects)
    assert found is not None and found.token == str(taken.index(True))


def test_a_second_command_is_refused_while_the_first_has_the_lock(objects: Objects) -> None:
    times = LockTimes(heartbeat=3600.0)
    with lock_bucket(objects, "now", times=times) as generation:
        assert generation == 1
        with pytest.raises(FolderInUse), lock_bucket(objects, "now", times=times):
            pass
    with lock_bucket(objects, "now", times=times) as generation:
        assert generation == 2


def test_one_call_of_five_may_be_refused_for_now(service: Service, objects: Objects, tmp_path: Path) -> None:
    service.faults.unavailable_every = 5
    here = begin_run(tmp_path / "here", 4, 8)
    summary = finish_run(here, 8)
    RunUpload(here, objects).sync()
    there = tmp_path / "there"
    assert (*pull_run(objects, there).notes, *fetch_newest(objects, there)) == ()
    assert fetch_results(objects, there, summary) == []
    assert newest_step(there / CHECKPOINTS) == 8 and (there / SUMMARY).exists()


def test_a_cut_upload_leaves_the_checkpoint_before(service: Service, objects: Objects, tmp_path: Path) -> None:
    here = begin_run(tmp_path / "here", 4)
    RunUpload(here, objects).sync()
    write_checkpoint(here, 8)
    service.faults.expire_now()
    with pytest.raises(BucketRefused):
        RunUpload(here, objects).sync()
    service.faults.expired_from = None
    assert fetch_newest(objects, tmp_path / "there") == []
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 4
    RunUpload(here, objects).sync()
    assert read_index(objects)[0].own[0].step == 8


def test_an_object_that_is_deleted_is_named_and_the_one_before_taken(objects: Objects, tmp_path: Path) -> None:
    RunUpload(begin_run(tmp_path / "here", 4, 8), objects).sync()
    gone = f"{CHECKPOINTS}/step_00000008/model.safetensors"
    objects.remove([gone])
    (note,) = fetch_newest(objects, tmp_path / "there")
    assert f"{gone}: was removed from the bucket" in note
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 4


def test_without_its_index_a_run_is_found_by_listing(objects: Objects, tmp_path: Path) -> None:
    RunUpload(begin_run(tmp_path / "here", 4, 8), objects).sync()
    objects.remove([OBJECTS])
    (note,) = pull_run(objects, tmp_path / "there").notes
    assert "found by listing" in note
    assert fetch_newest(objects, tmp_path / "there") == []
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 8


def test_a_bucket_that_is_not_there_is_one_clear_error(service: Service, cache: Path) -> None:
    address = service.address("absent/outputs")
    with pytest.raises(ConfigError, match=rf"output={address}: .*no such bucket.*; create it"):
        open_output(address)


def test_a_bucket_that_is_empty_is_taken(objects: Objects, cache: Path) -> None:
    assert open_output(str(objects.address)).address == objects.address


def test_writing_into_a_bucket_that_is_not_there_is_the_same(service: Service) -> None:
    with pytest.raises(BucketMissing, match="no such bucket"):
        open_objects(Address.parse(service.address("absent/outputs"))).write("a", b"x")


def test_refused_credentials_are_one_clear_error(service: Service, cache: Path, objects: Objects) -> None:
    service.faults.expired_from = 0
    with pytest.raises(ConfigError, match=r"refused: .*AWS_ACCESS_KEY_ID"):
        open_output(str(objects.address))


def test_a_fresh_client_reads_what_another_wrote(objects: Objects) -> None:
    name = uuid.uuid4().hex
    objects.write(name, b"x")
    again = replace(open_objects(objects.address), patience=0.0)
    assert again.read(name) == b"x"
    objects.write(name, b"y")
    assert again.read(name) == b"y", "nothing is cached"


@pytest.fixture(scope="module")
def trained(module_tiny_values, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """A run, which no test changes, and its summary."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, train(parse(Config, module_tiny_values), LocalRuntime(folder, torch.device("cpu")))


def test_evaluate_takes_the_address_of_a_run_and_of_a_checkpoint(
    trained: tuple[Path, RunSummary], objects: Objects, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, summary = trained
    RunUpload(folder, objects).sync()
    for address in (objects.address, objects.address.below(summary.checkpoint or "")):
        assert main(["evaluate", str(address), "--batch-size", "8"]) == 0
        shown = capsys.readouterr().out
        assert f"val/AP                       {summary.metrics['']['val/AP']:.4f}" in shown
        assert "step 6" in shown


def test_data_are_fetched_once_with_the_digest_of_the_folder(
    service: Service, objects: Objects, cache: Path, tmp_path: Path
) -> None:
    folder = write_shapes(tmp_path / "shapes")
    objects.upload_folder(folder)
    splits = {name: SplitConfig(annotations=f"{name}.json", images=name) for name in ("train", "val")}
    config = DataConfig(name="coco", root=str(objects.address), train=splits["train"], val=splits["val"])
    assert prepare(config).digest == prepare(config.model_copy(update={"root": str(folder)})).digest
    calls = len(service.faults.seen)
    assert prepare(config).digest
    assert len(service.faults.seen) - calls < len(NAMES), "no object is fetched again"
    for path in ("absent/data", f"{objects.address.bucket}/none"):
        with pytest.raises(DataError, match=r"no such bucket|no annotation file below"):
            prepare(config.model_copy(update={"root": service.address(path)}))
