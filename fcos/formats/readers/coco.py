"""COCO: a JSON file for each split, or one for all; also as Roboflow exports it, one in each split's folder."""

import codecs
import gzip
import os
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from pydantic_core import from_json

from fcos.annotations.coco_entries import CocoAnnotation
from fcos.annotations.coco_file import parse_coco_file
from fcos.annotations.json_text import json_text, parse_json
from fcos.errors import ConfigError, suggest
from fcos.formats.listing import Listing
from fcos.formats.split_names import split_of_folder, split_of_name
from fcos.formats.structures import LabelledBox, LabelledFolder, LabelledImage, Recognised, Remarks, SplitName

# Files up to this size are parsed to see what they are; of larger ones the first and last bytes decide.
_PARSED_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 65536
_SECTIONS: Final = ("images", "annotations", "categories")
# Images whose names decide which folder a file is about.
_SAMPLE: Final = 200

SplitFiles = Mapping[SplitName, PurePosixPath]


def recognise(listing: Listing) -> Recognised | None:
    """Return what makes a folder COCO's: JSON files with images, annotations and categories."""
    files = annotation_files(listing)
    if not files:
        return None
    listed = str(files[0]) if len(files) == 1 else f"{len(files)} files such as {files[0]}"
    return Recognised("coco", f"{listed} with images, annotations and categories")


def annotation_files(listing: Listing) -> list[PurePosixPath]:
    """Return the JSON files, gzipped or not, that hold annotations in COCO format."""
    files = listing.with_suffix(".json") + [file for file in listing.with_suffix(".gz") if ".json" in file.suffixes]
    return [file for file in sorted(files) if _is_coco(listing, file)]


def choose_files(listing: Listing, given: Mapping[SplitName, str]) -> dict[SplitName, PurePosixPath]:
    """Return the file of each split by its name or folder; `given` are those that the user named, by path.

    Of several files of a split one that begins with `instances` is taken, as COCO's own folder also holds keypoints
    and captions. Raises ConfigError that lists the candidates and the key to set where more than one is left.
    """
    files = annotation_files(listing)
    chosen = {split: _given_file(listing, files, split, path) for split, path in given.items()}
    by_split: dict[SplitName, list[PurePosixPath]] = {}
    for file in files:
        split = split_of_name(file.name) or split_of_folder(file.parent) or "all"
        by_split.setdefault(split, []).append(file)
    unclear = []
    for split, candidates in by_split.items():
        if split in chosen or (split == "all" and (chosen or len(by_split) > 1)):
            continue
        instances = [file for file in candidates if file.name.startswith("instances")]
        best = instances if len(instances) == 1 else candidates
        if len(best) == 1:
            chosen[split] = best[0]
        elif split != "test" or "val" not in by_split:
            unclear.append((split, best))
    if unclear:
        raise ConfigError("\n".join(_question(split, candidates) for split, candidates in unclear))
    return chosen


def _question(split: SplitName, candidates: list[PurePosixPath]) -> str:
    key = f"data.{'train' if split == 'all' else 'val' if split == 'test' else split}.annotations"
    whose = "all images" if split == "all" else f"the split {split}"
    return (
        f"{key}: {len(candidates)} files could hold {whose}: {', '.join(map(str, candidates))}; "
        f"name one, such as {key}={candidates[0]}"
    )


def _given_file(listing: Listing, files: list[PurePosixPath], split: SplitName, path: str) -> PurePosixPath:
    file = PurePosixPath(path)
    if file.is_absolute() and file.is_relative_to(listing.root):
        file = file.relative_to(listing.root)
    if file in files:
        return file
    known = [str(each) for each in files]
    hint = suggest(path, known) or f"there are: {', '.join(known)}"
    raise ConfigError(f"data.{split}.annotations={path}: no COCO file of this name below {listing.root}; {hint}")


def images_folder(listing: Listing, file: PurePosixPath, split: SplitName, names: list[str]) -> PurePosixPath | None:
    """Return the folder below which most of the named images lie, the split's own where several do; None for none."""
    sample = names[:: max(1, len(names) // _SAMPLE)]
    folders = {folder for image in listing.images for folder in image.parents}

    def rank(folder: PurePosixPath) -> tuple[int, bool, bool, int, str]:
        found = sum(folder / name in listing.known for name in sample)
        return found, split_of_folder(folder) == split, folder == file.parent, -len(folder.parts), str(folder)

    best = max(folders, key=rank)
    return best if rank(best)[0] else None


def read(listing: Listing, files: SplitFiles) -> LabelledFolder:
    """Read the chosen files; annotated images without a file are left out.

    Crowds, areas and segmentations are kept. Raises DataError naming the file and the entry for anything malformed.
    """
    remarks = Remarks()
    splits: dict[SplitName, tuple[LabelledImage, ...]] = {}
    classes: dict[str, None] = {}
    for split, file in files.items():
        content = listing.read(file, "annotation file")
        parsed = parse_coco_file(content, listing.root / file)
        classes |= dict.fromkeys(parsed.classes)
        names = dict(zip(parsed.category_ids.tolist(), parsed.classes, strict=True))
        values = parse_json(json_text(content, listing.root / file), listing.root / file)
        boxes = _boxes(values["annotations"], names)
        folder = images_folder(listing, file, split, list(parsed.names)) or file.parent
        images = []
        for image_id, name, (height, width) in zip(
            parsed.image_ids.tolist(), parsed.names, parsed.sizes.tolist(), strict=True
        ):
            path: PurePosixPath | None = folder / name
            if path not in listing.known:
                path = listing.find_image(name, folder)
            if path is None:
                remarks.add("annotated images without a file are left out", name)
            else:
                images.append(LabelledImage(str(path), width, height, tuple(boxes.get(image_id, ()))))
        splits[split] = tuple(images)
    return LabelledFolder(listing.root, "coco", splits, tuple(classes), remarks.notes())


def _boxes(entries: list[CocoAnnotation], names: Mapping[int, str]) -> dict[int, list[LabelledBox]]:
    """Return the boxes by image id; the entries are validated."""
    boxes: dict[int, list[LabelledBox]] = {}
    for entry in entries:
        x, y, width, height = map(float, entry["bbox"])
        box = LabelledBox(
            names[entry["category_id"]], x, y, width, height,
            crowd=bool(entry.get("iscrowd", 0)), area=entry.get("area"), segmentation=entry.get("segmentation"),
        )  # fmt: skip
        boxes.setdefault(entry["image_id"], []).append(box)
    return boxes


def _is_coco(listing: Listing, file: PurePosixPath) -> bool:
    path = listing.root / file
    zipped = file.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if zipped else path.open("rb") as content:
            window = content.read(_PARSED_BYTES)
            if len(window) < _PARSED_BYTES:
                values = from_json(window.removeprefix(codecs.BOM_UTF8))
                return isinstance(values, dict) and all(isinstance(values.get(name), list) for name in _SECTIONS)
            if not zipped:
                content.seek(-_WINDOW_BYTES, os.SEEK_END)
                window += content.read()
    except (ValueError, OSError, EOFError, zlib.error):
        return False
    # A section in the middle of half a gigabyte is not in the window, its boxes are.
    named = [name for name in _SECTIONS if f'"{name}"'.encode() in window]
    return len(named) >= 2 and (zipped or b'"bbox"' in window) and b'"imagePath"' not in window
