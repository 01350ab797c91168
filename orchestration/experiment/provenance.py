"""Provenance of a number: code, commit, packages, machine."""

import importlib
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fcos.installation import ROOT
from orchestration.config.processors import usable_cpus
from orchestration.experiment.code_digest import ENTRIES, PACKAGE, code_digest, deciding_modules

# Packages whose versions can move a number.
DECIDING_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "hotcoco")


@dataclass(frozen=True)
class Provenance:
    """Code and package versions that a result rests on, beside config, data and seed."""

    # Digest of the code; see code_digest.
    code: str
    versions: Mapping[str, str]
    # Processes that share a training; counts only where their number decides the result.
    workers: int = 1
    task: str = "train"


PACKAGES = (
    "fcos-lab",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "hotcoco",
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


def git_commit(folder: Path | None) -> Commit:
    """Return the commit of a checkout; without its repository the one of FCOS_LAB_COMMIT, else "unknown".

    None stands for an installed wheel: a repository around its environment is another project's.
    """
    commit = None if folder is None else _git(folder, "rev-parse", "HEAD")
    stated = re.fullmatch(r"([0-9a-f]{7,64})(-dirty)?", os.environ.get(COMMIT, ""))
    if commit is None and stated is not None:
        return Commit(stated[1], str(stated[2] is not None).lower())
    changes = None if folder is None else _git(folder, "status", "--porcelain")
    dirty = UNKNOWN if changes is None else str(bool(changes)).lower()
    return Commit(commit or UNKNOWN, dirty)


def commit_notes(folder: Path | None) -> list[str]:
    """Return a note where the runs of an installed wheel cannot name the commit of their code, else none."""
    if folder is not None or git_commit(folder).commit != UNKNOWN:
        return []
    installed = package_versions(("fcos-lab",))["fcos-lab"]
    return [
        f"commit unknown: fcos-lab {installed} is an installed wheel, and its runs are recorded with that version and "
        f"the digest of its code; {COMMIT}=<commit> in the environment names the commit"
    ]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def package_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return installed versions; "absent" for what is not installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


def hardware(device: str) -> str:
    """Describe the machine, such as `2 x Intel Xeon, Linux x86_64`."""
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


# What this process has loaded whole: later edits and installations on disk do not reach it.
_loaded: list[Provenance] = []


class ProvenanceDiffers(RuntimeError):
    """The code or the deciding packages where a training runs are not those of its plan."""


def current_provenance(task: str = "train", workers: int = 1) -> Provenance:
    """Return the code digest and the deciding package versions of this installation."""
    return Provenance(code_digest(ROOT, ENTRIES[task]), package_versions(DECIDING_PACKAGES), workers, task)


def check_provenance(planned: Provenance) -> None:
    """Load the deciding code, and raise ProvenanceDiffers unless code and versions are those of the plan.

    Modules are imported where they are first used, so that a file edited in between would be picked up: all of them
    are loaded now, and the files on disk compared before and after. A process that passed keeps what it has loaded.
    """
    if planned in _loaded:
        return
    differences = [*_version_differences(planned), *code_differences(planned)]
    if differences:
        raise ProvenanceDiffers(_message(differences))
    try:
        _load_all(planned.task)
    finally:
        # A file that changed just now may also be what could not be loaded.
        if differences := code_differences(planned):
            raise ProvenanceDiffers(_message(differences))
    _loaded.append(planned)


def _message(differences: list[str]) -> str:
    return (
        f"on {platform.node()} {'; '.join(differences)}: its numbers would stand under the code and versions of the "
        "plan; undo that, or start the command again for what is there now"
    )


def code_differences(planned: Provenance) -> list[str]:
    """Describe how the code on disk differs from the plan's; empty where it does not."""
    code = code_digest(ROOT, ENTRIES[planned.task])
    if code == planned.code:
        return []
    return [f"the code of {PACKAGE}/ is not that of the plan (digest {code[:12]}, planned {planned.code[:12]})"]


def _version_differences(planned: Provenance) -> list[str]:
    here = package_versions(tuple(planned.versions))
    pairs = [(name, here[name], version) for name, version in planned.versions.items()]
    return [f"{name} is {found}, planned {version}" for name, found, version in pairs if found != version]


def _load_all(task: str) -> None:
    for module in deciding_modules(ROOT, ENTRIES[task]):
        importlib.import_module(module)
