"""report.json as programs read it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fcos.installation import ROOT

SCHEMA = ROOT / "docs" / "report.schema.json"


def read_report(folder: Path) -> Any:
    """Return report.json after checking it against the published schema."""
    content = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(content)
    return content
