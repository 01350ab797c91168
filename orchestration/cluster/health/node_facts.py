"""What a node says of itself when it is asked (`doctor.py`).

These functions travel to the node as they stand here (`by_value`), since its own copy of the code may be another one:
nothing but the standard library may be needed to run them.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.experiment import provenance
from orchestration.experiment.provenance import package_versions

# Packages of the experiment's own code, looked up on the node as its trainings will find them.
CODE = ("fcos", "orchestration")
# As in fcos.data.shared_memory, which brings torch along.
SHARED_MEMORY = Path("/dev/shm")
COUNT_DEVICES = "import torch; print(torch.cuda.device_count())"


class NodeProbe:
    """An actor on one node that answers what it is asked."""

    def ask(self, question: Any, *arguments: Any) -> Any:
        """Call a function on the node."""
        return question(*arguments)


def by_value() -> None:
    """Let Ray send what is asked as it stands here, not as a name to be looked up on the node."""
    from ray import cloudpickle

    for module in (sys.modules[__name__], provenance):
        cloudpickle.register_pickle_by_value(module)


def describe(
    folders: Sequence[str], files: Mapping[str, str], images: Sequence[str], count_gpus: bool
) -> dict[str, Any]:
    """Versions, code, GPUs, token file, space below `folders`, digests of `files` by key, `images` folders in use.

    And how much shared memory is free.
    """
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **package_versions()},
        "code": _code(),
        "gpus": _gpus() if count_gpus else None,
        "token_mode": _token_mode(),
        "free": {folder: _free(Path(folder)) for folder in folders},
        "shared_memory": _shared_memory(),
        "digests": {key: _digest(Path(file)) for key, file in files.items()},
        "images": {folder: _holds_files(Path(folder)) for folder in images},
    }


def clock() -> float:
    """Seconds since the epoch by the node's own clock."""
    return time.time()


def leave_mark(folder: str, name: str) -> str | None:
    """Write a file for the other nodes to read; returns why that is not possible, or None."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_text(name)
    except OSError as error:
        return error.strerror or str(error)
    return None


def marks_seen(folder: str, names: Sequence[str]) -> list[str]:
    """Which of the nodes' files this node reads whole."""
    return [name for name in names if _read(Path(folder) / name) == name]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _code() -> dict[str, str | None]:
    found = {}
    for package in CODE:
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        found[package] = _folder_digest(Path(places[0])) if places else None
    return found


def _folder_digest(package: Path) -> str:
    """Return the SHA-256 over names and contents of all Python files below a folder."""
    total = hashlib.sha256()
    for file in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _gpus() -> int | None:
    """What torch counts, in a process of its own: this one shall not hold a GPU."""
    try:
        done = subprocess.run([sys.executable, "-c", COUNT_DEVICES], capture_output=True, text=True, timeout=120)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _token_mode() -> str:
    """Mode of the token file in use; empty where the token lies in no file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return ""
    # Not Path.home(), which raises for a user without one.
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111
    return f"{path.stat().st_mode & 0o777:03o}" if path.is_file() else ""


def _free(folder: Path) -> int:
    """Free bytes on the disk that a folder is on, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _shared_memory() -> int | None:
    """Bytes of it that are free, None where there is no folder of it."""
    return _free(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None


def _digest(file: Path) -> str | None:
    """sha256 of a file, None where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _holds_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False
