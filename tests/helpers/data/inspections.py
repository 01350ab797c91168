"""Inspections of small COCO folders with the splits train and val."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcos.inspection.findings import Finding
from fcos.inspection.run import Inspection, inspect_data
from fcos.inspection.source import find_data

WORDS = (
    "data.train.annotations=train.json", "data.train.images=train", "data.val.annotations=val.json",
    "data.val.images=val", "data.short_sides=null", "data.long_side=null",
)  # fmt: skip


def inspected(root: Path, *words: str) -> Inspection:
    source = find_data([f"data.root={root}", *WORDS, f"data.cache_dir={root.parent / 'cache'}", *words])
    return inspect_data(source, lambda *_: None)


def finding(inspection: Inspection, title: str, split: str | None = "train") -> Finding:
    """Return the one finding of a title in a split."""
    (found,) = [each for each in inspection.findings if each.title == title and each.split == split]
    return found


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
