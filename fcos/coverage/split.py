"""The annotations that coverage is about, read and validated; loads no torch."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcos.annotations.annotations import Annotations, build_annotations, require_boxes
from fcos.annotations.coco_file import CocoFile, read_coco_file
from fcos.annotations.conversion_notes import read_conversion_notes
from fcos.config.run import Config
from fcos.data.bucket_source import fetch_annotations, is_in_bucket
from fcos.data.prepare import annotation_file, cache_folder, read_masks
from fcos.data.synthetic import synthetic_folder
from fcos.storage.files import expanded
from fcos.storage.reading import ProgressCallback


@dataclass(frozen=True)
class AnnotatedSplit:
    """The annotations of a split, and their file with what training excludes."""

    file: CocoFile
    annotations: Annotations

    @property
    def digest(self) -> str:
        """Return what makes it the same data."""
        return f"{self.annotations.digest}-{len(self.annotations)}"


def read_split(config: Config, progress: ProgressCallback | None = None) -> AnnotatedSplit:
    """Read and validate the annotations of the split that coverage is about; images are not looked at.

    Raises DataError naming file and rule, for a file without boxes too.
    """
    data, split = config.data, config.coverage.split
    path = _annotation_file(config, progress)
    if progress is not None:
        progress(f"reading {path.name}", 0, 1)
    file = read_coco_file(path, cache_folder(data))
    assignment = config.model.assignment
    annotations = build_annotations(file, path, assignment.corners, data.crowds)
    limit = data.limit_train if split == "train" else data.limit_val
    if limit is not None and limit < len(annotations):
        annotations = annotations.select(np.arange(limit))
    require_boxes(annotations)
    if assignment.by_masks and config.coverage.assignment == "fcos":
        annotations = read_masks(annotations, data, assignment.corners, progress)
    notes = (*read_conversion_notes([path]), *annotations.notes)
    return AnnotatedSplit(file, replace(annotations, notes=notes))


def _annotation_file(config: Config, progress: ProgressCallback | None) -> Path:
    data = config.data
    if data.name == "synthetic":
        assert data.synthetic is not None, "checked by DataConfig"
        show = None if progress is None else lambda done, total: progress("drawing images", done, total)
        return synthetic_folder(data.synthetic, cache_folder(data), show) / f"{config.coverage.split}.json"
    split = data.train if config.coverage.split == "train" else data.val
    assert split is not None, "checked by DataConfig"
    if is_in_bucket(data):
        root = fetch_annotations(data, config.coverage.split, cache_folder(data), progress)
    else:
        root = expanded(data.root or ".", f"data.root={data.root}")
    return annotation_file(root, split, config.coverage.split)
