"""The sweeps that tests start end with the tests, also where those are interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fcos.installation import ROOT
from orchestration.trial.processes import start_time
from tests.helpers.processes.waiting import PATIENCE, wait_until

# Waits for ever, and leaves its id once it does.
ENTRY = """
import os, time
from pathlib import Path
Path("new").write_text(str(os.getpid()))
Path("new").rename("pid")
time.sleep(3600)
"""
TESTS = """
import signal, sys
from pathlib import Path
from tests.helpers.experiments.sweeps import start, sweep
# A process in the background is started without it.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = Path(sys.argv[1])
if sys.argv[2] == "sweep":
    sweep(folder, entry=folder / "entry.py")
process = start(folder, entry=folder / "entry.py")
process.wait()
"""


@pytest.mark.ray
@pytest.mark.parametrize("how", ["sweep", "start"])
def test_a_sweep_ends_where_its_test_is_interrupted(tmp_path: Path, how: str) -> None:
    (tmp_path / "entry.py").write_text(ENTRY)
    tests = subprocess.Popen([sys.executable, "-c", TESTS, str(tmp_path), how], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "pid").exists() or tests.poll() is not None)
    pid = int((tmp_path / "pid").read_text())
    try:
        tests.send_signal(signal.SIGINT)
        tests.wait(timeout=PATIENCE)
        assert not start_time(pid)
    finally:
        if start_time(pid):
            os.kill(pid, signal.SIGKILL)
