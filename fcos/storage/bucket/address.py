"""Addresses of folders in a bucket, such as s3://bucket/outputs, and the local folder that stands for one."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fcos.errors import ConfigError
from fcos.storage.files import user_cache

SEPARATOR = "://"
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# Storage of fsspec that no other host sees.
HERE = ("file", "local", "memory")
# A user's name and password, which may hold a slash, in an address or in what a library reports.
CREDENTIALS = re.compile(r"//[^/@\s]*(:[^@\s]*)?@")
# Characters of a digest that name a local folder.
DIGITS = 16
# Below the user's cache; in it a folder for each address.
BUCKETS = "buckets"
# Beside the sweeps of a local folder: the address that it stands for.
ADDRESS_FILE = "address.txt"


def is_address(text: str) -> bool:
    """Return whether a text is the address of a bucket rather than the path of a folder."""
    return SEPARATOR in text


def without_credentials(text: str) -> str:
    """Return a text with stars in place of user names and passwords of addresses."""
    return CREDENTIALS.sub("//***@", text)


@dataclass(frozen=True)
class Address:
    """A folder in a bucket, or an object in it."""

    scheme: str
    # The bucket and the folders in it, without a slash at either end.
    path: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse an address.

        Raises ConfigError for one that has credentials, names no bucket, or would leave its folder.
        """
        scheme, _, rest = text.partition(SEPARATOR)
        shown = without_credentials(text.partition("?")[0])
        if CREDENTIALS.search(text) or "?" in rest or "#" in rest:
            raise ConfigError(
                f"{shown}: an address holds neither credentials nor options; give them in the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_ENDPOINT_URL)"
            )
        if not SCHEME.fullmatch(scheme):
            raise ConfigError(f"{shown}: no scheme of a bucket; give s3://bucket/folder or gs://bucket/folder")
        if scheme in HERE:
            raise ConfigError(f"{shown}: no bucket; give the path of the folder, without {scheme}{SEPARATOR}")
        return cls(scheme, _checked_path(rest, shown))

    def __str__(self) -> str:
        return f"{self.scheme}{SEPARATOR}{self.path}"

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """What names a local folder for the address."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:DIGITS]

    def below(self, *names: str) -> "Address":
        """Return the address of a folder or an object below this one."""
        return Address(self.scheme, "/".join((self.path, *names)))

    def above(self, levels: int = 1) -> "Address":
        """Return the address of the folder some levels up."""
        return Address(self.scheme, self.path.rsplit("/", levels)[0])


def _checked_path(text: str, shown: str) -> str:
    parts = text.rstrip("/").split("/")
    if not parts[0]:
        raise ConfigError(f"{shown}: names no bucket; give s3://bucket/folder")
    if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
        raise ConfigError(f"{shown}: has an empty part, a step up or down, or a character that is no part of a name")
    return "/".join(parts)


def mirror_of(address: Address) -> Path:
    """Return the local folder that stands for an address, below the user's cache.

    Raises ConfigError where the user has no home folder.
    """
    return user_cache() / BUCKETS / address.digest


def make_mirror(address: Address) -> Path:
    """Make the local folder of an address, with a file that names it; raises ConfigError where it cannot be written."""
    folder = mirror_of(address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ADDRESS_FILE).write_text(f"{address}\n")
    except OSError as error:
        raise ConfigError(
            f"{address}: is written to {folder} first, which cannot be written ({error.strerror}); set XDG_CACHE_HOME "
            "to a folder that can"
        ) from None
    return folder
