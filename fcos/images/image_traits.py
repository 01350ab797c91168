"""Images of a split of which another picture could be read: by an orientation, or a frame after the first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fcos.config.choices import ExifOrientation, Split
from fcos.images.open_image import ReadImage
from fcos.storage.files import write_atomically
from fcos.storage.reading import file_stat, read_bytes

# Examples in a note.
MAX_SHOWN: Final = 3


@dataclass(frozen=True)
class ImageTraits:
    """Positions of the images of a split that its notes count."""

    # Those whose EXIF orientation makes another picture of the stored one.
    oriented: tuple[int, ...] = ()
    # Those with frames or pages after the first.
    several_frames: tuple[int, ...] = ()

    def notes(self, names: Sequence[str], split: Split, rule: ExifOrientation) -> list[str]:
        """Return the notes on a split, whose files have these names."""
        oriented, several_frames = (
            f"{split}: {len(positions)} of {len(names)} images ({', '.join(names[i] for i in positions[:MAX_SHOWN])}"
            f"{', ...' if len(positions) > MAX_SHOWN else ''})"
            for positions in (self.oriented, self.several_frames)
        )
        notes = []
        if self.oriented and rule == "apply":
            notes.append(f"{oriented} are turned by their EXIF orientation (data.exif_orientation=apply)")
        elif self.oriented:
            notes.append(
                f"{oriented} have an EXIF orientation that is not applied, as in COCO's own tools; where their boxes "
                "were drawn on turned pictures, give data.exif_orientation=apply"
            )
        if self.several_frames:
            notes.append(f"{several_frames} are animated or have several pages: only the first frame is read")
        return notes


# Of one image: whether it has an orientation, and whether it has several frames.
Flags = tuple[bool, bool]


def flags_of(image: ReadImage) -> Flags:
    """Return the flags of a read image, without its pixels."""
    return image.has_orientation, image.has_several_frames


def traits_of(flags: Mapping[int, Flags]) -> ImageTraits:
    """Return the traits of a split from the flags of its images, by position."""
    return ImageTraits(
        tuple(position for position, (is_oriented, _) in sorted(flags.items()) if is_oriented),
        tuple(position for position, (_, has_several) in sorted(flags.items()) if has_several),
    )


def load_traits(path: Path) -> ImageTraits | None:
    """Return the traits in a cached file; None where it is missing, broken or of an earlier version.

    Raises DataError or ReadError where it cannot be read.
    """
    if file_stat(path) is None:
        return None
    try:
        content = json.loads(read_bytes(path, "cached check"))
        return ImageTraits(tuple(content["oriented"]), tuple(content["several_frames"]))
    except (ValueError, KeyError, TypeError):
        return None


def save_traits(traits: ImageTraits, path: Path) -> None:
    """Save traits for `load_traits`; raises OSError."""
    write_atomically(path, json.dumps(asdict(traits)))
