"""The files of a folder of labelled images: those that training reads, or what it refuses, to show what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fcos.annotations.coco_file import read_coco_file
from fcos.config.choices import SPLITS, Split
from fcos.config.run import SplitConfig
from fcos.errors import DataError
from fcos.formats.as_coco import FolderSettings, folder_as_coco
from fcos.formats.listing import list_folder
from fcos.formats.readers import coco
from fcos.formats.recognise import recognise


@dataclass(frozen=True)
class FolderFiles:
    """Annotation file and image folder of the splits that a folder has, relative to `root`."""

    root: str
    splits: Mapping[Split, SplitConfig]
    # How the folder was understood, and what was left out or changed in reading it.
    understood: tuple[str, ...]
    notes: tuple[str, ...] = ()
    # Why training refuses the folder as a whole; "" where it does not.
    refused: str = ""


def find_folder_files(root: Path, settings: FolderSettings, cache: Path) -> FolderFiles:
    """Return the files as data=auto reads them, converted where it converts them.

    Of a COCO folder that training refuses its own files are returned. Raises DataError and ConfigError for any other
    folder that cannot be read or is ambiguous.
    """
    try:
        folder = folder_as_coco(root, settings, cache)
    except DataError as error:
        splits = _coco_splits(root, settings, cache)
        if not splits:
            raise
        return FolderFiles(str(root), splits, ("coco, as its files are",), refused=str(error))
    return FolderFiles(
        folder.root,
        {"train": SplitConfig(**folder.train.model_dump()), "val": SplitConfig(**folder.val.model_dump())},
        (f"{folder.format}: {folder.found}", folder.splits),
        folder.notes,
    )


def _coco_splits(root: Path, settings: FolderSettings, cache: Path) -> Mapping[Split, SplitConfig]:
    """Return the COCO file and image folder of each split that a folder has; none where it is not COCO's."""
    listing = list_folder(root)
    if recognise(listing, settings.format).format != "coco":
        return {}
    files = coco.choose_files(listing, settings.files)
    splits: dict[Split, SplitConfig] = {}
    for split in SPLITS:
        # One file for all images is that of the training.
        file = files.get(split) or (files.get("all") if split == "train" else None)
        if file is None:
            continue
        try:
            names = list(read_coco_file(root / file, cache).names)
            folder = coco.images_folder(listing, file, split, names)
        except DataError:
            # Reported of the split, when it is read.
            folder = None
        splits[split] = SplitConfig(annotations=str(file), images=str(folder or "."))
    return splits
