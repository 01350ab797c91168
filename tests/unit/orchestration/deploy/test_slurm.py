"""The file for Slurm: its options, the Ray that it starts, and a job whose time is up; Slurm has stand-ins."""

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.deploy.files import DEPLOY, composed, linter, stand_in
from tests.helpers.processes.waiting import PATIENCE, wait_until

SCRIPT = DEPLOY / "slurm.sh"
WORDS = ["+experiment=ablation_centerness", "data=coco", "data.root=/shared/coco"]
JOB = 4123
# Of the options that https://slurm.schedmd.com/sbatch.html documents, those that the file may use.
OPTIONS = {
    "--job-name": r"[\w-]+",
    "--nodes": r"\d+",
    "--ntasks-per-node": r"\d+",
    "--cpus-per-task": r"\d+",
    "--gpus-per-node": r"\d+",
    "--mem": r"\d+[KMGT]?",
    "--time": r"(\d+-)?\d+:\d\d:\d\d",
    "--exclusive": "",
    "--requeue": "",
    # B: the batch script alone.
    "--signal": r"(B:)?(USR1|TERM)@\d+",
    "--output": r"[\w%.-]+",
    "--open-mode": "append|truncate",
}


def test_the_options_are_sbatchs_own() -> None:
    lines = SCRIPT.read_text().splitlines()
    given = [line.removeprefix("#SBATCH ").partition("=") for line in lines if line.startswith("#SBATCH")]
    assert [name for name, _, value in given if not re.fullmatch(OPTIONS[name], value)] == []
    names = [name for name, _, _ in given]
    assert len(set(names)) == len(names)
    assert {"--requeue", "--exclusive"} <= set(names) and ("--open-mode", "=", "append") in given
    # Before the first command, after which sbatch reads none.
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(i for i, line in enumerate(lines) if line.startswith("#SBATCH")) < first


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda file: file.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run([linter("shellcheck"), "-x", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda file: file.name)
def test_bash_reads_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@dataclass
class Batch:
    """A job on two nodes, of which the first runs the script; `sweep` is what stands in for the sweep."""

    folder: Path
    sweep: str
    restarts: int | None = None
    # What stands in for srun: by default Ray starts and runs what comes after "--".
    srun: str = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'

    def start(self) -> "subprocess.Popen[str]":
        bin_folder = self.folder / "bin"
        (self.folder / ".venv" / "bin").mkdir(parents=True)
        (self.folder / ".venv" / "bin" / "activate").touch()
        # More names than a pipe holds.
        stand_in(
            bin_folder / "scontrol",
            f'[ $1 = show ] && seq -f node-%.0f 5000 || echo "$@" >> {self.folder / "scontrol"}',
        )
        stand_in(bin_folder / "srun", f'printf "%s\\n" "$RAY_AUTH_MODE" "${{#RAY_AUTH_TOKEN}}" "$@"\n{self.srun}')
        stand_in(bin_folder / "python", f'[ "$1" = -c ] && exec {sys.executable} "$@"\n{self.sweep}')
        values = {
            "SUBMIT_DIR": str(self.folder),
            "JOB_NODELIST": "node-[1-5000]",
            "JOB_NUM_NODES": "2",
            "JOB_ID": str(JOB),
            "CPUS_PER_TASK": "8",
            "GPUS_ON_NODE": "4",
        }
        if self.restarts is not None:
            values["RESTART_COUNT"] = str(self.restarts)
        return subprocess.Popen(
            ["bash", str(SCRIPT), *WORDS],
            env={"PATH": f"{bin_folder}:/usr/bin:/bin", **{f"SLURM_{name}": text for name, text in values.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def queued_again(self) -> bool:
        log = self.folder / "scontrol"
        return log.exists() and log.read_text() == f"requeue {JOB}\n"


@pytest.mark.ray
def test_ray_starts_on_every_node_and_the_sweep_once(tmp_path: Path) -> None:
    job = Batch(tmp_path, 'printf "%s\\n" python "$@"')
    output, errors = job.start().communicate(timeout=PATIENCE)
    mode, token_length, *command = output.splitlines()
    assert (mode, token_length) == ("token", "64"), errors
    start = command.index("symmetric-run")
    ray = command[start + 1 : command.index("--", start)]
    assert ray == ["--address", "node-1:6502", "--min-nodes", "2", "--num-cpus", "8", "--num-gpus", "4"]
    # What the entry of the step has started, in the end.
    sweep = command[-command[::-1].index("python") - 1 :]
    assert sweep == ["python", "-u", "orchestration/sweep.py", "cluster=many_nodes", *WORDS]
    composed(sweep[3:])
    # Ray itself reads its part, and keeps what is for `ray start`.
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    assert curate_and_validate_ray_start_args(ray) == ["--num-cpus", "8", "--num-gpus", "4"]


RUNS_UNTIL_ENDED = "trap 'exit {code}' TERM; touch up; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [(143, None, True), (4, 99, True), (143, 100, False), (0, None, False)],
    ids=["stopped", "restarted before", "restarted too often", "finished in the last moment"],
)
def test_a_job_whose_time_is_up_ends_its_sweep_and_is_queued_again(
    tmp_path: Path, code: int, restarts: int | None, again: bool
) -> None:
    job = Batch(tmp_path, RUNS_UNTIL_ENDED.format(code=code), restarts)
    process = job.start()
    wait_until(lambda: (tmp_path / "up").exists() or process.poll() is not None)
    # To the script alone, as --signal=B: does.
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert job.queued_again() == again


@pytest.mark.parametrize("code", [0, 1, 4])
def test_a_job_that_ends_by_itself_is_not_queued_again(tmp_path: Path, code: int) -> None:
    job = Batch(tmp_path, f"exit {code}")
    process = job.start()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert not job.queued_again()


def test_a_ray_that_does_not_start_is_a_failed_job(tmp_path: Path) -> None:
    # `ray symmetric-run` ends with 0 where `ray start` fails.
    process = Batch(tmp_path, "", srun="exit 0").start()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "Ray did not start" in errors


def test_time_that_is_up_before_the_sweep_began_ends_the_step(tmp_path: Path) -> None:
    waits = f"trap 'exit 143' TERM; touch {tmp_path / 'up'}; while :; do sleep 0.05; done"
    job = Batch(tmp_path, "", srun=waits)
    process = job.start()
    wait_until(lambda: (tmp_path / "up").exists() or process.poll() is not None)
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, errors
    assert job.queued_again()


@pytest.mark.ray
def test_symmetric_run_is_a_command_of_this_ray() -> None:
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run([str(ray), "symmetric-run", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--min-nodes" in done.stdout
