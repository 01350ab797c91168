"""Information about a node, collected by functions that run on the node (`doctor.py`).

The functions are pickled by value (`register_by_value`), since the code on the node may be another version: they may
depend on nothing but the standard library.
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

from orchestration.cluster import ray_token
from orchestration.cluster.ray_token import token_file
from orchestration.experiment import provenance
from orchestration.experiment.provenance import package_versions

# Packages of the experiment's own code, located on the node as its trainings import them.
CODE = ("fcos", "orchestration")
# As in fcos.data.shared_memory, which imports more than the standard library.
SHARED_MEMORY = Path("/dev/shm")
COUNT_DEVICES = "import torch; print(torch.cuda.device_count())"


class NodeActor:
    """An actor that runs functions on its node."""

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call a function on the node."""
        return function(*arguments)


def register_by_value() -> None:
    """Let Ray pickle the functions by value, not by a name to be imported on the node."""
    from ray import cloudpickle

    for module in (sys.modules[__name__], provenance, ray_token):
        cloudpickle.register_pickle_by_value(module)


def describe(
    folders: Sequence[str], files: Mapping[str, str], images: Sequence[str], count_gpus: bool
) -> dict[str, Any]:
    """Return name, versions, code digests, GPUs, token file mode, free space and data of this node.

    Free space is that of `folders` and of shared memory, in bytes. `files` (key -> path) are given as digests,
    the image folders `images` by whether they hold files.
    """
    return {
        "host": socket.gethostname(),
        "host_addresses": _addresses(socket.gethostname()),
        "gloo_interface": os.environ.get("GLOO_SOCKET_IFNAME", ""),
        "versions": {"python": platform.python_version(), **package_versions()},
        "code": _code(),
        "gpus": _gpus() if count_gpus else None,
        "token_mode": _token_mode(),
        "free": {folder: _free(Path(folder)) for folder in folders},
        "shared_memory": _shared_memory(),
        "digests": {key: _digest(Path(file)) for key, file in files.items()},
        "images": {folder: _holds_files(Path(folder)) for folder in images},
    }


def read_clock() -> float:
    """Return seconds since the epoch by the node's clock."""
    return time.time()


def write_marker(folder: str, name: str) -> str | None:
    """Write a file for the other nodes to read; return why that failed, None on success."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_text(name)
    except OSError as error:
        return error.strerror or str(error)
    return None


def visible_markers(folder: str, names: Sequence[str]) -> list[str]:
    """Return the markers of nodes that this node can read completely."""
    return [name for name in names if _read(Path(folder) / name) == name]


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _addresses(host: str) -> list[str]:
    """Return the addresses that a name resolves to on this node; none where it resolves to nothing."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _code() -> dict[str, str | None]:
    digests = {}
    for package in CODE:
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        digests[package] = _folder_digest(Path(folders[0])) if folders else None
    return digests


def _folder_digest(package: Path) -> str:
    """Return the SHA-256 over names and contents of all Python files below a folder."""
    total = hashlib.sha256()
    for file in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _gpus() -> int | None:
    """Return the GPUs that torch counts, in a subprocess, so that this process does not allocate a GPU."""
    try:
        done = subprocess.run([sys.executable, "-c", COUNT_DEVICES], capture_output=True, text=True, timeout=120)
        return int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _token_mode() -> str:
    """Return the mode of the token file in use; empty without one."""
    path = token_file()
    return "" if path is None else f"{path.stat().st_mode & 0o777:03o}"


def _free(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which may not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _shared_memory() -> int | None:
    """Return the free bytes of shared memory; None where it has no folder."""
    return _free(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None


def _digest(file: Path) -> str | None:
    """Return the SHA-256 of a file; None where it cannot be read."""
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
