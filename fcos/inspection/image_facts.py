"""Read every image of a split once and keep what its pixels are stored as."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fcos.errors import DataError
from fcos.images.image_files import Size
from fcos.images.open_image import ImageRules, read_image
from fcos.storage.reading import CountCallback

GRAY_MODES: Final = frozenset(("1", "L", "LA", "La"))
ALPHA_MODES: Final = frozenset(("RGBA", "LA", "PA", "RGBa", "La"))
NUM_THREADS: Final = 8


@dataclass(frozen=True)
class ImageFacts:
    """What reading an image showed; `failure` is the reason where it cannot be used, and "" otherwise."""

    failure: str = ""
    has_orientation: bool = False
    # Pillow's mode of the stored pixels.
    mode: str = ""
    # Highest value of pixels of 16 bits, None for other depths.
    peak: int | None = None
    # It has frames or pages after the first, which is the one that is read.
    has_several_frames: bool = False

    @property
    def is_gray(self) -> bool:
        return self.mode in GRAY_MODES or self.mode.startswith("I;16")

    @property
    def has_alpha(self) -> bool:
        return self.mode in ALPHA_MODES


def read_image_facts(
    folder: Path, names: Sequence[str], sizes: Sequence[Size], rules: ImageRules, on_count: CountCallback
) -> tuple[ImageFacts, ...]:
    """Open and decode every image, whose annotated (height, width) are `sizes`.

    Raises ReadError where an image cannot be read for now.
    """

    def facts(name: str, size: Size) -> ImageFacts:
        try:
            image = read_image(folder / name, size, rules)
        except DataError as error:
            return ImageFacts(failure=str(error))
        return ImageFacts("", image.has_orientation, image.mode, image.peak, image.has_several_frames)

    found = []
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for done, item in enumerate(pool.map(facts, names, sizes), start=1):
            found.append(item)
            on_count(done, len(names))
    return tuple(found)
