"""Find out the format of a folder of labelled images, and read it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol, get_args

from fcos.errors import ConfigError, DataError
from fcos.formats.listing import Listing
from fcos.formats.readers import coco, cvat, labelme, voc, yolo
from fcos.formats.structures import FormatName, LabelledFolder, Recognised, Remarks, SplitName

LOOKED_FOR: Final = (
    "COCO (JSON with images, annotations, categories), Pascal VOC (XML with <annotation>), YOLO (text files "
    "of numbers), CVAT for images 1.1 (XML with <annotations>), LabelMe (JSON with shapes and imagePath)"
)


class Reader(Protocol):
    """The module of a format whose folders need no choice of files."""

    def recognise(self, listing: Listing) -> Recognised | None:
        """Return what makes a folder of this format, or None."""

    def read(self, listing: Listing) -> LabelledFolder:
        """Read all annotations."""


READERS: Final[Mapping[FormatName, Reader]] = {"voc": voc, "yolo": yolo, "cvat": cvat, "labelme": labelme}


def recognise(listing: Listing, given: FormatName | None = None) -> Recognised:
    """Return the format of a folder and what shows it; `given` is the user's choice among those found.

    Raises DataError for a folder of no known format, and ConfigError that lists the candidates where several fit.
    """
    if given is not None:
        # The others are not looked at: what is broken among them does not matter.
        chosen = recognise_one(listing, given)
        if chosen is not None:
            return chosen
    every = [recognise_one(listing, name) for name in get_args(FormatName)]
    found = [recognised for recognised in every if recognised is not None]
    if given is not None:
        others = ", ".join(f"{each.format}: {each.found}" for each in found) or "no other format either"
        raise ConfigError(f"auto.format={given}: {listing.root} holds nothing of this format; found {others}")
    if not found:
        raise DataError(
            f"{listing.root}: {len(listing.images)} images and no annotations of a known format; looked for "
            f"{LOOKED_FOR}"
        )
    if len(found) > 1:
        listed = "; ".join(f"{each.format}: {each.found}" for each in found)
        choices = " or ".join(f"auto.format={each.format}" for each in found)
        raise ConfigError(f"{listing.root}: holds annotations in several formats ({listed}); choose {choices}")
    return found[0]


def recognise_one(listing: Listing, name: FormatName) -> Recognised | None:
    """Return what makes a folder of one format, or None."""
    return coco.recognise(listing) if name == "coco" else READERS[name].recognise(listing)


def read_folder(listing: Listing, name: FormatName, given_files: Mapping[SplitName, str]) -> LabelledFolder:
    """Read a folder of a recognised format; `given_files` are COCO files that the user named, by split.

    Raises DataError naming file and rule, and ConfigError for a file that is given and not there.
    """
    if given_files and name != "coco":
        split = next(iter(given_files))
        raise ConfigError(
            f"data.{split}.annotations={given_files[split]}: names a COCO file, and {listing.root} is {name}; "
            "leave it out"
        )
    if name == "coco":
        folder = coco.read(listing, coco.choose_files(listing, given_files))
    else:
        folder = READERS[name].read(listing)
    return replace(folder, notes=(*folder.notes, *notes_on_files(listing, name)))


def notes_on_files(listing: Listing, name: FormatName) -> tuple[str, ...]:
    """Return notes on files of a folder that no reader looks at, and that could be meant as data."""
    remarks = Remarks()
    for link in listing.folder_links:
        remarks.add("links to folders are not followed", str(link))
    for link in listing.lost_links:
        remarks.add("links that lead nowhere are left out", str(link))
    # COCO files name their images, whatever the suffix.
    for file in () if name == "coco" else listing.other_images:
        remarks.add("images of kinds that are not read, or without a suffix, are left out", str(file))
    return remarks.notes()
