"""The bucket's own code against a real S3 server: objects, conditions, faults between them, and what is never shown."""

import logging
from pathlib import Path

import pytest

from fcos.__main__ import main
from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address
from fcos.storage.bucket.faults import BucketRefused, BucketUnavailable
from fcos.storage.bucket.fetch import fetch_newest, pull_run
from fcos.storage.bucket.manifest import read_index
from fcos.storage.bucket.objects import Objects, open_objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.checkpoint_folder import newest_step
from fcos.storage.run_folder import CHECKPOINTS
from orchestration.bucket.output import as_config_error, open_output
from orchestration.cli.bucket_lock import LockTimes, lock_bucket
from tests.helpers.bucket_runs import begin_run, write_checkpoint
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server


def key_of(objects: Objects, name: str) -> str:
    return objects.address.below(name).path.removeprefix(f"{BUCKET}/")


def test_a_creation_whose_answer_is_lost_is_this_commands_own(objects: Objects, proxy: FaultyProxy) -> None:
    proxy.faults.lost_answers = 1
    with lock_bucket(objects, "now", times=LockTimes(heartbeat=3600.0)) as generation:
        assert generation == 1
    assert proxy.faults.lost_answers == 0


def test_nothing_half_arrives_where_uploads_are_cut(
    objects: Objects, proxy: FaultyProxy, server: S3Server, tmp_path: Path
) -> None:
    here = begin_run(tmp_path / "here", 4)
    RunUpload(here, objects).sync()
    write_checkpoint(here, 8)
    proxy.faults.cuts, proxy.faults.cut_suffix = 10_000, "state.pt"
    with pytest.raises(BucketUnavailable):
        RunUpload(here, objects.patient(0.0)).sync()
    assert server.content(key_of(objects, f"{CHECKPOINTS}/step_00000008/state.pt")) is None
    assert fetch_newest(objects, tmp_path / "there") == []
    assert newest_step(tmp_path / "there" / CHECKPOINTS) == 4
    proxy.faults.cuts = 2
    RunUpload(here, objects).sync()
    assert proxy.faults.cuts == 0
    assert fetch_newest(objects, tmp_path / "later") == []
    assert newest_step(tmp_path / "later" / CHECKPOINTS) == 8


def test_credentials_that_expire_are_final_at_once(objects: Objects, proxy: FaultyProxy, tmp_path: Path) -> None:
    here = begin_run(tmp_path / "here", 4)
    RunUpload(here, objects).sync()
    write_checkpoint(here, 8)
    proxy.faults.expire_now()
    calls = proxy.faults.calls
    with pytest.raises(BucketRefused, match="ExpiredToken: The provided token has expired"):
        RunUpload(here, objects).sync()
    # None of them is tried again, by the library or by this project.
    assert proxy.faults.calls == calls + 1
    proxy.faults.expired_from = None
    RunUpload(here, objects).sync()
    assert read_index(objects)[0].own[0].step == 8


def test_listings_that_lag_hide_nothing(objects: Objects, proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.faults.lags = True
    RunUpload(begin_run(tmp_path / "here", 4, 8), objects).sync()
    there = tmp_path / "there"
    assert (*pull_run(objects, there).notes, *fetch_newest(objects, there)) == ()
    assert newest_step(there / CHECKPOINTS) == 8


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_refused_credentials_are_one_clear_error_without_them(
    proxy: FaultyProxy, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.faults.expired_from = 0
    with caplog.at_level(logging.DEBUG, "fcos"), pytest.raises(ConfigError, match=r"ExpiredToken.*AWS_") as caught:
        open_output(f"s3://{BUCKET}/outputs")
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in str(caught.value) + caplog.text


def test_no_credentials_at_all_are_one_clear_error(
    proxy: FaultyProxy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=r"refused: .*redentials.*AWS_ACCESS_KEY_ID"):
        open_output(f"s3://{BUCKET}/outputs")


def test_a_server_that_is_not_there_is_one_clear_error(
    proxy: FaultyProxy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    objects = open_objects(Address.parse(f"s3://{BUCKET}/outputs"), patience=0.0)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"), as_config_error(objects.address):
        objects.read("plan.json")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_credentials_in_the_address_of_the_service_are_refused_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://somebody:password@127.0.0.1:9")
    with pytest.raises(ConfigError, match=rf"{name}=http://\*\*\*@127.0.0.1:9: .*AWS_SECRET_ACCESS_KEY") as caught:
        open_output(f"s3://{BUCKET}/outputs")
    assert "password" not in str(caught.value) and "somebody" not in str(caught.value)


def test_an_address_without_a_checkpoint_is_one_clear_error(
    objects: Objects, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects.write("plan.json", b"{}")
    for address, words in (
        (str(objects.address), "holds no checkpoint; it is a sweep: name one of its trainings"),
        (f"{objects.address}/trials/none", "holds no checkpoint"),
        (f"{objects.address}/checkpoints/step_00000004", "no whole checkpoint"),
        (f"s3://x:y@{BUCKET}/run", "neither credentials"),
    ):
        assert main(["evaluate", address]) == 2
        error = capsys.readouterr().err
        assert words in error and "x:y" not in error
