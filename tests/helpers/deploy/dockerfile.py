"""A Dockerfile as instructions, and the rules of hadolint that ours is held to where hadolint is not installed.

Rules and their numbers: https://github.com/hadolint/hadolint#rules
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

DIGEST = re.compile(r"^[a-z0-9./-]+:[A-Za-z0-9_.-]+@sha256:[0-9a-f]{64}$")
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
# What `pip install` takes without a version: options, files of pins, and the project itself.
OPTIONS_WITH_VALUE = ("-r", "--requirement", "-c", "--constraint", "--index-url")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    name: str
    value: str
    stage: str

    def commands(self) -> list[list[str]]:
        """The words of the commands of a RUN."""
        return [part.split() for part in re.split(r"&&|\|\||[;|]", self.value) if part.strip()]


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


def problems(text: str) -> list[str]:
    """The rules that a Dockerfile breaks, with the instruction: "DL3007 FROM python:latest"."""
    instructions = parse(text)
    found = [f"{rule} {each.name} {each.value}" for each in instructions for rule in _broken_by(each)]
    whole = (_bases, _users, _copies, _runs_in_a_row, _shells)
    return [*found, *(each for check in whole for each in check(instructions))]


def _broken_by(each: Instruction) -> list[str]:
    return [rule for rule, (name, breaks) in RULES.items() if name == each.name and breaks(each)]


def _bases(instructions: Sequence[Instruction]) -> list[str]:
    """Images that are no earlier stage and not pinned by tag and digest."""
    values = defaults(instructions)
    stages: set[str] = set()
    found: list[str] = []
    for each in (each for each in instructions if each.name == "FROM"):
        image = VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), each.value.split()[0])
        if image not in stages and not DIGEST.match(image):
            rule = "DL3007" if image.partition("@")[0].endswith(":latest") else "DL3006"
            found.append(f"{rule} FROM {each.value}")
        stages.add(each.stage)
    return found


def _users(instructions: Sequence[Instruction]) -> list[str]:
    """The last user of the last stage, where that is root or a name that Kubernetes cannot judge."""
    last = instructions[-1].stage
    users = [each.value for each in instructions if each.name == "USER" and each.stage == last]
    return [] if users and re.match(r"[1-9]\d*(:\d+)?$", users[-1]) else [f"DL3002 USER {users[-1:]}"]


def _copies(instructions: Sequence[Instruction]) -> list[str]:
    """Copies to a folder that the stage itself does not name."""
    named: set[str] = set()
    found: list[str] = []
    for each in instructions:
        if each.name == "WORKDIR":
            named.add(each.stage)
        if each.name == "COPY" and not each.value.split()[-1].startswith(("/", "$")) and each.stage not in named:
            found.append(f"DL3045 COPY {each.value}")
    return found


def _runs_in_a_row(instructions: Sequence[Instruction]) -> list[str]:
    pairs = pairwise(instructions)
    return [f"DL3059 RUN {after.value}" for before, after in pairs if before.name == after.name == "RUN"]


def _shells(instructions: Sequence[Instruction]) -> list[str]:
    """Pipes without a shell that fails where a part of one does."""
    safe: set[str] = set()
    found: list[str] = []
    for each in instructions:
        if each.name == "SHELL" and "pipefail" in each.value:
            safe.add(each.stage)
        piped = re.search(r"(?<!\|)\|(?!\|)", re.sub(r"'[^']*'|\"[^\"]*\"", "", each.value))
        if each.name == "RUN" and piped and each.stage not in safe:
            found.append(f"DL4006 RUN {each.value}")
    return found


def _installs(each: Instruction, *tool: str) -> list[list[str]]:
    """The words after `install` of each command of a tool, such as apt-get."""
    found = []
    for words in each.commands():
        if words[: len(tool)] == list(tool) and "install" in words:
            found.append(words[words.index("install") + 1 :])
    return found


def _packages(words: Sequence[str]) -> list[str]:
    """What an install names, without options and their values."""
    named: list[str] = []
    skip = False
    for word in words:
        if not skip and not word.startswith("-"):
            named.append(word)
        skip = word in OPTIONS_WITH_VALUE
    return named


def _pips(each: Instruction) -> list[list[str]]:
    return [*_installs(each, "pip"), *_installs(each, "pip3"), *_installs(each, "python", "-m", "pip")]


def _apts(each: Instruction) -> list[list[str]]:
    return _installs(each, "apt-get")


def _calls(each: Instruction, program: str) -> bool:
    return any(words[0] == program for words in each.commands())


RULES: dict[str, tuple[str, Callable[[Instruction], bool]]] = {
    "DL3000": ("WORKDIR", lambda each: not each.value.strip('"').startswith(("/", "$"))),
    "DL3003": ("RUN", lambda each: _calls(each, "cd")),
    "DL3004": ("RUN", lambda each: _calls(each, "sudo")),
    "DL3008": ("RUN", lambda each: any("=" not in name for words in _apts(each) for name in _packages(words))),
    "DL3009": ("RUN", lambda each: bool(_apts(each)) and "rm -rf /var/lib/apt/lists" not in each.value),
    "DL3013": (
        "RUN",
        lambda each: any(
            "==" not in name and not name.startswith((".", "/")) for words in _pips(each) for name in _packages(words)
        ),
    ),
    "DL3015": ("RUN", lambda each: any("--no-install-recommends" not in words for words in _apts(each))),
    "DL3020": ("ADD", lambda each: True),
    "DL3025": ("CMD", lambda each: not each.value.startswith("[")),
    "DL3042": ("RUN", lambda each: any("--no-cache-dir" not in words for words in _pips(each))),
    "DL4000": ("MAINTAINER", lambda each: True),
}
