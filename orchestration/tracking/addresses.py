"""Addresses of tracking stores: parsing of SQLite addresses, and removal of secrets."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fcos.errors import ConfigError
from fcos.storage.store_conventions import is_sqlite, public_uri

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

URI_FORMS = "give sqlite:///relative.db or sqlite:////absolute/path.db"
# Query parameters of an address whose whole value is a secret.
SECRET_SETTING = re.compile(r"[?&](?:password|passwd|token|secret)=([^&]+)", re.IGNORECASE)


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of the file of an SQLite address; None for any other store.

    Raises ConfigError for an SQLite address without a file.
    """
    return Path(str(_parse_sqlite(uri).database)).expanduser().absolute() if is_sqlite(uri) else None


def absolute_uri(uri: str) -> str:
    """Return an address that does not depend on the current folder.

    Raises ConfigError for an SQLite address without a file.
    """
    file = sqlite_file(uri)
    if file is None:
        return uri
    return _parse_sqlite(uri).set(drivername="sqlite", database=str(file)).render_as_string()


def _parse_sqlite(uri: str) -> "URL":
    """Parse an SQLite address; raise ConfigError unless SQLAlchemy accepts all of it and it names a file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, mark, rest = uri.partition(":")
    try:
        # SQLAlchemy only warns about query parameters that it ignores.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            url = make_url(f"{scheme.lower()}{mark}{rest}")
            url.get_dialect()().create_connect_args(url)
    except ArgumentError:
        raise ConfigError(f"tracking.uri={uri}: is no address of an SQLite file; {URI_FORMS}") from None
    except (ValueError, Warning) as error:
        raise ConfigError(f"tracking.uri={uri}: {_first_sentence(error)}") from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"tracking.uri={uri}: MLflow writes SQLite files through Python's own driver; {URI_FORMS}")
    if url.database is None or url.database in ("", ":memory:"):
        raise ConfigError(f"tracking.uri={uri}: a store in memory keeps nothing beyond the command; {URI_FORMS}")
    if url.database.startswith("file:") or "uri" in url.query:
        raise ConfigError(f"tracking.uri={uri}: SQLite's own file: names are not taken; {URI_FORMS}")
    return url


def _first_sentence(error: Exception) -> str:
    return str(error).partition(";")[0].partition(" (Background")[0]


def without_secrets(text: str, uri: str) -> str:
    """Replace the store's address in a text by its public form, and mask its passwords."""
    text = text.replace(uri, public_uri(uri))
    for secret in _secrets(uri):
        text = text.replace(secret, "***")
    return text


def _secrets(uri: str) -> list[str]:
    """Return the credentials and passwords of an address, percent-encoded and decoded, longest first."""
    if is_sqlite(uri):
        return []
    rest = uri.partition("://")[2]
    shown = public_uri(uri).partition("://")[2]
    user = rest.partition("?")[0].removesuffix(shown).removesuffix("@")
    secrets = [user if ":" in user else "", user.partition(":")[2], *SECRET_SETTING.findall(uri)]
    return sorted({text for each in secrets for text in (each, unquote(each)) if text}, key=len, reverse=True)
