"""COCO: a JSON file for each split, or one for all; also as Roboflow exports it, one in each split's folder."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from fcos.annotations.coco_entries import CocoAnnotation
from fcos.annotations.coco_file import parse_coco_file
from fcos.annotations.json_text import json_text, parse_json
from fcos.config.choices import SPLITS
from fcos.errors import ConfigError, suggest
from fcos.formats.listing import Listing
from fcos.formats.readers.coco_files import annotation_files
from fcos.formats.split_names import split_of_folder, split_of_name
from fcos.formats.structures import LabelledBox, LabelledFolder, LabelledImage, Recognised, Remarks, SplitName

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


def choose_files(listing: Listing, given: Mapping[SplitName, str]) -> dict[SplitName, PurePosixPath]:
    """Return the file of each split by its name or folder; `given` are those that the user named, by path.

    Of several files of a split one that begins with `instances` is taken, as COCO's own folder also holds keypoints
    and captions. Raises ConfigError that lists the candidates and the key to set where more than one is left, and where
    a split has no file beside some whose names show none.
    """
    files = annotation_files(listing)
    chosen = {split: _given_file(listing, files, split, path) for split, path in given.items()}
    by_split: dict[SplitName, list[PurePosixPath]] = {}
    for file in files:
        split = split_of_name(file.name) or split_of_folder(file.parent) or "all"
        by_split.setdefault(split, []).append(file)
    questions = []
    for split, candidates in by_split.items():
        if split in chosen or (split == "all" and (chosen or len(by_split) > 1)):
            continue
        instances = [file for file in candidates if file.name.startswith("instances")]
        best = instances if len(instances) == 1 else candidates
        if len(best) == 1:
            chosen[split] = best[0]
        elif split != "test" or "val" not in (*by_split, *given):
            questions.append(_question(split, best))
    missing = [split for split in SPLITS if split not in (*chosen, *by_split)]
    if missing and len(by_split) > 1 and "all" in by_split and not given:
        questions.append(_question_of_rest(missing[0], by_split["all"]))
    if questions:
        raise ConfigError("\n".join(questions))
    return chosen


def _question(split: SplitName, candidates: list[PurePosixPath]) -> str:
    key = f"data.{'train' if split == 'all' else 'val' if split == 'test' else split}.annotations"
    whose = "all images" if split == "all" else f"the split {split}"
    return (
        f"{key}: {len(candidates)} files could hold {whose}: {', '.join(map(str, candidates))}; "
        f"name one, such as {key}={candidates[0]}"
    )


def _question_of_rest(split: SplitName, candidates: list[PurePosixPath]) -> str:
    """Return the question about a split without a file, where the names of others show no split."""
    key = f"data.{split}.annotations"
    without = "" if split == "train" else "; to leave them out, name data.train.annotations"
    return (
        f"{key}: no file is called {split}, and it could be one of {', '.join(map(str, candidates))}; "
        f"if so, give {key}={candidates[0]}{without}"
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


def remark_unused(listing: Listing, files: SplitFiles, unnamed: Iterable[PurePosixPath], remarks: Remarks) -> None:
    """Count the COCO files that are not in use, and the images that none in use names."""
    for file in annotation_files(listing):
        if file not in files.values():
            remarks.add("further files in COCO format are left out", str(file))
    for path in unnamed:
        remarks.add("images that no annotation file in use names are left out", str(path))


def read(listing: Listing, files: SplitFiles) -> LabelledFolder:
    """Read the chosen files; annotated images without a file are left out.

    A file that an entry names is never read for another one, whose own is missing. Crowds, areas and segmentations are
    kept. Raises DataError naming the file and the entry for anything malformed.
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
        named = {folder / name for name in parsed.names}
        images = []
        for image_id, name, (height, width) in zip(
            parsed.image_ids.tolist(), parsed.names, parsed.sizes.tolist(), strict=True
        ):
            path: PurePosixPath | None = folder / name
            if path not in listing.known:
                path = listing.find_image(name, folder, remarks, taken=named)
            if path is None:
                remarks.add("annotated images without a file are left out", name)
            else:
                images.append(LabelledImage(str(path), width, height, tuple(boxes.get(image_id, ()))))
        splits[split] = tuple(images)
    used = {PurePosixPath(image.name) for images in splits.values() for image in images}
    remark_unused(listing, files, (path for path in listing.images if path not in used), remarks)
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
