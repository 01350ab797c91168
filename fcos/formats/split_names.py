"""Names of folders and files that mean a split."""

import re
from pathlib import PurePosixPath
from typing import Final

from fcos.formats.structures import SplitName

SPLIT_WORDS: Final[dict[str, SplitName]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_of_name(name: str) -> SplitName | None:
    """Return the split that the name of a file or folder means, such as instances_train2017; None for none or two."""
    found = {SPLIT_WORDS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def split_of_folder(folder: PurePosixPath) -> SplitName | None:
    """Return the split that the folders of a path name, the outermost first; None where none does."""
    for part in folder.parts:
        split = split_of_name(part)
        if split is not None:
            return split
    return None


def split_of_path(file: PurePosixPath) -> SplitName:
    """Return the split of a file by its folders; `all` where none is named."""
    return split_of_folder(file.parent) or "all"
