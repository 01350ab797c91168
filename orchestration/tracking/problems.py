"""Errors of a tracking store: permanent or transient, their cause in one line, and advice."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fcos.errors import ConfigError
from fcos.storage.store_conventions import public_uri
from orchestration.tracking.addresses import without_secrets

# MLflow's error codes that a retry would not change.
PERMANENT = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
# In the text of an error of SQLAlchemy: a server answers BAD_REQUEST to most of them, also where its database lost a
# connection or two calls met.
DATABASE_ERROR = "https://sqlalche.me/"
MAX_REASON_CHARS = 300
# Pattern of a server's refusal -> advice, which is part of the message.
REFUSED = {
    r"error code 401|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED": "set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to those of a user of the server",
    r"error code 403|PERMISSION_DENIED": "give a tracking.experiment of your own, or let the server's administrator "
    "permit that user (MLFLOW_TRACKING_USERNAME) to edit this one",
}
# Pattern of the cause -> advice.
ADVICE = {
    r"read-?only|[Pp]ermission|unable to open": "make its file and folder writable",
    r"full|[Nn]o space": "make space on its disk",
    r"locked|busy": "end what holds it",
    r"error responses": "look at the server's own log",
    r"refused|resolve|timed out|unreachable|[Cc]onnection": "start the server, or give another tracking.uri",
}


class TrackingError(ConfigError):
    """The tracking store cannot be used; the message names its address and the reason, `advice` a way out."""

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        matches = (text for pattern, text in ADVICE.items() if re.search(pattern, message.rpartition(": ")[2]))
        self.advice = advice or next(matches, "give another tracking.uri")


class StoreUnavailable(TrackingError):
    """The tracking store accepts nothing now, but may later."""


def is_transient(error: Exception) -> bool:
    """Return whether a retry after this error of a store may succeed."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT or DATABASE_ERROR in str(error)
    # A connection that broke, a disk that is full; SQLAlchemy's own errors come through MLflow unwrapped.
    transient = (OSError, sqlite3.OperationalError, StoreUnavailable)
    return isinstance(error, transient) or type(error).__module__.startswith("sqlalchemy")


@contextmanager
def store_errors(uri: str | Callable[[], str]) -> Iterator[None]:
    """Convert errors of a store to StoreUnavailable or TrackingError (`to_tracking_error`); ours pass as they are.

    uri: or what writes it, called for an error alone.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise to_tracking_error(error, uri if isinstance(uri, str) else uri()) from None


def to_tracking_error(error: Exception, uri: str) -> TrackingError:
    """Convert an error of a store to StoreUnavailable or TrackingError, with its address and without passwords."""
    if isinstance(error, TrackingError):
        return error
    named = f"tracking.uri={public_uri(uri)}"
    if schema := re.search(r"found version (\w+), but expected (\w+)|Can't locate revision .*'(\w+)'", str(error)):
        stored, expected, unknown = schema.groups()
        versions = f"schema {stored or unknown}" + (f", this one has {expected}" if expected else "")
        advice = f"copy it and run `mlflow db upgrade {public_uri(uri)}`, or use the MLflow that made it"
        return StoreUnavailable(f"{named}: the store was made by another MLflow version ({versions}); {advice}", advice)
    what = "the store cannot be reached" if _is_connection_error(error) else "the store refuses"
    kind = StoreUnavailable if is_transient(error) else TrackingError
    message = f"{named}: {what}: {without_secrets(error_reason(error), uri)}"
    way_out = next((text for pattern, text in REFUSED.items() if re.search(pattern, str(error))), None)
    return kind(message if way_out is None else f"{message}; {way_out}", way_out)


def _is_connection_error(error: Exception) -> bool:
    """Return whether no connection was made; a server that responds with errors is reachable."""
    if "error responses" in str(error):
        return False
    return isinstance(error, OSError) or re.search(r"Caused by|[Cc]onnect|timed out", str(error)) is not None


def error_reason(error: BaseException) -> str:
    """Return the line of an error with its cause, such as `attempt to write a readonly database`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # SQLAlchemy puts the driver's message after the name of its class, sometimes on a later line.
    for line in lines:
        if driver := re.search(r"\(\w+(?:\.\w+)+\) (.+)", line):
            return _cut(driver.group(1))
    if not lines:
        return type(error).__name__
    # MLflow's message about its retries ends with the cause.
    if caused := re.search(r"Caused by \w+\((.*)\)", lines[0]):
        text = caused.group(1).rsplit(": ", 1)[-1].strip("\"')")
        # Of a connection that was there and broke, the cause is one level further in.
        text = re.sub(r"^Connection aborted\.', \w+\((?:\d+, )?'", "", text)
        return _cut(text + ")" * (text.count("(") - text.count(")")))
    answered, body, page = lines[0].partition("Response body:")
    if body and "<" in page:
        return _cut(f"{answered.rstrip(' .')} (the answer is a web page, not MLflow's)")
    return _cut(lines[0])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]} ..."
