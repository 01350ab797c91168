"""fcos.convert: a folder of labelled images in any known format as COCO files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fcos.api.user_errors import check_choice, raises_config_error
from fcos.errors import ConfigError
from fcos.formats.as_coco import FolderSettings
from fcos.formats.convert_folder import convert_folder
from fcos.formats.structures import FormatName, SplitName

# Keys of data=auto in its messages -> the arguments here.
_ARGUMENTS = (
    ("data.train.annotations", "files['train']"),
    ("data.val.annotations", "files['val']"),
    ("auto.", ""),
)


@dataclass(frozen=True)
class Converted:
    """The files that were written, and the settings of a training on them.

    files: by split; val validates, test is there where the folder has one. changes: for `configure(data="coco")`.
    notes: how the folder was understood, and what was left out.
    """

    format: FormatName
    classes: tuple[str, ...]
    files: Mapping[str, Path]
    changes: Mapping[str, str]
    notes: tuple[str, ...]


@raises_config_error
def convert(
    folder: str | Path,
    output: str | Path,
    *,
    format: FormatName | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
    files: Mapping[Literal["train", "val"], str] | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write a folder of COCO, Pascal VOC, YOLO, CVAT or LabelMe as COCO files.

    output: the folder for train.json, val.json and test.json; images stay where they are. format: where the folder
    holds several. val_fraction: the share of the images that validates, drawn by split_seed; only without a split of
    the folder's own. files: the COCO file of train and val, where several could be meant.
    Raises ConfigError for a folder that is not understood, and for files that are there already without `overwrite`.

        >>> converted = fcos.convert(labelled, folder / "coco", val_fraction=0.5)
        >>> converted.format, converted.classes, sorted(converted.files)
        ('yolo', ('cat', 'dog', 'red fox'), ['train', 'val'])
        >>> config = fcos.configure(data="coco", changes={**converted.changes, "data.short_sides": [64]})
    """
    if format is not None:
        check_choice("format", format, get_args(FormatName))
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ConfigError(f"val_fraction={val_fraction}: must lie between 0 and 1")
    given: dict[SplitName, str] = {}
    for split, file in (files or {}).items():
        check_choice("files", split, ("train", "val"))
        given[split] = file
    root = Path(folder).expanduser().absolute()
    settings = FolderSettings(format, val_fraction, split_seed, given)
    try:
        done = convert_folder(root, Path(output), settings, overwrite=overwrite)
    except ConfigError as error:
        raise type(error)(_with_arguments(str(error))) from None
    paths = {each.name: each.file for each in done.splits}
    changes = {"data.root": str(root)}
    for name in ("train", "val"):
        changes |= {f"data.{name}.annotations": str(paths[name].absolute()), f"data.{name}.images": "."}
    notes = (f"{done.format}: {done.found}", f"splits: {done.reason}", *done.notes)
    return Converted(done.format, done.classes, paths, changes, notes)


def _with_arguments(message: str) -> str:
    for key, argument in _ARGUMENTS:
        message = message.replace(key, argument)
    return message
