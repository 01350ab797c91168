"""The lock of a folder, for one process at a time."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.cli.lock import LOCK, FolderInUse, lock_folder

TRY = """
import sys
from pathlib import Path
from orchestration.cli.lock import lock_folder
with lock_folder(Path(sys.argv[1]), "now"):
    pass
"""


@pytest.mark.ray
def test_a_second_process_gets_the_owner_and_the_time(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "sweep", "2026-01-01T00:00:00"):
        message = rf"process {os.getpid()} on .* since 2026-01-01T00:00:00"
        with pytest.raises(FolderInUse, match=message), lock_folder(tmp_path / "sweep", "later"):
            pytest.fail("held twice")
        other = subprocess.run(
            [sys.executable, "-c", TRY, str(tmp_path / "sweep")], capture_output=True, text=True, check=False
        )
        assert "FolderInUse" in other.stderr
    with lock_folder(tmp_path / "sweep", "later"):
        pass


def test_one_that_only_looks_whether_a_command_works_there_refuses_none(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / LOCK).touch()
    with (tmp_path / LOCK).open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr("orchestration.cli.lock.time.sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        with lock_folder(tmp_path, "now"):
            pass


RACE = """
import sys
from pathlib import Path
from orchestration.cli.lock import FolderInUse, lock_folder
print("ready", flush=True)
for line in sys.stdin:
    try:
        with lock_folder(Path(line.strip()), "now"):
            print("held", flush=True)
            sys.stdin.readline()
    except FolderInUse as error:
        print(error, flush=True)
        sys.stdin.readline()
"""


@pytest.mark.ray
def test_of_two_simultaneous_starts_exactly_one_gets_the_lock(tmp_path: Path) -> None:
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


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"output: .*file/sweep cannot be written \(Not a directory\)"
    with pytest.raises(ConfigError, match=message), lock_folder(tmp_path / "file" / "sweep", "now"):
        pytest.fail("held")
