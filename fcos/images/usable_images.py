"""The images of a split that can be used: decoded into the cache, or only checked, without those that do not open."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcos.annotations.annotations import Annotations
from fcos.config.choices import OnBadImage, Split
from fcos.config.run import DataConfig
from fcos.errors import DataError
from fcos.images.decoded import DecodedImages, decode_images
from fcos.images.image_files import ImageFiles, check_files
from fcos.images.image_names import other_spellings
from fcos.images.image_traits import ImageTraits
from fcos.storage.reading import CountCallback, ProgressCallback, raise_cache_error


@dataclass(frozen=True)
class PreparedSplit:
    """Annotations of the usable images, their folder, and the decoded images where they are cached."""

    annotations: Annotations
    folder: Path
    decoded: DecodedImages | None = None


def decode_or_check(
    split: PreparedSplit,
    files: ImageFiles,
    config: DataConfig,
    name: Split,
    cache: Path,
    progress: ProgressCallback | None,
) -> tuple[PreparedSplit, list[str]]:
    """Decode the split's images, or only check them; return it without those that do not open, and notes.

    Raises DataError and ReadError as `fcos.data.prepare.prepare`.
    """

    def count_callback(verb: str) -> CountCallback | None:
        return None if progress is None else lambda done, total: progress(f"{verb} {name} images", done, total)

    limit = int(1e9 * config.cache_gb)
    notes: list[str] = []
    try:
        decoded = decode_images(files, cache, limit, count_callback("decoding")) if limit else None
        if isinstance(decoded, dict):
            split, files, notes = _drop_bad_images(split, files, decoded, config.on_bad_image, name)
            decoded = decode_images(files, cache, limit, count_callback("decoding"))
        if isinstance(decoded, DecodedImages):
            return replace(split, decoded=decoded), [*notes, *_trait_notes(files, decoded.traits, name)]
        check = check_files(files, cache, count_callback("checking"))
    except OSError as error:
        raise_cache_error(cache, error)
    split, _, more_notes = _drop_bad_images(split, files, check.failures, config.on_bad_image, name)
    return split, [*notes, *more_notes, *_trait_notes(files, check.traits, name)]


def _drop_bad_images(
    split: PreparedSplit, files: ImageFiles, failures: Mapping[int, str], on_bad_image: OnBadImage, name: Split
) -> tuple[PreparedSplit, ImageFiles, list[str]]:
    """Return the split and its files without the images that failed, and a note."""
    if not failures:
        return split, files, []
    keep = np.array([index for index in range(len(split.annotations)) if index not in failures], dtype=np.int64)
    reasons = "; ".join(reason + _spellings_tried(files, index) for index, reason in list(failures.items())[:5])
    reasons += "; ..." if len(failures) > 5 else ""
    message = f"{len(failures)} of {len(split.annotations)} {name} images cannot be used"
    if on_bad_image == "error":
        raise DataError(f"{message}: {reasons}. data.on_bad_image=skip goes on without them")
    if not len(keep):
        raise DataError(f"{message}, which leaves none: {reasons}")
    remaining = replace(split, annotations=split.annotations.select(keep))
    return remaining, files.select(keep), [f"{message} and are left out: {reasons}"]


def _spellings_tried(files: ImageFiles, index: int) -> str:
    """Return the other spellings of the name of a file that is not there, as the end of a message."""
    name, size, _ = files.stats[index]
    named = {stat[0] for stat in files.stats}
    spellings = [each for each in other_spellings(name, files.folder) if each not in named] if size < 0 else []
    return f" (nor {' or '.join(map(repr, spellings))})" if spellings else ""


def _trait_notes(files: ImageFiles, traits: ImageTraits, name: Split) -> list[str]:
    return traits.notes([stat[0] for stat in files.stats], name, files.rules.exif_orientation)
