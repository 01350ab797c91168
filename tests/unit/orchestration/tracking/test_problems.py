"""The reason of a store's error in one line, its kind, and what helps."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from orchestration.tracking.problems import (
    StoreUnavailable,
    TrackingError,
    error_reason,
    is_transient,
    to_tracking_error,
)

AUTOFLUSH = (
    "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block if this flush is "
    "occurring prematurely)\n(sqlite3.OperationalError) attempt to write a readonly database\n[SQL: INSERT INTO runs]"
)
REFUSED = (
    "API request to http://h:1/api failed with exception HTTPConnectionPool(host='h', port=1): Max retries exceeded "
    "with url: /api (Caused by NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection "
    "refused'))"
)
UNKNOWN = (
    "API request to http://h:1/api failed (Caused by NameResolutionError(\"host='h': Failed to resolve 'h' "
    '([Errno -2] Name or service not known)"))'
)
BROKEN = (
    "API request to http://h:1/api failed with exception HTTPConnectionPool(host='h', port=1): Max retries exceeded "
    "with url: /api (Caused by ProtocolError('Connection aborted.', RemoteDisconnected('Remote end closed connection "
    "without response')))"
)
RESET = (
    "API request to http://h:1/api failed with exception HTTPConnectionPool(host='h', port=1): Max retries exceeded "
    "with url: /api (Caused by ProtocolError('Connection aborted.', ConnectionResetError(104, 'Connection reset by "
    "peer')))"
)
NO_USER = "API request to endpoint /api failed with error code 401 != 200. Response body: 'You are not authenticated.'"
NO_RIGHT = "API request to endpoint /api/2.0/x failed with error code 403 != 200. Response body: 'Permission denied'"
PAGE = "API request to endpoint /api failed with error code 403 != 200. Response body: '<html>\nlog in</html>'"
SCHEMA = "Detected out-of-date database schema (found version 0c77, but expected dc11). Take a backup of your database"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (AUTOFLUSH, "attempt to write a readonly database"),
        ("TEMPORARILY_UNAVAILABLE: (sqlite3.OperationalError) database is locked", "database is locked"),
        (REFUSED, "[Errno 111] Connection refused"),
        (UNKNOWN, "Failed to resolve 'h' ([Errno -2] Name or service not known)"),
        (BROKEN, "Remote end closed connection without response"),
        (RESET, "Connection reset by peer"),
        (
            PAGE,
            "API request to endpoint /api failed with error code 403 != 200 (the answer is a web page, not MLflow's)",
        ),
        ("", "MlflowException"),
        ("x" * 1000, "x" * 300 + " ..."),
    ],
)
def test_the_reason_is_the_line_with_the_cause(text: str, shown: str) -> None:
    assert error_reason(MlflowException(text)) == shown


def test_a_store_of_another_mlflow_is_named_with_the_command_that_helps() -> None:
    problem = to_tracking_error(MlflowException(SCHEMA), "postgresql://bob:secret@host/db")
    assert isinstance(problem, StoreUnavailable)
    assert "made by another MLflow version (schema 0c77, this one has dc11)" in str(problem)
    assert "`mlflow db upgrade postgresql://host/db`" in str(problem)
    assert "reached" not in str(problem)


@pytest.mark.parametrize(
    ("text", "message", "advice"),
    [
        (AUTOFLUSH, "the store refuses: attempt to write", "make its file and folder writable"),
        (REFUSED, "the store cannot be reached: [Errno 111]", "start the server, or give another tracking.uri"),
        ("too many 503 error responses", "the store refuses: too many", "look at the server's own log"),
        ("(sqlite3.OperationalError) database or disk is full", "the store refuses", "make space on its disk"),
    ],
)
def test_a_problem_has_its_kind_and_what_helps(text: str, message: str, advice: str) -> None:
    problem = to_tracking_error(MlflowException(text), "http://h:1")
    assert str(problem).startswith(f"tracking.uri=http://h:1: {message}")
    assert problem.advice == advice


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (NO_USER, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (NO_RIGHT, "give a tracking.experiment of your own"),
    ],
)
def test_a_server_that_lets_no_one_in_is_answered_with_what_it_needs(text: str, advice: str) -> None:
    problem = to_tracking_error(MlflowException(text), "http://bob:secret@h:1")
    assert problem.advice.startswith(advice)
    assert str(problem).endswith(f"; {problem.advice}") and "secret" not in str(problem)


def test_an_error_of_a_servers_database_may_pass() -> None:
    text = "BAD_REQUEST: (psycopg2.InterfaceError) connection closed (Background: https://sqlalche.me/e/20/rvf5)"
    assert is_transient(MlflowException(text, BAD_REQUEST))
    assert not is_transient(MlflowException("BAD_REQUEST: no such tag", BAD_REQUEST))


def test_an_error_that_a_retry_would_not_change_is_permanent() -> None:
    problem = to_tracking_error(ImportError("No module named 'psycopg'"), "postgresql://host/db")
    assert type(problem) is TrackingError
