"""The commands of docs/first_steps.md, one after the other, and what the document shows of their output."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.installation import ROOT
from tests.helpers.documents.commands import read_commands

DOCUMENT = ROOT / "docs" / "first_steps.md"
# README's own command, of minutes, which other tests train.
WHOLE = "+experiment=ablation_centerness"
# What differs between machines and hours: identities, folders, numbers.
VARIES = re.compile(r"\b[0-9a-f]{16}\b|/\S*/outputs|[-−+±]?\s?(?![0-9a-f]{16}\b)\d[\d:.,]*")


def shape_of(line: str) -> str:
    """Return a line with its numbers alike, and without the blanks that align them."""
    return " ".join(VARIES.sub(" # ", line).split())


def shown_lines() -> set[str]:
    """Return the shapes of the lines that blocks without a command show, comments left out."""
    blocks = re.findall(r"(?:^    .*\n)+", DOCUMENT.read_text(encoding="utf-8"), re.M)
    output = [block for block in blocks if not block.lstrip().startswith(("uv run", "$"))]
    return {shape_of(line) for block in output for line in block.splitlines() if line.strip(" .")}


@pytest.mark.slow(minutes=4)
def test_the_first_steps_work_and_show_what_the_document_shows(tmp_path: Path) -> None:
    commands = [command for command in read_commands(DOCUMENT) if command.words != (WHOLE,)]
    assert len(commands) > 5
    printed: set[str] = set()
    for command in commands:
        words = [sys.executable, str(ROOT / command.program), *command.words]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if command.refused else 0), (str(command), done.stderr)
        printed |= {shape_of(line) for line in (done.stdout + done.stderr).splitlines()}
    assert sorted(shown_lines() - printed) == []
    assert (tmp_path / "outputs" / "first" / "report" / "report.html").is_file()
