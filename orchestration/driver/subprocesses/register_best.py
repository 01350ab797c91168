"""Register the best run of a sweep at its end, in a process of its own, as the command register.py does."""

import os
import subprocess
import sys

from orchestration.cli.console import Output


def register_best(run_id: str, name: str, tracking_uri: str, output: Output) -> bool:
    """Register the best finished run of a sweep, or a single run, by its run id; return whether that was done."""
    # -P: a folder `orchestration` where the command was started is not ours.
    command = [sys.executable, "-P", "-m", "orchestration.register", run_id, "--name", name]
    # Not as an argument: an address may hold a password, and everybody can list arguments.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    # Ctrl-C reaches this process alone, which ends the other one without a message from there.
    done = subprocess.run(
        command, env=environment, check=False, process_group=0, capture_output=True, text=True, errors="replace"
    )
    for line in done.stdout.splitlines():
        output.note(line)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"the command ended with code {done.returncode}"]
        output.note(f"tracking.register_as={name}: not registered: {reason[0].removeprefix('error: ')}", "red")
    return done.returncode == 0
