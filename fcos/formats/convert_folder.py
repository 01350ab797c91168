"""Write a folder of labelled images in any known format as COCO files."""

from dataclasses import dataclass
from pathlib import Path

from fcos.formats.as_coco import FolderSettings
from fcos.formats.listing import list_folder
from fcos.formats.recognise import read_folder, recognise
from fcos.formats.splits import training_splits
from fcos.formats.structures import FormatName
from fcos.formats.write_coco import write_splits


@dataclass(frozen=True)
class WrittenSplit:
    """The COCO file of a split, and how much it has."""

    name: str
    file: Path
    images: int
    boxes: int


@dataclass(frozen=True)
class ConvertedFolder:
    """What a folder was taken for, how it was split, what was left out, and the files that were written."""

    format: FormatName
    # What shows the format, in words.
    found: str
    # Where the splits come from, in words.
    reason: str
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[WrittenSplit, ...]


def convert_folder(root: Path, output: Path, settings: FolderSettings, *, overwrite: bool) -> ConvertedFolder:
    """Write train.json, val.json and, of a folder that has one, test.json.

    Raises ConfigError and DataError as data=auto does, and ConfigError for files that would be overwritten.
    """
    listing = list_folder(root, settings.exif_orientation)
    recognised = recognise(listing, settings.format)
    folder = read_folder(listing, recognised.format, settings.files)
    splits = training_splits(folder, settings.val_fraction, settings.seed)
    images = {"train": splits.train, "val": splits.val}
    if folder.splits.get("test") and folder.splits["test"] != splits.val:
        images["test"] = folder.splits["test"]
    files = write_splits(output, images, folder, overwrite=overwrite)
    written = tuple(
        WrittenSplit(name, file, len(of_split), sum(len(image.boxes) for image in of_split))
        for (name, of_split), file in zip(images.items(), files, strict=True)
    )
    return ConvertedFolder(recognised.format, recognised.found, splits.reason, folder.notes, folder.classes, written)
