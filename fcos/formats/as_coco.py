"""A folder of any known format as COCO files for training: its own where they serve, else converted into the cache."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict

from fcos.annotations.coco_file import read_coco_file
from fcos.annotations.conversion_notes import write_conversion_notes
from fcos.config.choices import SPLITS, ExifOrientation
from fcos.errors import DataError
from fcos.formats.listing import Listing, list_folder, may_hold_annotations
from fcos.formats.readers import coco
from fcos.formats.recognise import notes_on_files, read_folder, recognise
from fcos.formats.splits import TrainingSplits, training_splits
from fcos.formats.structures import FormatName, LabelledFolder, Remarks, SplitName
from fcos.formats.write_coco import coco_text
from fcos.images import open_image
from fcos.storage.files import write_atomically
from fcos.storage.reading import file_stat, raise_cache_error, read_digest, read_model

CACHE_FOLDER: Final = "folders"
OUTCOME: Final = "outcome.json"
# A link to the folder of the images, so that names and paths are the same wherever that lies.
IMAGES: Final = "images"


@dataclass(frozen=True)
class FolderSettings:
    """What a user may set about a folder, which is detected otherwise."""

    format: FormatName | None = None
    val_fraction: float | None = None
    seed: int = 0
    # COCO files by split, as paths below the folder.
    files: Mapping[SplitName, str] = field(default_factory=dict)
    # data.exif_orientation, which decides the size of an image where the annotations do not.
    exif_orientation: ExifOrientation = "ignore"


class SplitLocation(BaseModel):
    """Annotation file and image folder of a split, relative to the root."""

    model_config = ConfigDict(frozen=True)

    annotations: str
    images: str


class CocoFolder(BaseModel):
    """Where the COCO files of a folder are, and how it was understood."""

    model_config = ConfigDict(frozen=True)

    root: str
    train: SplitLocation
    val: SplitLocation
    format: FormatName
    # What the format was recognised by.
    found: str
    # Where the splits come from, and the overrides that set it by hand.
    splits: str
    splits_by_hand: tuple[str, ...]
    # What was left out, changed or taken for granted.
    notes: tuple[str, ...]
    converted: bool


def folder_as_coco(root: Path, settings: FolderSettings, cache: Path) -> CocoFolder:
    """Return COCO files for a folder's training and validation images.

    COCO files of both splits with the same categories, whose images all exist, are used as they are. Everything else
    is converted once into the cache folder, keyed by the content of the annotation files, the sizes and times of the
    images, the settings and the code that reads them; the images stay where they are.

    Raises DataError and ConfigError for what cannot be read or is ambiguous, naming file or key, rule and way out.
    """
    listing = list_folder(root, settings.exif_orientation)
    recognised = recognise(listing, settings.format)
    if recognised.format == "coco":
        usable = _usable_as_is(listing, settings, cache, recognised.found)
        if usable is not None:
            return usable
    folder = cache / CACHE_FOLDER / _key(listing, recognised.format, settings)
    outcome = _load(folder)
    if outcome is not None:
        return outcome
    labelled = read_folder(listing, recognised.format, settings.files)
    splits = training_splits(labelled, settings.val_fraction, settings.seed)
    require_boxes(labelled, splits)
    result = CocoFolder(
        root=str(folder),
        train=SplitLocation(annotations="train.json", images=IMAGES),
        val=SplitLocation(annotations="val.json", images=IMAGES),
        format=labelled.format,
        found=recognised.found,
        splits=splits.reason,
        splits_by_hand=splits.by_hand,
        notes=(*labelled.notes, *_notes_on_classes(labelled)),
        converted=True,
    )
    try:
        _store(folder, result, labelled, splits)
    except OSError as error:
        raise_cache_error(cache, error)
    return result


def require_boxes(folder: LabelledFolder, splits: TrainingSplits) -> None:
    """Raise DataError where the images of a split have no box at all."""
    for images, use in ((splits.train, "training"), (splits.val, "validation")):
        if not any(image.boxes for image in images):
            reasons = f": {'; '.join(folder.notes)}" if folder.notes else ""
            raise DataError(
                f"{folder.root}: the {len(images)} {use} images have no box at all, and training and validation need "
                f"an image with boxes each{reasons}"
            )


def _usable_as_is(listing: Listing, settings: FolderSettings, cache: Path, found: str) -> CocoFolder | None:
    """Return the folder's own COCO files where data=coco can read them, or None."""
    files = coco.choose_files(listing, settings.files)
    if "train" not in files or "val" not in files or settings.val_fraction is not None:
        return None
    locations, categories, named = {}, [], set[PurePosixPath]()
    for split in SPLITS:
        parsed = read_coco_file(listing.root / files[split], cache)
        folder = coco.images_folder(listing, files[split], split, list(parsed.names))
        if folder is None or any(folder / name not in listing.known for name in parsed.names):
            return None
        categories.append((parsed.category_ids.tolist(), parsed.classes))
        locations[split] = SplitLocation(annotations=str(files[split]), images=str(folder))
        named |= {folder / name for name in parsed.names}
    if categories[0] != categories[1]:
        return None
    unused = f"; not used: {files['test']}" if "test" in files else ""
    return CocoFolder(
        root=str(listing.root), **locations, format="coco", found=found,
        splits=f"the folder's own splits, {files['train']} and {files['val']}{unused}",
        splits_by_hand=tuple(f"data.{split}.annotations={files[split]}" for split in SPLITS),
        notes=_notes_on_unused(listing, files, list(locations.values()), named, cache), converted=False,
    )  # fmt: skip


def _notes_on_unused(
    listing: Listing,
    files: coco.SplitFiles,
    locations: Sequence[SplitLocation],
    named: Collection[PurePosixPath],
    cache: Path,
) -> tuple[str, ...]:
    """Return notes on annotation files and images of a COCO folder that are not used, but for those of test."""
    remarks = Remarks()
    folders = {PurePosixPath(location.images) for location in locations}
    unnamed = [image for image in listing.images if image not in named and not folders.isdisjoint(image.parents)]
    if unnamed and "test" in files:
        of_test = _named_by_test(listing, files["test"], cache)
        unnamed = [image for image in unnamed if image not in of_test]
    coco.remark_unused(listing, files, unnamed, remarks)
    return (*remarks.notes(), *notes_on_files(listing, "coco"))


def _named_by_test(listing: Listing, file: PurePosixPath, cache: Path) -> set[PurePosixPath]:
    """Return the images that the file of test names; none where it is malformed, as it is not used."""
    try:
        names = read_coco_file(listing.root / file, cache).names
    except DataError:
        return set()
    folder = coco.images_folder(listing, file, "test", list(names))
    return set() if folder is None else {folder / name for name in names}


def _notes_on_classes(folder: LabelledFolder) -> list[str]:
    used = {box.label for images in folder.splits.values() for image in images for box in image.boxes}
    unused = [name for name in folder.classes if name not in used]
    return [f"{len(unused)} of {len(folder.classes)} classes have no box: {', '.join(unused[:5])}"] if unused else []


def _key(listing: Listing, name: FormatName, settings: FolderSettings) -> str:
    """Return the cache key of a conversion."""
    key = hashlib.sha256()
    for module in (*sorted(Path(__file__).parent.rglob("*.py")), Path(open_image.__file__)):
        key.update(module.read_bytes())
    files = sorted(settings.files.items())
    rule = settings.exif_orientation
    choices = [str(listing.root.resolve()), name, settings.val_fraction, settings.seed, files, rule]
    key.update(json.dumps(choices).encode())
    for links in (listing.folder_links, listing.lost_links):
        key.update(json.dumps([str(link) for link in links]).encode())
    images = frozenset(listing.images)
    for file in listing.files:
        if file in images:
            stat = file_stat(listing.root / file)
            size_and_time = None if stat is None else [stat.st_size, stat.st_mtime_ns]
            key.update(json.dumps([str(file), size_and_time]).encode())
            continue
        key.update(json.dumps(str(file)).encode())
        if may_hold_annotations(file):
            key.update(read_digest(listing.root / file, "annotation file").encode())
    return key.hexdigest()[:32]


def _load(folder: Path) -> CocoFolder | None:
    """Return the record of a conversion, None where it is missing or damaged; raises DataError and ReadError."""
    return read_model(folder / OUTCOME, CocoFolder, "record of a conversion")


def _store(folder: Path, result: CocoFolder, labelled: LabelledFolder, splits: TrainingSplits) -> None:
    """Write a conversion under a temporary name, then under its own: a folder of that name is whole."""
    temporary = folder.with_name(f".{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        converted = {temporary / "train.json": splits.train, temporary / "val.json": splits.val}
        for file, images in converted.items():
            write_atomically(file, coco_text(images, labelled.classes))
        (temporary / IMAGES).symlink_to(labelled.root.resolve(), target_is_directory=True)
        write_conversion_notes(temporary, result.notes, converted)
        write_atomically(temporary / OUTCOME, result.model_dump_json(indent=1))
        if folder.exists() and _load(folder) is None:
            shutil.rmtree(folder)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process may have been faster, with the same content.
            if _load(folder) is None:
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
