"""Where a number comes from: commit, packages, machine."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "fcos-lab",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "faster-coco-eval",
    "pycocotools",
    "ray",
    "mlflow",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "safetensors",
    "scipy",
    "pandas",
)
UNKNOWN = "unknown"
# Names the commit where code travels without its repository: <sha1> or <sha1>-dirty.
COMMIT = "FCOS_LAB_COMMIT"


@dataclass(frozen=True)
class Commit:
    """The checked-out commit and whether files differ from it."""

    commit: str
    dirty: str


def git_commit(folder: Path) -> Commit:
    """The commit of a folder; outside a repository what FCOS_LAB_COMMIT says, else "unknown"."""
    commit = _git(folder, "rev-parse", "HEAD")
    stated = re.fullmatch(r"([0-9a-f]{7,64})(-dirty)?", os.environ.get(COMMIT, ""))
    if commit is None and stated is not None:
        return Commit(stated[1], str(stated[2] is not None).lower())
    changes = _git(folder, "status", "--porcelain")
    dirty = UNKNOWN if changes is None else str(bool(changes)).lower()
    return Commit(commit or UNKNOWN, dirty)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def package_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions; "absent" for what is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def usable_cpus() -> int:
    """Processors that this process may use, by affinity and by the container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def hardware(device: str) -> str:
    """The machine in words, such as `2 x Intel Xeon, Linux x86_64`."""
    text = f"{usable_cpus()} x {_processor()}, {platform.system()} {platform.machine()}"
    if device == "cuda":
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        text = f"{len(names)} x {names[0]}, {text}" if names else text
    return text


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "CPU"
