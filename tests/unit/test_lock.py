"""One process at a time in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.section import ConfigError
from orchestration.lock import FolderHeld, hold

TRY = """
import sys
from pathlib import Path
from orchestration.lock import hold
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


def test_a_folder_that_cannot_be_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = r"output: .*file/sweep cannot be written \(Not a directory\)"
    with pytest.raises(ConfigError, match=told), hold(tmp_path / "file" / "sweep", "now"):
        pytest.fail("held")
