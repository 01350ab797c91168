"""What formats with an annotation file for each image share: the image of a file, its size, the images by split."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

from fcos.formats.listing import Listing, folded
from fcos.formats.structures import FormatName, LabelledFolder, LabelledImage, Remarks, SplitName, classes_of

# (width, height)
Size = tuple[int, int]
_OWN_NAME: Final = "annotation files that name a missing image are taken for the image of the file's own name"
_OTHER_NAME: Final = "annotation files beside an image of the same name that name another are taken for the other one"


def image_of_file(listing: Listing, file: PurePosixPath, named: str | None, remarks: Remarks) -> PurePosixPath | None:
    """Return the image that an annotation file names, else the one of its own name; None with a remark for neither.

    Where the named one is missing, or both are there and differ, a remark counts which is taken.
    """
    own = listing.image_of_stem(file.stem, file.parent)
    path = listing.find_image(named, file.parent, remarks) if named and named.strip() else own
    if own is not None and path is None and _last_part(named) != file.stem:
        remarks.add(_OWN_NAME, f"{file} names {named!r}")
    elif own is not None and path is not None and folded(path.stem) != folded(file.stem):
        remarks.add(_OTHER_NAME, f"{file} names {named!r}")
    path = path or own
    if path is None:
        remarks.add("annotation files without an image are left out", str(file))
    return path


def _last_part(named: str | None) -> str:
    return re.split(r"[/\\]", named or "")[-1]


def image_size(
    listing: Listing, file: PurePosixPath, image: PurePosixPath, given: Size | None, remarks: Remarks
) -> Size | None:
    """Return the size that an annotation file gives, else the image's; None with a remark where it does not open."""
    if given is not None:
        return given
    size = listing.image_size(image)
    if size is None:
        remarks.add("images that do not open are left out", str(image))
    else:
        remarks.add("annotation files without the image's size, which is taken from the image", str(file))
    return size


def read_images(
    listing: Listing,
    format_name: FormatName,
    files: Iterable[PurePosixPath],
    read_image: Callable[[PurePosixPath], LabelledImage | None],
    splits_of: Callable[[PurePosixPath, LabelledImage], Sequence[SplitName]],
    remarks: Remarks,
) -> LabelledFolder:
    """Read every annotation file into the splits of its image.

    Left out with a remark are second files of an image, and images without a file: only labelled images are known to
    have no further objects.
    """
    splits: dict[SplitName, list[LabelledImage]] = {}
    used: set[str] = set()
    for file in files:
        image = read_image(file)
        if image is None:
            continue
        if image.name in used:
            remarks.add("annotation files of an image that has one already are left out", str(file))
            continue
        used.add(image.name)
        for split in splits_of(file, image):
            splits.setdefault(split, []).append(image)
    for path in listing.images:
        if str(path) not in used:
            remarks.add("images without an annotation file are left out", str(path))
    classes = classes_of(image for images in splits.values() for image in images)
    frozen = {split: tuple(images) for split, images in splits.items()}
    return LabelledFolder(listing.root, format_name, frozen, classes, remarks.notes())
