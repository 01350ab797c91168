"""Layout of a published archive: names of its files, bounds on them, and which names an entry may have."""

import re
from pathlib import PurePosixPath
from typing import Final

# RO-Crate metadata with the SHA-256 of every other file; its own SHA-256 is the id of the archive.
METADATA: Final = "ro-crate-metadata.json"
HEADER: Final = "archive.json"
# Folder of the sweep's own run; that of a trial is trials/<run id>.
SWEEP: Final = "sweep"
TRIALS: Final = "trials"
RUN: Final = "run.json"
POINTS: Final = "points.csv"
# Folder of a trial's weights, where they are published, and in it the manifest of their checkpoint.
WEIGHTS: Final = "weights"
REPORT_JSON: Final = "report/report.json"
REPORT_HTML: Final = "report/report.html"
# Packages that the code of the sweep is locked to.
ENVIRONMENT: Final = "environment/requirements.txt"

# Entries, and bytes of an archive and of one of its texts. Behind 2 GiB zipfile writes further fields (zip64).
MAX_FILES: Final = 20_000
MAX_BYTES: Final = (2 << 30) - 1
MAX_TEXT_BYTES: Final = 512 << 20
MAX_NAME_CHARS: Final = 200

RUN_ID: Final = "[0-9a-f]{32}"
# One part of a path: ASCII, no leading dot, nothing that a shell, a browser or another system reads otherwise.
WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}"
_OF_RUN: Final = r"(?:run|experiment|plan|plan_history|config|versions)\.json|points\.csv"
_OF_TRIAL: Final = "|".join(
    (
        _OF_RUN,
        rf"detections/{WORD}\.png",
        r"evaluation/(?:index\.json|annotations\.json\.gz|results\.json\.gz)",
        r"coverage/(?:coverage\.json|unrecalled\.csv|center_sampling\.png)",
        rf"weights/(?:{WORD}\.safetensors|manifest\.json)",
    )
)
_NAME: Final = re.compile(
    rf"ro-crate-metadata\.json|archive\.json|environment/requirements\.txt"
    rf"|report/(?:report\.html|report\.md|report\.json|noise\.json)"
    rf"|{SWEEP}/(?:{_OF_RUN})|{TRIALS}/{RUN_ID}/(?:{_OF_TRIAL})"
)
_FOLDER: Final = re.compile(WORD)


def explain_bad_name(name: str) -> str:
    """Return why a name of an entry is refused, "" for one that the layout has: <folder>/<name>."""
    shown = name.encode("unicode_escape").decode()[:MAX_NAME_CHARS]
    for pattern, reason in (
        (r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2066-\u2069\ufeff]", "has control characters"),
        (r"\\", "has a backslash"),
        (r"^[A-Za-z]:", "has a drive letter"),
        (r"^/", "is absolute"),
        (r"(?:^|/)\.\.?(?:/|$)", "leads out of its folder"),
        (r"[<>\"'&`$;|]|script:", "has markup or what a shell would run"),
    ):
        if re.search(pattern, name):
            return f"the name {shown!r} {reason}"
    if len(name) > MAX_NAME_CHARS or not name.isascii():
        return f"the name {shown!r} is longer than {MAX_NAME_CHARS} characters or not ASCII"
    folder, _, below = name.partition("/")
    if not _FOLDER.fullmatch(folder) or not _NAME.fullmatch(below):
        return f"{shown!r} is no file that such an archive has"
    return ""


def make_safe_word(name: str, taken: set[str]) -> str:
    """Return a file's name with only the characters of WORD, unlike those in `taken`, to which it is added."""
    suffix = PurePosixPath(name).suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,12}", PurePosixPath(name).suffix) else ""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", name.removesuffix(suffix)).lstrip("-")[:80] or "_"
    word, number = f"{stem}{suffix}", 1
    while word.lower() in taken:
        number += 1
        word = f"{stem}-{number}{suffix}"
    taken.add(word.lower())
    return word


def default_archive(name: str) -> str:
    """Return the path of the archive of a sweep or a run where none is given."""
    word = make_safe_word(name, set())
    return f"outputs/{word}/{word}.zip"


def trial_folder(run_id: str) -> str:
    """Return the folder of a trial below the archive's own."""
    return f"{TRIALS}/{run_id}"
