"""The options that the documents give to commands are in the commands' own --help."""

import json
import os
import subprocess
import sys
from collections import defaultdict

import pytest

from fcos.installation import ROOT
from tests.helpers.documents.commands import all_commands

# Prints the help of every program that it is given, all in one process, as each takes seconds to import.
PRINT_HELP = """
import contextlib, io, json, runpy, sys
helps = {}
for program in sys.argv[1:]:
    name, *subcommand = program.split()
    sys.argv = [name, *subcommand, "--help"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        if name == "fcos":
            runpy.run_module("fcos", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    helps[program] = text.getvalue()
print(json.dumps(helps))
"""


def documented_options() -> dict[str, set[str]]:
    """Return the options that the documents give to each program; benchmarks have tests of their own."""
    options: dict[str, set[str]] = defaultdict(set)
    for command in all_commands():
        if not command.program.startswith("benchmarks/"):
            named = {word.partition("=")[0] for word in command.words if word.startswith("--")}
            options[command.program] |= named - {"--help"}
    return options


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_HELP, *documented_options()],
        capture_output=True, text=True, cwd=ROOT, check=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    printed = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(printed, dict)
    return {str(program): str(text) for program, text in printed.items()}


def test_every_command_of_the_documents_has_a_help(helps: dict[str, str]) -> None:
    assert len(helps) > 15
    assert [program for program, text in helps.items() if len(text) < 100] == []


def test_every_option_of_the_documents_is_in_the_help(helps: dict[str, str]) -> None:
    unknown = {
        program: sorted(option for option in options if option not in helps[program])
        for program, options in documented_options().items()
    }
    assert {program: options for program, options in unknown.items() if options} == {}
