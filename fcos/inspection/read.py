"""Read a data set for inspection: what training would refuse becomes a finding, and the rest is still read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from fcos.annotations.annotations import Annotations, arrange_annotations
from fcos.annotations.coco_file import CocoFile, read_coco_file
from fcos.annotations.conversion_notes import read_conversion_notes
from fcos.config.choices import Split
from fcos.config.run import DataConfig
from fcos.data.prepare import annotation_file, cache_folder, image_rules, split_locations
from fcos.errors import DataError
from fcos.images.image_names import LocatedImages, locate_images
from fcos.inspection.findings import Finding
from fcos.inspection.image_facts import ImageFacts, read_image_facts
from fcos.inspection.source import DataSource
from fcos.storage.files import expanded
from fcos.storage.reading import ProgressCallback, is_folder


@dataclass(frozen=True)
class SplitView:
    """A split as it was read.

    `annotations` have the names that the files have on disk. `facts` are those of the images by position, and `located`
    their names and states; both are None where the folder of the images is missing.
    """

    name: Split
    folder: Path
    file: CocoFile
    annotations: Annotations
    located: LocatedImages | None
    facts: tuple[ImageFacts, ...] | None

    def rows_of(self, ids: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " M"]:
        """Return which rows of the annotations have one of these annotation ids."""
        return np.asarray(np.isin(self.annotations.ids, ids))

    @property
    def image_of_row(self) -> Int64[np.ndarray, " M"]:
        """Return the position of the image of each row."""
        return np.repeat(np.arange(len(self.annotations)), np.diff(self.annotations.offsets))


@dataclass(frozen=True)
class DataView:
    """The splits that could be read, and why others could not; `notes` are those on their conversion."""

    splits: Mapping[Split, SplitView]
    failures: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def read_data(source: DataSource, progress: ProgressCallback) -> DataView:
    """Read annotations and images of all splits.

    Raises DataError where no split can be read at all, and ReadError for what cannot be read for now.
    """
    cache = cache_folder(source.data)
    root, locations = split_locations(source.data, cache, progress, source.splits, lenient=True)
    views: dict[Split, SplitView] = {}
    failures = []
    for split in source.splits:
        try:
            path = annotation_file(root, locations[split], split)
            file = read_coco_file(path, cache)
        except DataError as error:
            if len(source.splits) == 1 or (not views and split == source.splits[-1]):
                raise
            failures.append(Finding("error", split, "annotations cannot be read", _sentence(error)))
            continue
        folder = root / expanded(locations[split].images, f"data.{split}.images={locations[split].images}")
        if not is_folder(folder):
            message = f"data.{split}.images={locations[split].images}: no such folder ({folder})."
            failures.append(Finding("error", split, "the folder of the images is missing", message))
        views[split] = _read_split(source, split, path, file, folder, progress)
    notes = read_conversion_notes(view.annotations.path for view in views.values())
    return DataView(views, tuple(failures), notes)


def _read_split(
    source: DataSource, split: Split, path: Path, file: CocoFile, folder: Path, progress: ProgressCallback
) -> SplitView:
    annotations = _limited(
        arrange_annotations(file, path, source.model.assignment.corners, source.data.crowds), source.data, split
    )
    if not is_folder(folder):
        return SplitView(split, folder, file, annotations, None, None)
    located = locate_images(folder, annotations.names)
    annotations = replace(annotations, names=located.names)
    facts = read_image_facts(
        folder,
        annotations.names,
        [(height, width) for height, width in annotations.sizes.tolist()],
        image_rules(source.data),
        _counter(progress, f"reading {split} images"),
    )
    return SplitView(split, folder, file, annotations, located, facts)


def _limited(annotations: Annotations, data: DataConfig, split: Split) -> Annotations:
    limit = data.limit_train if split == "train" else data.limit_val
    if limit is None or limit >= len(annotations):
        return annotations
    return annotations.select(np.arange(limit))


def _counter(progress: ProgressCallback, work: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(work, done, total)


def _sentence(error: DataError) -> str:
    text = str(error)
    return text if text.endswith(".") else f"{text}."
