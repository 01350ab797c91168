"""Cut a release from CHANGELOG.md, and print the notes of one.

python .ci/changelog.py cut 0.2.0      [Unreleased] becomes 0.2.0 of today; the version is set where it is named
python .ci/changelog.py notes 0.2.0    the text of 0.2.0; exit code 1 where a named version differs or there is no text
"""

import re
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "## [Unreleased]\n"
# The version in each file that names it.
NAMED = {
    Path("pyproject.toml"): re.compile(r'(?m)^version = "(.+)"$'),
    Path("CITATION.cff"): re.compile(r"(?m)^version: (.+)$"),
}
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


class ReleaseError(Exception):
    """A release that cannot be made, with the reason."""


def read_section(changelog: str, heading: str) -> str:
    """Return the text below a heading such as "[0.1.0]", without the empty lines around it; "" where there is none."""
    match = re.search(rf"(?ms)^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", changelog)
    return match.group(1).strip() if match else ""


def check_named(root: Path, version: str) -> None:
    """Raise ReleaseError where a file names another version."""
    for path, pattern in NAMED.items():
        match = pattern.search((root / path).read_text())
        found = match.group(1) if match else "none"
        if found != version:
            raise ReleaseError(
                f"{path}: its version is {found}, not {version}; python .ci/changelog.py cut {version} sets it"
            )


def notes(root: Path, version: str) -> str:
    """Return the changelog's text of a version; raises ReleaseError without one or where files name another."""
    check_named(root, version)
    text = read_section((root / CHANGELOG).read_text(), f"[{version}]")
    if not text:
        raise ReleaseError(
            f"{CHANGELOG}: nothing stands under [{version}]; python .ci/changelog.py cut {version} moves it there"
        )
    return text


def cut(root: Path, version: str, day: date) -> None:
    """Give what is unreleased to a version, and write that version to all files that name it."""
    text = (root / CHANGELOG).read_text()
    if read_section(text, f"[{version}]"):
        raise ReleaseError(f"{CHANGELOG}: has [{version}] already")
    if not read_section(text, "[Unreleased]"):
        raise ReleaseError(f"{CHANGELOG}: nothing stands under [Unreleased]")
    released = text.replace(UNRELEASED, f"{UNRELEASED}\n## [{version}] - {day.isoformat()}\n", 1)
    (root / CHANGELOG).write_text(released)
    for path, pattern in NAMED.items():
        before = (root / path).read_text()
        (root / path).write_text(
            pattern.sub(lambda match: match.group().replace(match.group(1), version), before, count=1)
        )


def main() -> int:
    """Do what the command line requests; exit code 2 where it cannot be read."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("cut", "notes") or not VERSION.fullmatch(sys.argv[2]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if sys.argv[1] == "cut":
            cut(ROOT, sys.argv[2], date.today())
        else:
            print(notes(ROOT, sys.argv[2]))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
