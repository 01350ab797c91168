"""What formats with an annotation file for each image share: the image of a file, its size, the images by split."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from fcos.formats.listing import Listing
from fcos.formats.structures import FormatName, LabelledFolder, LabelledImage, Remarks, SplitName, classes_of

# (width, height)
Size = tuple[int, int]


def image_of_file(listing: Listing, file: PurePosixPath, named: str | None, remarks: Remarks) -> PurePosixPath | None:
    """Return the image that an annotation file names, else the one of its own name; None with a remark for neither."""
    path = listing.find_image(named, file.parent) if named and named.strip() else None
    if path is None:
        path = listing.image_of_stem(file.stem, file.parent)
    if path is None:
        remarks.add("annotation files without an image are left out", str(file))
    return path


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
