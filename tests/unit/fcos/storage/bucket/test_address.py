"""Addresses of buckets: what is refused before anything is called, and the local folder of each."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.storage.bucket.address import ADDRESS_FILE, Address, is_address, make_mirror, mirror_of
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides


def test_an_address_is_split_and_joined() -> None:
    address = Address.parse("s3://lab/outputs/mine/")
    assert (address.scheme, address.path, address.bucket) == ("s3", "lab/outputs/mine", "lab")
    assert str(address.below("trials", "ab")) == "s3://lab/outputs/mine/trials/ab"
    assert str(address.below("trials", "ab").above(2)) == str(address)
    assert str(Address.parse("s3://lab/mine@home")) == "s3://lab/mine@home"
    assert is_address("gs://lab") and not is_address("outputs/s3") and not is_address("/tmp/a:b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://key:secret@lab/outputs", "neither credentials"),
        ("s3://key:se/secret@lab/outputs", "neither credentials"),
        ("s3://lab/outputs?token=secret", "neither credentials"),
        ("s3://", "names no bucket"),
        ("s3:///outputs", "names no bucket"),
        ("s3://lab/../other", "a step up"),
        ("s3://lab//outputs", "an empty part"),
        ("s3://lab/a\nb", "no part of a name"),
        ("file:///tmp/outputs", "without file://"),
        ("S3 ://lab/outputs", "no scheme"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Address.parse(text)
    assert "secret" not in str(caught.value)


def test_each_address_has_a_local_folder_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = Address.parse("s3://lab/outputs"), Address.parse("s3://lab/other")
    assert mirror_of(one) == mirror_of(Address.parse("s3://lab/outputs/"))
    assert mirror_of(one) != mirror_of(other)
    assert (make_mirror(one) / ADDRESS_FILE).read_text() == "s3://lab/outputs\n"


def test_a_local_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        make_mirror(Address.parse("s3://lab/outputs"))


def test_the_output_of_a_config_may_be_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lab = compose(check_overrides(["output=s3://lab/outputs"]))
    assert lab.is_in_bucket
    assert lab.folder == mirror_of(Address.parse("s3://lab/outputs"))
    assert not compose(check_overrides([f"output={tmp_path}"])).is_in_bucket


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["output=s3://key:secret@lab/outputs"], r"output=s3://\*\*\*@lab/outputs: .*environment"),
        (["output=s3://lab/outputs?x=secret"], "output=s3://lab/outputs: .*environment"),
    ],
)
def test_a_config_with_credentials_in_its_output_is_refused(words: list[str], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        compose(check_overrides(words))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("more", ["cluster.workers=2", "cluster.ray_train=always"])
def test_workers_of_a_joined_cluster_may_have_a_bucket(more: str) -> None:
    assert compose(check_overrides(["output=s3://lab/outputs", "cluster.address=auto", more])).is_in_bucket
