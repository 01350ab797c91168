"""A machine that Slurm has given to a job: processes and network of its own, and stand-ins for Slurm's programs."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.deploy.files import DEPLOY, stand_in
from tests.helpers.experiments.sweeps import ROOT, environment
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.namespaces import needs_namespaces

JOB = 4123
# Ray's command line ends every Ray process of its user that it sees.
NAMESPACES = ("--net", "--pid", "--fork", "--mount-proc", "--kill-child")
# Slurm sends the signal for time that is up to the script alone; here a file brings it about.
SCRIPT = """
ip link set lo up
bash "$0" "$@" & job=$!
(until [ -e "$TIME_IS_UP" ]; do sleep 0.1; done; kill -USR1 $job) &
wait $job
"""


def needs_allocations() -> None:
    """Skip a test where such a machine cannot be made."""
    needs_namespaces(*NAMESPACES, tools=["ip"])


@dataclass(frozen=True)
class Allocations:
    """The machines that one job is given, one after the other; nothing but `folder` is the same on them."""

    folder: Path
    hold: Hold

    @property
    def time_is_up(self) -> Path:
        """The file by which the time of the job is up."""
        return self.folder / "time_is_up"

    @property
    def log(self) -> Path:
        """What `scontrol` was given, but for questions."""
        return self.folder / "scontrol.log"

    def prepare(self) -> None:
        """Write the programs of Slurm, and a folder with a checkout from which the job is submitted."""
        stand_in(
            self.folder / "bin" / "scontrol",
            f'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> {self.log}; fi',
        )
        stand_in(self.folder / "bin" / "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
        submit = self.folder / "submit"
        (submit / ".venv" / "bin").mkdir(parents=True)
        (submit / ".venv" / "bin" / "activate").touch()
        (submit / "orchestration").symlink_to(ROOT / "orchestration")

    @contextmanager
    def run(self, *words: str, restarts: int) -> Iterator["subprocess.Popen[str]"]:
        """Yield the job on a new machine, with the words of its sweep; all of the machine is gone at the end."""
        # Short, because paths of sockets have a limit.
        own = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
        job = subprocess.Popen(
            ["unshare", *NAMESPACES, "bash", "-c", SCRIPT, str(DEPLOY / "slurm.sh"), *words],
            env=self._environment(own, restarts),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield job
        finally:
            job.kill()
            job.wait()
            assert job.stdout is not None
            job.stdout.close()
            shutil.rmtree(own, ignore_errors=True)

    def _environment(self, temporary: Path, restarts: int) -> dict[str, str]:
        slurm = {
            "SUBMIT_DIR": str(self.folder / "submit"),
            "JOB_NODELIST": "node-1",
            "JOB_NUM_NODES": "1",
            "JOB_ID": str(JOB),
            "CPUS_PER_TASK": "2",
            "GPUS_ON_NODE": "0",
            "RESTART_COUNT": str(restarts),
        }
        kept = {key: value for key, value in environment(self.folder).items() if not key.startswith("RAY_")}
        return {
            **kept,
            **{f"SLURM_{name}": text for name, text in slurm.items()},
            **self.hold.environment,
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": str(temporary),
            # Tests under `uv run` would make Ray start its workers by that very command.
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "TIME_IS_UP": str(self.time_is_up),
        }
