"""Addresses of tracking stores: one parser, SQLAlchemy's; what it refuses, and what is never shown."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from analysis.reader import client
from fcos.errors import ConfigError
from fcos.storage.store_conventions import default_uri
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.tracking.addresses import absolute_uri, sqlite_file, without_secrets


def test_a_relative_address_means_one_file_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lab = compose(check_overrides(["tracking.uri=sqlite:///new.db"]))
    assert lab.tracking.uri == f"sqlite:///{tmp_path / 'new.db'}"
    assert not list(tmp_path.iterdir())


def test_settings_of_an_address_stay_and_are_no_part_of_the_file() -> None:
    uri = "sqlite:////folder/t.db?timeout=60"
    assert absolute_uri(uri) == uri
    assert sqlite_file(uri) == client.parse_sqlite_path(uri) == Path("/folder/t.db")


@pytest.mark.parametrize("name", ["100% done", "a?b", "a#b", "a b", "%41", "a+b@c:d", "jürgen"])
def test_a_path_is_the_same_for_the_default_store_its_reader_and_sqlalchemy(name: str, tmp_path: Path) -> None:
    output = tmp_path / name / "outputs"
    output.mkdir(parents=True)
    uri = default_uri(output)
    assert sqlite_file(uri) == client.parse_sqlite_path(uri) == output / "mlflow.db"
    assert make_url(uri).database == str(output / "mlflow.db")


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("sqlite://new.db", "is no address of an SQLite file; give sqlite:///relative.db or"),
        ("sqlite:new.db", "is no address of an SQLite file"),
        ("sqlite://", "a store in memory keeps nothing beyond the command"),
        ("sqlite:///:memory:", "a store in memory keeps nothing"),
        ("sqlite:////t.db?timeout=long", "could not convert string to float: 'long'"),
        ("sqlite:////t.db?timeot=60", "'timeot' are not accepted"),
        ("sqlite:///file:t.db?uri=true", "SQLite's own file: names are not taken"),
        ("sqlite+aiosqlite:////t.db", "through Python's own driver"),
    ],
)
def test_an_address_that_names_no_file_is_refused_with_the_rule(uri: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(check_overrides([f'tracking.uri="{uri}"']))
    assert str(caught.value).startswith(f"tracking.uri={uri}: ")
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://bob:hunter%402@host/db",
        "http://bob:hunter%402@host:5000",
        "postgresql://host/db?user=bob&password=hunter%402",
    ],
)
def test_no_password_is_left_in_a_text(uri: str) -> None:
    text = without_secrets(f"cannot open {uri}: bob:hunter@2 was refused, hunter%402", uri)
    assert "hunter" not in text
    assert text.startswith("cannot open ")
