"""axe-core in an open page; without its file tests are skipped by name.

npm pack axe-core && tar xzf axe-core-*.tgz package/axe.min.js && export FCOS_LAB_AXE=$PWD/package/axe.min.js
"""

import os
from pathlib import Path
from typing import Any

import pytest

GRAVE = ("serious", "critical")


def find_violations(page: Any) -> list[str]:
    """Return a line for each serious or critical rule that an open page breaks, with its first element."""
    file = os.environ.get("FCOS_LAB_AXE")
    if file is None:
        pytest.skip("no axe-core here; FCOS_LAB_AXE names its axe.min.js")
    page.evaluate(Path(file).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {len(each['nodes'])} elements, {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in GRAVE
    ]
