"""Faults of buckets: which pass, which are final, and what their messages hold."""

import errno
import traceback
from typing import Any

import pytest

from fcos.errors import Transient
from fcos.storage.bucket.faults import (
    BucketError,
    BucketMissing,
    BucketRefused,
    BucketUnavailable,
    ObjectMissing,
    translate,
    with_retries,
)

WHERE = "s3://lab/outputs/plan.json"


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code, "Message": code}}


class NoCredentialsError(Exception):
    """As botocore has it."""


def caused(error: Exception, code: str) -> Exception:
    error.__cause__ = ClientError(code)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), ObjectMissing),
        (caused(FileNotFoundError("x"), "NoSuchKey"), ObjectMissing),
        (caused(FileNotFoundError("x"), "NoSuchBucket"), BucketMissing),
        (PermissionError("Forbidden"), BucketRefused),
        (caused(PermissionError("expired"), "ExpiredToken"), BucketRefused),
        (NoCredentialsError("Unable to locate credentials"), BucketRefused),
        (caused(OSError(16, "Please reduce your request rate."), "SlowDown"), BucketUnavailable),
        (OSError("Forbidden: https://storage.googleapis.com/storage/v1/b/lab/o\nno right"), BucketRefused),
        (OSError(5, "Forbidden: by the disk"), BucketUnavailable),
        (ConnectionResetError("cut"), BucketUnavailable),
        (TimeoutError(), BucketUnavailable),
        (ValueError("what a library raises that has not been seen yet"), BucketUnavailable),
    ],
)
def test_errors_of_libraries_are_those_of_ours(error: Exception, kind: type[BucketError]) -> None:
    found = translate(error, WHERE)
    assert type(found) is kind
    assert str(found).startswith(WHERE)
    assert isinstance(found, Transient) == (kind is BucketUnavailable)


def test_a_message_holds_the_code_and_no_credentials() -> None:
    refused = translate(caused(PermissionError("it is over"), "ExpiredToken"), WHERE)
    assert "ExpiredToken: it is over" in str(refused)
    away = translate(ConnectionError('cannot reach "http://user:password@host:1/lab"'), WHERE)
    assert "password" not in str(away) and "http://***@host:1/lab" in str(away)


def test_a_traceback_holds_no_credentials() -> None:
    call = Call(*[ConnectionError('cannot reach "http://user:password@host:1/lab"')] * 3)
    with pytest.raises(BucketUnavailable) as caught:
        retry(call, 0.0, Clock())
    assert "password" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_local_disk_that_is_full_is_no_fault_of_the_bucket(number: int) -> None:
    call = Call(OSError(number, "No space left on device"))
    with pytest.raises(OSError, match="No space left") as caught:
        retry(call, 60.0, Clock())
    assert caught.value.errno == number and call.count == 1


class Clock:
    """A clock that moves only while something sleeps."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


class Call:
    """Fails so many times and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def retry(call: Any, patience: float, clock: Clock) -> Any:
    return with_retries(call, WHERE, patience, clock=lambda: clock.now, sleep=clock.sleep)


def test_a_fault_that_passes_is_tried_again_with_pauses_that_grow() -> None:
    clock, call = Clock(), Call(*[ConnectionError("cut")] * 5)
    assert retry(call, 60.0, clock) == "done"
    assert call.count == 6
    assert all(later > earlier for earlier, later in zip(clock.pauses, clock.pauses[1:], strict=False))


def test_patience_ends() -> None:
    clock, call = Clock(), Call(*[ConnectionError("cut")] * 1000)
    with pytest.raises(BucketUnavailable, match="cut"):
        retry(call, 60.0, clock)
    assert 30 < clock.now <= 60
    assert call.count < 12


def test_even_without_patience_there_are_three_attempts() -> None:
    clock, call = Clock(), Call(*[ConnectionError("cut")] * 2)
    assert retry(call, 0.0, clock) == "done"
    with pytest.raises(BucketUnavailable):
        retry(Call(*[ConnectionError("cut")] * 3), 0.0, clock)


@pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError("none")])
def test_what_is_final_is_not_tried_again(error: Exception) -> None:
    call = Call(error)
    with pytest.raises(BucketError):
        retry(call, 60.0, Clock())
    assert call.count == 1
