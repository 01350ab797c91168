"""Standard output that is closed, or has no other letters than ASCII, ends no command with a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import ROOT, SHARED, environment, runs, start

TRAIN = "orchestration/train.py"


def closed_pipe() -> int:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "command",
    [
        ["orchestration/sweep.py", "--help"],
        [TRAIN, "--cfg", "job"],
        ["orchestration/doctor.py", "--help"],
    ],
)
@pytest.mark.parametrize("errors_too", [False, True])
def test_a_command_whose_reader_is_gone_ends_with_141(command: list[str], errors_too: bool, tmp_path: Path) -> None:
    output = closed_pipe()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=output,
        stderr=output if errors_too else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(output)
    assert done.returncode == 141
    if not errors_too:
        (line,) = done.stderr.splitlines()
        assert line.startswith("stopped: standard output was closed")


@pytest.mark.slow
def test_a_sweep_whose_reader_leaves_is_killed_in_order_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    longer = ("schedule.steps=200", "schedule.eval_every=200", "experiment.seeds=[0,1]", "cluster.concurrent=1")
    with start(tmp_path, *SHARED, *longer) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if "starts" in line:
                break
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == 141, errors
    assert errors == "stopped: standard output was closed; the same command goes on\n"
    found = {name: run.info.status for name, run in runs(tmp_path).items()}
    assert "KILLED" in found.values() and set(found.values()) <= {"KILLED", "FINISHED"}
    ascii_only = {**environment(tmp_path), "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, str(ROOT / "orchestration" / "sweep.py"), *SHARED, *longer]
    done = subprocess.run(words, cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.isascii() and " +- " in done.stdout
    assert {run.info.status for run in runs(tmp_path).values()} == {"FINISHED"}
