"""Find what is private in the files of an archive before it is written: paths, names, addresses, passwords."""

import getpass
import gzip
import ipaddress
import json
import platform
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcos.published.archive import list_files
from fcos.published.layout import ENVIRONMENT
from fcos.storage.evaluation_files import RESULTS
from fcos.storage.store_conventions import Artifact

TEXTS = (".json", ".csv", ".html", ".md", ".txt")
# Names that say nothing of a person or a machine, and words of every configuration.
COMMON_NAMES = frozenset(
    (
        "root", "user", "admin", "ubuntu", "debian", "runner", "docker", "default", "localhost", "worker", "train",
        "data",
        "model", "none", "host", "node", "server", "main", "home", "test", "linux", "coco",
    )
)  # fmt: skip
MIN_NAME_CHARS = 3
# Keys of COCO results, which are all the text that they have.
RESULT_KEYS = frozenset((b"image_id", b"category_id", b"bbox", b"score"))
# Figures and pictures of a page, whose encoded bytes are no text.
_DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]*")
_PATTERNS = {
    "an address with a password": re.compile(r"[A-Za-z][\w+.-]*://[^\s/:@\"'<>]+:[^\s/@\"'<>]+@"),
    "an address on a network": re.compile(
        r"\b(?:s3|gs|abfss?|wasbs?|hdfs|dbfs|sqlite|postgresql|mysql|mssql|ray|ssh|sftp|ftp)(?:\+\w+)?:/"
        r"|\bhttps?://(?!(?:www\.)?(?:arxiv|w3id|w3)\.org/)"
    ),
    "an e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])"),
    "a home folder": re.compile(r"(?<![\w.])~/\w|(?<![\w.:<])/(?:home|Users|root)(?=/|\b)|[A-Za-z]:\\\\?Users"),
    "an absolute path": re.compile(
        r"(?<![\w./:<~*+%)\]}-])/[A-Za-z0-9_.-]+/[\w.-]|file:/|(?<![\w])[A-Za-z]:\\\\?\w|\\\\\\\\\w+\\\\|"
        r"(?<![\w./:<~])/(?:tmp|var|mnt|opt|srv|data|scratch|media|etc|usr|work|workspace|private)(?=[/\s\"',;)]|$)"
    ),
}
_NUMBERED = re.compile(
    r"(?<![\w.=-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*(?![\w:])"
)


@dataclass(frozen=True)
class Finding:
    """Something private: the file, its line, what it is and the text around it."""

    file: str
    line: int
    kind: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.excerpt}"


def find_private(folder: Path, allowed: Sequence[str] = (), names: Iterable[str] | None = None) -> list[Finding]:
    """Return what is private in the files of a folder, of which the evaluations are decompressed.

    allowed: texts that are known to be none. names: of the user and the machine, by default those of this process.
    """
    words = own_names() if names is None else tuple(names)
    seen: set[bytes] = set()
    findings: list[Finding] = []
    for path in list_files(folder):
        if path.name == RESULTS:
            findings += _check_results(path, path.relative_to(folder).as_posix())
            continue
        content = _read_content(path)
        # The annotations of all trials are the same, and large.
        if content is not None and content not in seen:
            seen |= {content} if path.suffix == ".gz" else set()
            name = path.relative_to(folder).as_posix()
            findings += _scan(name, content.decode("utf-8", "replace"), words, allowed)
    return findings


def own_names() -> tuple[str, ...]:
    """Return the user's and the machine's name, without those that are common."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = ""
    node = platform.node()
    names = {user, node, node.partition(".")[0]}
    return tuple(sorted(name for name in names if len(name) >= MIN_NAME_CHARS and name.lower() not in COMMON_NAMES))


def _read_content(path: Path) -> bytes | None:
    """Return the text of a file; of weights their header; None for pictures."""
    if path.suffix in TEXTS:
        return path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            return stream.read(min(length, 1 << 26))
    return None


def _check_results(path: Path, name: str) -> list[Finding]:
    """Return a finding where results hold any text beside their keys."""
    texts = set(re.findall(rb'"([^"]*)"', gzip.decompress(path.read_bytes()))) - RESULT_KEYS
    return [Finding(name, 1, "text among the detections", repr(min(texts))[:80])] if texts else []


def _scan(name: str, text: str, names: Sequence[str], allowed: Sequence[str]) -> Iterator[Finding]:
    own = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in names), re.IGNORECASE)
    # Versions have as many parts as addresses.
    has_addresses = not name.endswith((ENVIRONMENT, Artifact.VERSIONS))
    for number, line in enumerate(_DATA_URI.sub("", text).splitlines(), start=1):
        for word in allowed:
            line = line.replace(word, "")
        for kind, pattern in _PATTERNS.items():
            if match := pattern.search(line):
                yield Finding(name, number, kind, _excerpt(line, match))
        if names and (match := own.search(line)):
            yield Finding(name, number, "the name of the user or of the machine", _excerpt(line, match))
        for match in _NUMBERED.finditer(line) if has_addresses else ():
            if _is_foreign_address(match[0]):
                yield Finding(name, number, "a network address", _excerpt(line, match))


def _is_foreign_address(text: str) -> bool:
    """Return whether a text is the address of a machine, and not of every machine."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _excerpt(line: str, match: re.Match[str]) -> str:
    start = max(0, match.start() - 20)
    return json.dumps(line[start : match.end() + 30], ensure_ascii=False)
