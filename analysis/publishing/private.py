"""Find what is private in the files of an archive before it is written: paths, names, addresses, passwords."""

import getpass
import gzip
import html
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
WEIGHTS_SUFFIX = ".safetensors"
# Names that identify no person and no machine, and words of every configuration.
COMMON_NAMES = frozenset(
    (
        "root", "user", "admin", "ubuntu", "debian", "runner", "docker", "default", "localhost", "worker", "train",
        "data",
        "model", "none", "host", "node", "server", "main", "home", "test", "linux", "coco",
    )
)  # fmt: skip
MIN_NAME_CHARS = 3
HIDDEN_TEXT = "a text to be hidden"
MACHINE = "the name of a machine"
# Keys of COCO results, which are all the text that they have.
RESULT_KEYS = frozenset((b"image_id", b"category_id", b"bbox", b"score"))
# Figures and pictures of a page, whose encoded bytes are no text.
_DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]*")
# What stands before a path is no part of one, of an address, of a tag or of a number.
_START = r"(?<![\w./:<~*+%)\]}-])"
_PATTERNS = {
    "an address with a password": re.compile(r"[A-Za-z][\w+.-]*://[^\s/:@\"'<>]*:[^\s/@\"'<>]+@"),
    "a password or a token": re.compile(
        r"(?i:(?<![A-Za-z0-9])(?:password|passwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key)(?![\w-])"
        # An arm of such a name has an identity in plan.json.
        r"[\"']?\s*[=:]\s*[\"']?(?!<|null\b|none\b|[0-9a-f]{64}\")[^\s\"'<,;]{3,})"
        # As services write them.
        r"|(?<![A-Za-z0-9])(?:AKIA[0-9A-Z]{16}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}"
        r"|glpat-[\w-]{20,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,})"
    ),
    "an address on a network": re.compile(
        r"\b(?:s3|gs|abfss?|wasbs?|hdfs|dbfs|sqlite|postgresql|mysql|mssql|ray|ssh|sftp|ftp)(?:\+\w+)?:/"
        r"|(?<![A-Za-z0-9+.-])(?!https?://(?:www\.)?(?:arxiv|w3id|w3)\.org/)[A-Za-z][A-Za-z0-9+.-]*://"
    ),
    "an e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])"),
    "a home folder": re.compile(
        r"(?<![\w.])~(?:[A-Za-z_][\w.-]*)?/\w|(?i:%2F(?:home|Users|root)(?:%2F|\b))"
        r"|(?<![\w.<])/(?:home|Users|root)(?=/|\b)|(?<!\w)[A-Za-z]:[\\/]{1,2}Users"
    ),
    "a folder of data": re.compile(r"\bdata\.(?:root|cache_dir)=(?!<)[^\s\"',;)<]*[/\\]"),
    MACHINE: re.compile(
        r"(?<![\w.-])ip-\d{1,3}(?:-\d{1,3}){3}(?!\d)"
        r"|(?<![\w.-])[A-Za-z0-9][\w-]*(?:\.[\w-]+)*\.(?:internal|local|lan|corp)(?![\w-])"
    ),
    "an absolute path": re.compile(
        rf"{_START}/[\w.-]+/[\w.-]|file:/|(?<!\w)[A-Za-z]:[\\/]{{1,2}}\w|\\\\(?:\\\\)?\w+\\"
        # On another machine, and with spaces in its first part.
        r"|(?<![\w.-])[A-Za-z][\w.-]+:/(?!/)[\w.~-]"
        rf"|{_START}/[\w.-]+(?: [\w.-]+){{1,4}}/[\w .-]*[\w-](?:/|\.[A-Za-z]\w{{1,4}}\b)"
        r"|(?<![\w./:<~])/(?:tmp|var|mnt|opt|srv|data|scratch|media|etc|usr|work|workspace|private)(?=[/\s\"',;)]|$)"
    ),
}
_NUMBERED = re.compile(
    r"(?<![\w.-])(?<!==)(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\w)"
    r"|(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*(?![\w:])"
)
# What is no part of a longer word.
_BEFORE, _BEHIND = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
# An escaped character of a JSON string.
_ESCAPED = re.compile(r"\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[0-9A-Fa-f]{4}|u[0-9A-Fa-f]{4}|[\"\\/bfnrt])")


@dataclass(frozen=True)
class Finding:
    """Something private: the file, its line, what it is and the text around it."""

    file: str
    line: int
    kind: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.excerpt}"


def find_private(
    folder: Path, allowed: Sequence[str] = (), names: Iterable[str] | None = None, hidden: Sequence[str] = ()
) -> list[Finding]:
    """Return what is private in the files of a folder, of which the evaluations are decompressed.

    allowed: texts that are known to be none. names: of the user and the machine, by default those of this process.
    hidden: texts that must be neither in a file nor in a name.
    """
    words = own_names() if names is None else tuple(names)
    seen: set[bytes] = set()
    findings = list(_check_names(folder, hidden))
    for path in list_files(folder):
        if path.name == RESULTS:
            findings += _check_results(path, path.relative_to(folder).as_posix())
            continue
        content = _read_content(path)
        # The annotations of all trials are the same, and large.
        if content is not None and content not in seen:
            seen |= {content} if path.suffix == ".gz" else set()
            name, text = path.relative_to(folder).as_posix(), content.decode("utf-8", "replace")
            findings += _scan(name, text, words, allowed)
            findings += _find_hidden(name, text, hidden)
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
    if path.suffix == WEIGHTS_SUFFIX:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            return stream.read(min(length, 1 << 26))
    return None


def _check_results(path: Path, name: str) -> list[Finding]:
    """Return a finding where results hold any text beside their keys."""
    texts = set(re.findall(rb'"([^"]*)"', gzip.decompress(path.read_bytes()))) - RESULT_KEYS
    return [Finding(name, 1, "text among the detections", repr(min(texts))[:80])] if texts else []


def _scan(name: str, text: str, names: Sequence[str], allowed: Sequence[str]) -> Iterator[Finding]:
    own = re.compile("|".join(f"{_BEFORE}{re.escape(word)}{_BEHIND}" for word in names), re.IGNORECASE)
    # Versions have as many parts as addresses.
    has_addresses = not name.endswith((ENVIRONMENT, Artifact.VERSIONS))
    # Modules of a network may be named like a domain: blocks.0.local.conv.
    patterns = {kind: each for kind, each in _PATTERNS.items() if kind != MACHINE or not name.endswith(WEIGHTS_SUFFIX)}
    for number, line in _iterate_lines(name, text):
        for word in allowed:
            line = line.replace(word, "")
        for kind, pattern in patterns.items():
            if match := pattern.search(line):
                yield Finding(name, number, kind, _excerpt(line, match))
        if names and (match := own.search(line)):
            yield Finding(name, number, "the name of the user or of the machine", _excerpt(line, match))
        for match in _NUMBERED.finditer(line) if has_addresses else ():
            if _is_foreign_address(match[0]):
                yield Finding(name, number, "a network address", _excerpt(line, match))


def _iterate_lines(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, without encoded pictures; of JSON each line of a string by itself."""
    is_json = name.endswith((".json", ".json.gz"))
    for number, line in enumerate(_DATA_URI.sub("", text).splitlines(), start=1):
        decoded = _ESCAPED.sub(lambda match: str(json.loads(f'"{match[0]}"')), line) if is_json else line
        yield from ((number, part) for part in decoded.splitlines())


def _check_names(folder: Path, hidden: Sequence[str]) -> Iterator[Finding]:
    """Yield names of the folder and of its files in which a text is that was to be hidden."""
    # Names have an underscore for what they may not have.
    pattern = _compile_words([*hidden, *(re.sub(r"[^A-Za-z0-9_-]+", "_", text) for text in hidden)])
    for name in (folder.name, *(path.relative_to(folder).as_posix() for path in list_files(folder))):
        if pattern is not None and (match := pattern.search(name)):
            yield Finding(name, 0, HIDDEN_TEXT, _excerpt(name, match))


def _find_hidden(name: str, text: str, hidden: Sequence[str]) -> Iterator[Finding]:
    pattern = _compile_words(hidden)
    for number, line in _iterate_lines(name, text) if pattern is not None else ():
        shown = html.unescape(line) if name.endswith(".html") else line
        if pattern is not None and (match := pattern.search(shown)):
            yield Finding(name, number, HIDDEN_TEXT, _excerpt(shown, match))


def _compile_words(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return the pattern of texts that are no parts of longer words, None without any."""
    parts = [
        f"{_BEFORE if text[0].isalnum() else ''}{re.escape(text)}{_BEHIND if text[-1].isalnum() else ''}"
        for text in texts
        if text
    ]
    return re.compile("|".join(parts)) if parts else None


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
