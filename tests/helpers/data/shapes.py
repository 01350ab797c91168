"""Drawn shapes as a data set in COCO format, and the words by which commands read them from there."""

import shutil
from pathlib import Path

from fcos.config.run import SyntheticConfig
from fcos.data.synthetic import synthetic_folder
from tests.helpers.servers.s3_server import BUCKET, S3Server

SHAPES = SyntheticConfig(image_size=64, train_images=24, val_images=6, object_size=(10, 40))
SPLITS = ("train", "val")
# The objects that a training reads.
NAMES = (
    *(f"{split}.json" for split in SPLITS),
    *(f"train/{number:06d}.png" for number in range(SHAPES.train_images)),
    *(f"val/{number:06d}.png" for number in range(SHAPES.val_images)),
)


def write_shapes(folder: Path) -> Path:
    """Write the data set into a folder, which is returned."""
    drawn = synthetic_folder(SHAPES, folder.parent / "drawn", None)
    shutil.copytree(drawn, folder)
    return folder


def words_of(root: str | Path) -> tuple[str, ...]:
    """The words of a training on the data set."""
    files = [f"data.{split}.{key}" for split in SPLITS for key in ("annotations", "images")]
    names = [f"{split}{suffix}" for split in SPLITS for suffix in (".json", "")]
    named = [f"{key}={name}" for key, name in zip(files, names, strict=True)]
    return ("data=coco", f"data.root={root}", *named, "data.short_sides=[64]", "data.long_side=64")


def upload_shapes(server: S3Server, folder: Path, key: str) -> None:
    """Put the data set of a folder into a server's bucket, below a key."""
    for name in NAMES:
        server.request("PUT", f"{BUCKET}/{key}/{name}", (folder / name).read_bytes())
