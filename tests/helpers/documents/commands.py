"""The commands that the documents show: blocks of code, with continued lines, and code within a sentence."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from fcos.installation import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]
SWEEP, TRAIN = "orchestration/sweep.py", "orchestration/train.py"
# Commands of the installed package, and the scripts that they are.
INSTALLED = {"fcos-sweep": SWEEP, "fcos-train": TRAIN}
SCRIPT = re.compile(r"(?:orchestration|analysis|benchmarks)/\w+\.py")
INLINE = re.compile(r"`(python [^`]+)`")
ASSIGNED = re.compile(r"[A-Z_]+=.*")


@dataclass(frozen=True)
class Command:
    """A command of ours: a script or `fcos SUBCOMMAND`, and its words, in which placeholders are `given`."""

    document: str
    program: str
    words: tuple[str, ...]
    # Shown with the error that it ends with.
    refused: bool = False

    def __str__(self) -> str:
        return f"{self.document}: {self.program} {' '.join(self.words)}"


def read_commands(document: Path) -> list[Command]:
    """Return the commands of ours in a document, in its order."""
    text = document.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = [_parsed(document, *_joined(lines, index)) for index, line in enumerate(lines) if line.startswith("    ")]
    prose = "\n".join(line for line in lines if not line.startswith("    "))
    found += [_parsed(document, " ".join(code.split()), False) for code in INLINE.findall(prose)]
    return [command for command in found if command is not None]


def _joined(lines: list[str], index: int) -> tuple[str, bool]:
    """Return a line with those that continue it, and whether the next one is an error."""
    line = lines[index].strip()
    while line.endswith("\\") and index + 1 < len(lines):
        index += 1
        line = f"{line[:-1].strip()} {lines[index].strip()}"
    return line, index + 1 < len(lines) and lines[index + 1].strip().startswith("error:")


def _parsed(document: Path, line: str, refused: bool) -> Command | None:
    """Return the command in a line; None where it begins no program of ours."""
    line = re.sub(r"<[^<>]*>", "given", line.removeprefix("$ "))
    if not re.match(r"(?:[A-Z_]+=\S+ )*(?:uv run |fcos-|python )", line):
        return None
    words = shlex.split(line, comments=True)
    while words and (ASSIGNED.fullmatch(words[0]) or words[0] in ("uv", "run")):
        words = words[1:]
    match words:
        case ["python", "-m", "fcos", subcommand, *rest]:
            return Command(document.name, f"fcos {subcommand}", tuple(rest), refused)
        case ["python", script, *rest] if SCRIPT.fullmatch(script):
            return Command(document.name, script, tuple(rest), refused)
        case [name, *rest] if name in INSTALLED:
            return Command(document.name, INSTALLED[name], tuple(rest), refused)
    return None


def all_commands() -> list[Command]:
    """Return the commands of all documents, each once."""
    by_words = {(each.program, each.words): each for document in DOCUMENTS for each in read_commands(document)}
    return list(by_words.values())
