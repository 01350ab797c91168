"""A Dockerfile as instructions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    name: str
    value: str
    stage: str


def parse(text: str) -> list[Instruction]:
    """Split a Dockerfile into instructions, each with the name of its stage, "" before the first."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[Instruction] = []
    stage = ""
    for line in joined.splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "FROM":
            stage = value.split()[-1]
        found.append(Instruction(name, value.strip(), stage))
    return found


def defaults(instructions: Sequence[Instruction]) -> dict[str, str]:
    """The values that arguments have where a build gives no other."""
    pairs = [each.value.partition("=") for each in instructions if each.name == "ARG"]
    return {name: value.strip("\"'") for name, _, value in pairs}
