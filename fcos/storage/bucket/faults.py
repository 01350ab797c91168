"""Faults of a bucket: what libraries raise as errors of ours, and calls that are made again where a fault may pass."""

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from fcos.errors import Transient
from fcos.storage.bucket.address import without_credentials

ResultT = TypeVar("ResultT")

# Errors of botocore and of google-auth, by name, that are about the environment and not about the network.
REFUSALS: Final = frozenset(
    (
        "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
        "TokenRetrievalError", "UnauthorizedSSOTokenError", "NoRegionError", "InvalidRegionError",
        "ParamValidationError", "DefaultCredentialsError",
    )
)  # fmt: skip
# What gcsfs has for 403, as an OSError without a number.
FORBIDDEN_TEXT: Final = "Forbidden: "
# Codes of S3 and of Google's storage for a request that is not allowed.
FORBIDDEN: Final = frozenset(("401", "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "Forbidden"))
# For messages about refused credentials.
CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, for gs:// GOOGLE_APPLICATION_CREDENTIALS, or "
    "those of the scheme's own tools"
)
# Seconds before the second attempt, and most before any.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 20.0
# However long each takes.
LEAST_ATTEMPTS = 3


class BucketError(OSError):
    """A bucket, or an object in it, that cannot be used; the message names address and reason."""


class ObjectMissing(BucketError):
    """There is no such object."""


class BucketMissing(BucketError):
    """There is no such bucket."""


class BucketRefused(BucketError):
    """The bucket refuses the credentials, or there are none."""


class BucketUnavailable(Transient, BucketError):
    """The bucket does not answer, or not as it should: another attempt may succeed."""


def translate(error: Exception, where: str) -> BucketError:
    """Return the error of ours for one of a library; `where` is the address that it is about."""
    if isinstance(error, BucketError):
        return error
    code = code_of(error)
    if code == "NoSuchBucket":
        return BucketMissing(f"{where}: there is no such bucket")
    if isinstance(error, FileNotFoundError):
        return ObjectMissing(f"{where}: there is no such object")
    text = f"{where}: {_reason(error, code)}"
    if isinstance(error, PermissionError) or code in FORBIDDEN or type(error).__name__ in REFUSALS:
        return BucketRefused(text)
    if isinstance(error, OSError) and error.errno is None and str(error).startswith(FORBIDDEN_TEXT):
        return BucketRefused(text)
    return BucketUnavailable(text)


def code_of(error: BaseException) -> str:
    """Return the code of a service's answer, as botocore and gcsfs keep it; empty for an error without one."""
    for each in _causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code", ""))
        if type(each).__name__ == "HttpError":
            return str(getattr(each, "code", ""))
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__


def _reason(error: Exception, code: str) -> str:
    """Return a reason in one line, without what an address of the service may hold."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = without_credentials(lines[0])
    # The text of an error that is not one of networks and files is often nothing without its class.
    kind = code if code or isinstance(error, OSError) else type(error).__name__
    return f"{kind}: {text}" if kind and kind not in text else text


def with_retries(
    call: Callable[[], ResultT],
    where: str,
    patience: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ResultT:
    """Call, and call again after a fault that may pass, with pauses that double, for about `patience` seconds.

    Raises BucketError, and the OSError of a local disk that is full.
    """
    begin, pause, attempts = clock(), FIRST_PAUSE, 0
    while True:
        attempts += 1
        try:
            return call()
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                # No bucket has that; those who know disks name this one.
                raise
            fault = translate(error, where)
            used_up = clock() - begin + pause > patience and attempts >= LEAST_ATTEMPTS
            if used_up or not isinstance(fault, BucketUnavailable):
                # Without the library's own error, whose traceback would show an address with its password.
                raise fault from None
            logging.getLogger(__name__).warning("%s; tried again in %.2g s", fault, pause)
        # Clients that failed together do not come again together.
        sleep(pause * random.uniform(0.75, 1.25))
        pause = min(2 * pause, LONGEST_PAUSE)
