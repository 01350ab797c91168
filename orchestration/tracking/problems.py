"""What goes wrong with a tracking store: its kinds, its reason in one line, and what helps."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from fcos.errors import ConfigError
from orchestration.store_conventions import public_uri
from orchestration.tracking.addresses import without_secrets

# Answers of a store that would be the same if it were asked again.
PERMANENT = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
LONGEST_REASON = 300
# What a reason is known by -> what helps.
HELP = {
    r"read-?only|[Pp]ermission|unable to open": "make its file and folder writable",
    r"full|[Nn]o space": "make space on its disk",
    r"locked|busy": "end what holds it",
    r"error responses": "look at the server's own log",
    r"refused|resolve|timed out|unreachable|[Cc]onnection": "start the server, or give another tracking.uri",
}


class TrackingError(ConfigError):
    """The tracking store cannot be used; the message names its address and the reason, `advice` what helps."""

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        found = (text for sign, text in HELP.items() if re.search(sign, message.rpartition(": ")[2]))
        self.advice = advice or next(found, "give another tracking.uri")


class StoreAway(TrackingError):
    """The tracking store takes nothing now, and may later."""


def is_passing(error: Exception) -> bool:
    """Whether a store that raised this may answer otherwise when it is asked again."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT
    # A connection that broke, a disk that is full; SQLAlchemy's own errors come through MLflow unwrapped.
    passing = (OSError, sqlite3.OperationalError, StoreAway)
    return isinstance(error, passing) or type(error).__module__.startswith("sqlalchemy")


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """Turn what a store raises into StoreAway or TrackingError, with its address and no password."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        raise problem_of(error, uri) from None


def problem_of(error: Exception, uri: str) -> TrackingError:
    """What a store raised, as StoreAway or TrackingError with its address and no password."""
    if isinstance(error, TrackingError):
        return error
    named = f"tracking.uri={public_uri(uri)}"
    if schema := re.search(r"found version (\w+), but expected (\w+)|Can't locate revision .*'(\w+)'", str(error)):
        found, ours, unknown = schema.groups()
        versions = f"schema {found or unknown}" + (f", this one has {ours}" if ours else "")
        advice = f"copy it and run `mlflow db upgrade {public_uri(uri)}`, or use the MLflow that made it"
        return StoreAway(f"{named}: the store was made by another MLflow version ({versions}); {advice}", advice)
    words = "the store cannot be reached" if _is_connection(error) else "the store refuses"
    kind = StoreAway if is_passing(error) else TrackingError
    return kind(f"{named}: {words}: {without_secrets(reason(error), uri)}")


def _is_connection(error: Exception) -> bool:
    """Whether nothing answered; a server that answers with errors is there."""
    if "error responses" in str(error):
        return False
    return isinstance(error, OSError) or re.search(r"Caused by|[Cc]onnect|timed out", str(error)) is not None


def reason(error: BaseException) -> str:
    """The line of an error that says why, such as `attempt to write a readonly database`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # SQLAlchemy writes the driver's words behind the name of its class, sometimes below a remark of its own.
    for line in lines:
        if driver := re.search(r"\(\w+(?:\.\w+)+\) (.+)", line):
            return _cut(driver.group(1))
    if not lines:
        return type(error).__name__
    # MLflow's tale of retries ends with what happened.
    if caused := re.search(r"Caused by \w+\((.*)\)", lines[0]):
        text = caused.group(1).rsplit(": ", 1)[-1].strip("\"')")
        return _cut(text + ")" * (text.count("(") - text.count(")")))
    answered, body, page = lines[0].partition("Response body:")
    if body and "<" in page:
        return _cut(f"{answered.rstrip(' .')} (the answer is a web page, not MLflow's)")
    return _cut(lines[0])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."
