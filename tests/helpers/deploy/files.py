"""The ready files for clusters, what they hold, and programs that stand in for those of a cluster."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fcos.installation import ROOT
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig

DEPLOY = ROOT / "orchestration" / "deploy"
ENTRIES = ("sweep.py", "train.py", "doctor.py")
# Of Kubernetes: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def documents_of(name: str, kind: str) -> list[dict[str, Any]]:
    """The documents of a kind in a file of several."""
    return [document for document in yaml.safe_load_all((DEPLOY / name).read_text()) if document["kind"] == kind]


def words_after_entry(command: str) -> list[str]:
    """The overrides of a command line that starts one of our entries."""
    arguments = shlex.split(command, comments=True)
    i = next(i for i, word in enumerate(arguments) if word.endswith(ENTRIES))
    return [word for word in arguments[i + 1 :] if not word.startswith("$(")]


def composed(words: list[str]) -> LabConfig:
    """What the overrides of a sweep resolve to."""
    return compose(check_overrides(words))


def amount(quantity: str | int) -> float:
    """A quantity of Kubernetes as a number."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity))
    assert match, quantity
    return float(match[1]) * UNITS[match[2]]


def linter(name: str) -> str:
    """Return the path of a linter of the group dev; without it the test is skipped."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; it is in the group dev")
    return found


def stand_in(path: Path, body: str) -> None:
    """Write a program of bash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
