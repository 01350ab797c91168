"""One process at a time in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.cli.lock import FolderHeld, hold

TRY = """
import sys
from pathlib import Path
from orchestration.cli.lock import hold
with hold(Path(sys.argv[1]), "now"):
    pass
"""


def test_a_second_holder_is_told_who_and_since_when(tmp_path: Path) -> None:
    with hold(tmp_path / "sweep", "2026-01-01T00:00:00"):
        told = rf"process {os.getpid()} on .* since 2026-01-01T00:00:00"
        with pytest.raises(FolderHeld, match=told), hold(tmp_path / "sweep", "later"):
            pytest.fail("held twice")
        other = subprocess.run(
            [sys.executable, "-c", TRY, str(tmp_path / "sweep")], capture_output=True, text=True, check=False
        )
        assert "FolderHeld" in other.stderr
    with hold(tmp_path / "sweep", "later"):
        pass


RACE = """
import sys
from pathlib import Path
from orchestration.cli.lock import FolderHeld, hold
print("ready", flush=True)
for line in sys.stdin:
    try:
        with hold(Path(line.strip()), "now"):
            print("held", flush=True)
            sys.stdin.readline()
    except FolderHeld as error:
        print(error, flush=True)
        sys.stdin.readline()
"""


def test_of_a_hundred_double_starts_one_holds_the_folder_and_the_other_names_it(tmp_path: Path) -> None:
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", RACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(2)
    ]
    streams = [(process.stdin, process.stdout) for process in pair]
    try:
        assert {output.readline() for _, output in streams if output} == {"ready\n"}
        for number in range(100):
            # Every second time the folder was held before.
            folder = tmp_path / str(number // 2)
            for entry, _ in streams:
                assert entry is not None
                entry.write(f"{folder}\n")
            answers = [output.readline().strip() for _, output in streams if output]
            (holder,) = [process for process, answer in zip(pair, answers, strict=True) if answer == "held"]
            assert sum(f"in use by process {holder.pid} on" in answer for answer in answers) == 1, answers
            for entry, _ in streams:
                assert entry is not None
                entry.write("next\n")
    finally:
        for process in pair:
            process.kill()
            process.communicate()


def test_a_folder_that_cannot_be_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = r"output: .*file/sweep cannot be written \(Not a directory\)"
    with pytest.raises(ConfigError, match=told), hold(tmp_path / "file" / "sweep", "now"):
        pytest.fail("held")
