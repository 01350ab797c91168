"""Addresses of tracking stores: the SQLite file behind one, and what of an address may be shown."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fcos.errors import ConfigError
from orchestration.store_conventions import is_sqlite, public_uri

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

FORMS = "give sqlite:///relative.db or sqlite:////absolute/path.db"
# Settings of an address that hold a secret in full.
SECRET_SETTING = re.compile(r"[?&](?:password|passwd|token|secret)=([^&]+)", re.IGNORECASE)


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the file of an SQLite address, None for another store.

    Raises ConfigError for an address that names no file.
    """
    return Path(str(_parse_sqlite(uri).database)).expanduser().absolute() if is_sqlite(uri) else None


def absolute_uri(uri: str) -> str:
    """An address that means the same from every folder; raises ConfigError for an SQLite address without a file."""
    file = sqlite_file(uri)
    if file is None:
        return uri
    return _parse_sqlite(uri).set(drivername="sqlite", database=str(file)).render_as_string()


def _parse_sqlite(uri: str) -> "URL":
    """An SQLite address that SQLAlchemy takes in full and that names a file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, mark, rest = uri.partition(":")
    try:
        # SQLAlchemy only warns of settings that it leaves out.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            url = make_url(f"{scheme.lower()}{mark}{rest}")
            url.get_dialect()().create_connect_args(url)
    except ArgumentError:
        raise ConfigError(f"tracking.uri={uri}: is no address of an SQLite file; {FORMS}") from None
    except (ValueError, Warning) as error:
        raise ConfigError(f"tracking.uri={uri}: {_first_sentence(error)}") from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"tracking.uri={uri}: MLflow writes SQLite files through Python's own driver; {FORMS}")
    if url.database is None or url.database in ("", ":memory:"):
        raise ConfigError(f"tracking.uri={uri}: a store in memory keeps nothing beyond the command; {FORMS}")
    if url.database.startswith("file:") or "uri" in url.query:
        raise ConfigError(f"tracking.uri={uri}: SQLite's own file: names are not taken; {FORMS}")
    return url


def _first_sentence(error: Exception) -> str:
    return str(error).partition(";")[0].partition(" (Background")[0]


def without_secrets(text: str, uri: str) -> str:
    """A text with the store's address as it may be shown, and without the passwords in it."""
    text = text.replace(uri, public_uri(uri))
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return text


def _secrets(uri: str) -> list[str]:
    """The user part of an address and the passwords in it, as they are written and as they are meant, longest first."""
    if is_sqlite(uri):
        return []
    rest = uri.partition("://")[2]
    shown = public_uri(uri).partition("://")[2]
    user = rest.partition("?")[0].removesuffix(shown).removesuffix("@")
    found = [user if ":" in user else "", user.partition(":")[2], *SECRET_SETTING.findall(uri)]
    return sorted({text for each in found for text in (each, unquote(each)) if text}, key=len, reverse=True)
