"""The lock of the environment that belongs to a commit of this project."""

import re
import subprocess

from fcos.installation import checkout

LOCK = "requirements.lock"


def read_lock(commit: str) -> str | None:
    """Return requirements.lock of a commit; None where this checkout does not have that commit, or is none."""
    root = checkout()
    if root is None or not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    command = ["git", "-C", str(root), "show", f"{commit}:{LOCK}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
