"""The code and package versions of this process, and whether they are those that a plan was made with."""

import importlib
import pkgutil
import platform

from orchestration.groups import ROOT
from orchestration.identity import DECIDING_PACKAGES, Evidence, code_digest
from orchestration.versions import package_versions

PACKAGE = "fcos"
# What this process has loaded whole: later edits and installations on disk do not reach it.
_loaded: list[Evidence] = []


class EvidenceDiffers(RuntimeError):
    """The code or the deciding packages where a training runs are not those of its plan."""


def evidence_here(workers: int = 1) -> Evidence:
    """Return the code digest and the deciding package versions of this installation."""
    return Evidence(code_digest(ROOT / PACKAGE), package_versions(DECIDING_PACKAGES), workers)


def check_evidence(planned: Evidence) -> None:
    """Load the whole package and raise EvidenceDiffers unless it is the code, with the versions, of the plan.

    Modules are imported where they are first used, so that a file edited in between would be picked up: all of them
    are loaded now, and the files on disk compared before and after. A process that passed keeps what it has loaded.
    """
    if planned in _loaded:
        return
    differences = [*_version_differences(planned), *code_differences(planned)]
    if differences:
        raise EvidenceDiffers(_message(differences))
    try:
        _load_all()
    finally:
        # A file that changed just now may also be what could not be loaded.
        if differences := code_differences(planned):
            raise EvidenceDiffers(_message(differences))
    _loaded.append(planned)


def _message(differences: list[str]) -> str:
    return (
        f"on {platform.node()} {'; '.join(differences)}: its numbers would stand under the code and versions of the "
        "plan; undo that, or start the command again for what is there now"
    )


def code_differences(planned: Evidence) -> list[str]:
    """Describe how the code on disk differs from the plan's; empty where it does not."""
    code = code_digest(ROOT / PACKAGE)
    if code == planned.code:
        return []
    return [f"the code of {PACKAGE}/ is not that of the plan (digest {code[:12]}, planned {planned.code[:12]})"]


def _version_differences(planned: Evidence) -> list[str]:
    here = package_versions(tuple(planned.versions))
    pairs = [(name, here[name], version) for name, version in planned.versions.items()]
    return [f"{name} is {found}, planned {version}" for name, found, version in pairs if found != version]


def _load_all() -> None:
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        # Running a module named so would start a command line.
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
