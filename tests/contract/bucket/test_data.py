"""Data in a bucket of a real S3 server: fetched once, by whatever reads data, and refused in one clear error."""

import logging
import urllib.parse
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fcos.__main__ import main
from fcos.config.parse import parse
from fcos.config.run import Config, DataConfig, SplitConfig
from fcos.data import bucket_source
from fcos.data.prepare import prepare
from fcos.errors import DataError, ReadError
from fcos.runtime import LocalRuntime
from fcos.storage.bucket.address import Address
from fcos.storage.bucket.objects import open_objects
from fcos.storage.bucket.upload import RunUpload
from fcos.storage.run_folder import RunSummary
from fcos.training_run import run as train
from tests.helpers.data.shapes import NAMES, upload_shapes, write_shapes
from tests.helpers.servers.faulty_proxy import FaultyProxy
from tests.helpers.servers.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server


@dataclass(frozen=True)
class Stored:
    """The data set in a folder, and in the bucket."""

    folder: Path
    key: str

    @property
    def root(self) -> str:
        return f"s3://{BUCKET}/{self.key}"


@pytest.fixture(scope="module")
def stored(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Which no test changes."""
    folder, key = write_shapes(tmp_path_factory.mktemp("shapes") / "data"), f"{uuid.uuid4().hex}/shapes"
    upload_shapes(server, folder, key)
    return Stored(folder, key)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fcos-lab"


def config_of(root: str | Path) -> DataConfig:
    splits = {name: SplitConfig(annotations=f"{name}.json", images=name) for name in ("train", "val")}
    return DataConfig(name="coco", root=str(root), train=splits["train"], val=splits["val"])


def fetched(proxy: FaultyProxy, key: str) -> Counter[str]:
    """How often each object of the data set was fetched."""
    before = f"{BUCKET}/{key}/"
    seen = [name for method, name in proxy.faults.seen if method == "GET" and name.startswith(before)]
    return Counter(name.removeprefix(before) for name in seen)


def test_the_data_are_those_of_the_folder_and_each_object_is_fetched_once(
    stored: Stored, proxy: FaultyProxy, cache: Path
) -> None:
    first = prepare(config_of(stored.root))
    assert first.digest == prepare(config_of(stored.folder)).digest
    assert fetched(proxy, stored.key) == Counter(NAMES)
    assert prepare(config_of(stored.root)).digest == first.digest
    assert fetched(proxy, stored.key) == Counter(NAMES), "nothing is fetched again"


def test_an_object_that_changes_is_fetched_again_alone(server: S3Server, proxy: FaultyProxy, cache: Path) -> None:
    key = f"{uuid.uuid4().hex}/shapes"
    folder = write_shapes(cache.parent / "data")
    upload_shapes(server, folder, key)
    before = prepare(config_of(f"s3://{BUCKET}/{key}")).digest
    changed = (folder / "val/000001.png").read_bytes()
    server.request("PUT", f"{BUCKET}/{key}/val/000000.png", changed)
    server.request("PUT", f"{BUCKET}/{key}/val.json", (folder / "val.json").read_bytes() + b" ")
    assert prepare(config_of(f"s3://{BUCKET}/{key}")).digest != before
    again = fetched(proxy, key) - Counter(NAMES)
    assert again == Counter(["val.json", "val/000000.png"])


def test_objects_that_stand_for_folders_are_no_files(server: S3Server, proxy: FaultyProxy, cache: Path) -> None:
    key, folder = f"{uuid.uuid4().hex}/shapes", write_shapes(cache.parent / "data")
    upload_shapes(server, folder, key)
    for name in ("", "train/", "val/"):
        server.request("PUT", f"{BUCKET}/{key}/{name}", b"")
    assert prepare(config_of(f"s3://{BUCKET}/{key}")).digest == prepare(config_of(folder)).digest


def test_names_with_spaces_and_other_scripts_come_back(server: S3Server, proxy: FaultyProxy, cache: Path) -> None:
    key, folder = f"{uuid.uuid4().hex}/my shapes", write_shapes(cache.parent / "data")
    (folder / "train/000003.png").rename(folder / "train/翘 头+1%.png")
    text = (folder / "train.json").read_text().replace("000003.png", "翘 头+1%.png")
    (folder / "train.json").write_text(text)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        path = urllib.parse.quote(f"{BUCKET}/{key}/{file.relative_to(folder)}")
        server.request("PUT", path, file.read_bytes())
    assert prepare(config_of(f"s3://{BUCKET}/{key}")).digest == prepare(config_of(folder)).digest


def test_one_call_of_five_may_be_refused_for_now(stored: Stored, proxy: FaultyProxy, cache: Path) -> None:
    proxy.faults.unavailable_every = 5
    assert prepare(config_of(stored.root)).digest == prepare(config_of(stored.folder)).digest


def test_a_bucket_that_is_not_there_is_one_clear_error(proxy: FaultyProxy, cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root=s3://absent/data: .*there is no such bucket; create it"):
        prepare(config_of("s3://absent/data"))


def test_a_folder_with_nothing_in_it_is_one_clear_error(proxy: FaultyProxy, cache: Path) -> None:
    with pytest.raises(DataError, match=r"no such object, and no annotation file below s3://lab/none"):
        prepare(config_of(f"s3://{BUCKET}/none"))


def test_no_credentials_are_one_clear_error(
    stored: Stored, proxy: FaultyProxy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(DataError, match=r"the bucket refuses: .*redentials.*AWS_ACCESS_KEY_ID"):
        prepare(config_of(stored.root))


def test_expired_credentials_are_one_clear_error_without_them(
    stored: Stored, proxy: FaultyProxy, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.faults.expired_from = 0
    with caplog.at_level(logging.DEBUG, "fcos"), pytest.raises(DataError, match=r"the bucket refuses: .*ExpiredToken"):
        prepare(config_of(stored.root))
    assert ACCESS_KEY not in caplog.text and SECRET_KEY not in caplog.text


def test_a_server_that_is_not_there_is_no_mistake_in_the_data(
    stored: Stored, proxy: FaultyProxy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket_source, "open_objects", lambda address: open_objects(address, patience=0.0))
    with pytest.raises(ReadError, match=r"the bucket does not answer: .*AWS_ENDPOINT_URL"):
        prepare(config_of(stored.root))


@pytest.fixture(scope="module")
def trained(module_tiny_values, stored: Stored, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """A run on the folder, which no test changes, and its summary."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    values = {**module_tiny_values, "data": {**module_tiny_values["data"], "name": "coco", "synthetic": None, **splits}}
    values["data"]["root"] = str(stored.folder)
    return folder, train(parse(Config, values), LocalRuntime(folder, torch.device("cpu")))


def test_evaluate_takes_an_address_of_data(
    trained: tuple[Path, RunSummary], stored: Stored, proxy: FaultyProxy, cache: Path, tmp_path: Path, capsys
) -> None:
    folder, summary = trained
    words = ["--set", f"data.root={stored.root}", "--set", f"data.cache_dir={tmp_path / 'own'}", "--batch-size", "8"]
    assert main(["evaluate", str(folder), *words]) == 0
    assert f"val/AP                       {summary.metrics['']['val/AP']:.4f}" in capsys.readouterr().out
    assert set(fetched(proxy, stored.key)) == {name for name in NAMES if name.startswith("val")}


def test_inspect_takes_an_address_as_a_folder_as_words_and_of_a_run(
    trained: tuple[Path, RunSummary], stored: Stored, proxy: FaultyProxy, cache: Path, tmp_path: Path, capsys
) -> None:
    page = ["--output", str(tmp_path / "page.html")]
    assert main(["inspect", stored.root, *page]) == 0
    as_folder = capsys.readouterr()
    assert f"fetching from {stored.root} (32 objects)" in as_folder.err
    assert f"data.root={stored.root}" in as_folder.out
    splits = [f"data.{name}.{key}={name}{end}" for name in ("train", "val") for key, end in
              (("annotations", ".json"), ("images", ""))]  # fmt: skip
    assert main(["inspect", "data=coco", f"data.root={stored.root}", *splits, *page]) == 0
    sizes = [line for line in as_folder.out.splitlines() if line.startswith(("train: ", "val: "))]
    assert len(sizes) == 2 and "24 images" in sizes[0]
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(("train: ", "val: "))] == sizes
    folder, key = trained[0], uuid.uuid4().hex
    RunUpload(folder, open_objects(Address.parse(f"s3://{BUCKET}/{key}"))).sync()
    assert main(["inspect", f"s3://{BUCKET}/{key}", *page]) == 0
    of_run = capsys.readouterr().out
    assert f"the data of this run, {stored.folder}" in of_run and all(line in of_run for line in sizes)
    assert main(["inspect", f"s3://{BUCKET}/nothing"]) == 2
    assert f"data.root=s3://{BUCKET}/nothing: s3://{BUCKET}/nothing holds nothing" in capsys.readouterr().err
