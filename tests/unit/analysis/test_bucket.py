"""A sweep that is named by its bucket's address: its name, its store, and where its report goes."""

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from analysis import bucket, report
from analysis.bucket import take_address
from analysis.reader.client import StoreError
from fcos.storage.bucket.address import Address, mirror_of
from fcos.storage.bucket.objects import Objects
from fcos.storage.store_conventions import default_file, default_uri


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local folder of s3://lab/outputs, with a tracking store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(bucket, "open_objects", lambda address: Objects(address, MemoryFileSystem(), 0.0))
    found = mirror_of(Address.parse("s3://lab/outputs"))
    found.mkdir(parents=True)
    default_file(found).touch()
    return found


def test_a_report_of_an_address_goes_into_its_folder(folder: Path) -> None:
    options = report.parse_arguments(["s3://lab/outputs/mine"])
    target = take_address(options)
    assert target is not None
    assert (options.sweep, options.tracking_uri) == ("mine", default_uri(folder))
    assert options.output == folder / "mine" / "report"
    options.output.mkdir(parents=True)
    (options.output / "report.html").write_text("<html>")
    target.upload()
    assert target.objects.read("report.html") == b"<html>"
    assert str(target.objects.address) == "s3://lab/outputs/mine/report"


def test_a_store_and_a_folder_that_are_given_stand(folder: Path, tmp_path: Path) -> None:
    words = ["s3://lab/outputs/mine", "--tracking-uri", "http://127.0.0.1:1", "--output", str(tmp_path / "out")]
    options = report.parse_arguments(words)
    assert take_address(options) is None
    assert (options.tracking_uri, options.output) == ("http://127.0.0.1:1", tmp_path / "out")


def test_a_name_is_left_as_it_is(folder: Path) -> None:
    options = report.parse_arguments(["mine"])
    assert take_address(options) is None
    assert options.sweep == "mine"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://lab/elsewhere/mine", "no tracking store of its sweeps is on this machine"),
        ("s3://name:secret@lab/outputs/mine", "neither credentials"),
    ],
)
def test_an_address_without_a_store_or_with_credentials_is_refused(folder: Path, address: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        take_address(report.parse_arguments([address]))
    assert "secret" not in str(caught.value)
