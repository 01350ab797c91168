"""Schemas of published file formats, of those that check-jsonschema holds."""

import subprocess
from pathlib import Path

from tests.helpers.deploy.files import linter


def find_violations(schema: str, *files: Path) -> str:
    """Return what breaks a schema in files, "" where nothing does; without check-jsonschema the test is skipped."""
    command = [linter("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
