"""python -m fcos convert FOLDER --output OUT: write a folder of any known format as COCO files."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from fcos.cli.options import Commands, fraction
from fcos.errors import ConfigError


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the parser of all commands."""
    from fcos.config.choices import ExifOrientation
    from fcos.formats.structures import FormatName

    parser = commands.add_parser("convert", help="write a folder of labelled images in any format as COCO files")
    parser.add_argument("folder", type=Path, help="COCO, Pascal VOC, YOLO, CVAT or LabelMe")
    parser.add_argument("--output", type=Path, required=True, help="folder for train.json, val.json and test.json")
    parser.add_argument("--format", choices=get_args(FormatName), help="where the folder holds several")
    parser.add_argument("--val-fraction", type=fraction, help="share of the images that validate; only without a split")
    parser.add_argument("--split-seed", type=int, default=0, help="seed by which those are drawn")
    for split in ("train", "val"):
        parser.add_argument(
            f"--{split}", metavar="FILE", help=f"the COCO file of {split}, where several could be meant"
        )
    parser.add_argument(
        "--exif-orientation", choices=get_args(ExifOrientation), default="ignore",
        help="apply: sizes that only the images have are those of the turned images, as data.exif_orientation=apply "
        "has them in training",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in the output folder")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert the folder and print what was found, left out and written.

    Raises ConfigError and DataError as data=auto does, and ConfigError for files that would be overwritten.
    """
    from fcos.formats.as_coco import FolderSettings
    from fcos.formats.convert_folder import convert_folder
    from fcos.formats.structures import SplitName

    given: dict[SplitName, str] = {}
    if options.train is not None:
        given["train"] = options.train
    if options.val is not None:
        given["val"] = options.val
    settings = FolderSettings(options.format, options.val_fraction, options.split_seed, given, options.exif_orientation)
    root = options.folder.expanduser().absolute()
    try:
        converted = convert_folder(root, options.output, settings, overwrite=options.overwrite)
    except ConfigError as error:
        raise type(error)(_as_options(str(error))) from None
    print(f"{root}: {converted.format}, {converted.found}")
    print(f"splits: {converted.reason}")
    for note in converted.notes:
        print(f"note: {note}")
    for split in converted.splits:
        print(f"written: {split.file}, {split.images} images, {split.boxes} boxes, {len(converted.classes)} classes")
    keys = _data_keys(root, [split.file for split in converted.splits], options.exif_orientation)
    print(f"train on it: python orchestration/train.py data=coco {keys}")
    return 0


def _data_keys(root: Path, files: Sequence[Path], exif_orientation: str) -> str:
    """Return the keys of data=coco for the files of train and val, as words for a shell."""
    words = [f"data.root={root}"]
    for name, file in zip(("train", "val"), files, strict=False):
        words += [f"data.{name}.annotations={file.absolute()}", f"data.{name}.images=."]
    if exif_orientation != "ignore":
        words.append(f"data.exif_orientation={exif_orientation}")
    return shlex.join(words)


def _as_options(message: str) -> str:
    """Return a message of data=auto with the options of this command in place of keys."""
    for key, option in (
        ("data.train.annotations=", "--train="),
        ("data.val.annotations=", "--val="),
        ("data.train.annotations", "--train"),
        ("data.val.annotations", "--val"),
        ("auto.val_fraction=", "--val-fraction="),
        ("auto.split_seed=", "--split-seed="),
        ("auto.format=", "--format="),
    ):
        message = message.replace(key, option)
    return message
