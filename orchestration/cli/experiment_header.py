"""Read the comment at the top of an experiment's file: its command, claim, papers' numbers and cost."""

import re
from dataclasses import dataclass
from pathlib import Path

from orchestration.config.conf_files import conf_text

FIELD = re.compile(r"(Claim|Papers|Cost) +(\S.*)")


@dataclass(frozen=True)
class ExperimentHeader:
    """The parts of the comment, each as one paragraph; "" for what a file of a user leaves out."""

    command: str
    claim: str
    papers: str
    cost: str


def read_header(file: Path) -> ExperimentHeader:
    """Return the comment below the first line of an experiment's file.

    Raises ConfigError for a file that cannot be read.
    """
    parts: dict[str, list[str]] = {"Command": []}
    current = "Command"
    # The first line is Hydra's.
    for line in conf_text(file).splitlines()[1:]:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        found = FIELD.match(text)
        if found:
            current, text = found.group(1), found.group(2)
        parts.setdefault(current, []).append(text)
    joined = {name: " ".join(filter(None, lines)) for name, lines in parts.items()}
    command = "\n".join(filter(None, parts["Command"]))
    return ExperimentHeader(command, joined.get("Claim", ""), joined.get("Papers", ""), joined.get("Cost", ""))
