"""What the writer and the reader of a tracking store share: names of tags, forms of addresses, silent libraries.

The report may import this module and no other of its package: it depends on the standard library and MLflow alone.
"""

import logging
import re
import warnings
from pathlib import Path

# Tag of a run that another took over from, with the other's id: its training was done anew, or is another now.
SUPERSEDED = "fcos.superseded_by"
# Tag of a run with artifacts that the store did not accept: how many.
ARTIFACTS_MISSING = "fcos.artifacts_missing"
# Tags of a sweep's run that hold experiment.json: the number of parts, and below it part by part (`.0`, `.1`, ...).
EXPERIMENT_JSON = "fcos.experiment_json"

LIBRARIES = ("mlflow", "alembic", "sqlalchemy", "urllib3", "huey")


def public_uri(uri: str) -> str:
    """Return the address of a store without user name, password and settings: what may be shown."""
    scheme, mark, rest = uri.partition("://")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    if "@" in path and "@" not in host and not re.fullmatch(r"[^:]*(:\d*)?|\[.*\](:\d*)?", host):
        # What looks like the host is a user and half a password, which holds a slash.
        return f"{scheme}{mark}{rest.rpartition('@')[2]}"
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri


def is_sqlite(uri: str) -> bool:
    """Return whether an address names SQLite, in whatever form."""
    return re.match(r"sqlite[+:]", uri, re.IGNORECASE) is not None


def sqlite_uri(file: Path) -> str:
    """Return the address of an SQLite file, whatever characters its path has."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(file)).render_as_string()


def default_uri(output: Path) -> str:
    """Return the address of the SQLite store in an output folder."""
    return sqlite_uri(output / "mlflow.db")


def client_uri(uri: str) -> str:
    """Return an address in the form that MLflow is given.

    With the driver's name: for a plain `sqlite:///` MLflow makes the folder of the file from the address as it is
    written, `%25` and all.
    """
    return f"sqlite+pysqlite:{uri.partition(':')[2]}" if is_sqlite(uri) else uri


def quiet_libraries() -> None:
    """Keep what MLflow's libraries log off the console; call it after MLflow is imported, which sets them up."""
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        warnings.filterwarnings("ignore", module=rf"{name}\b")
