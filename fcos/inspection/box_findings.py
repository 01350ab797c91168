"""Findings in the boxes of a split: units, sizes, crowds, and boxes without a location."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from fcos.annotations.annotations import BoxProblemKind, box_problems, require_boxes
from fcos.annotations.box_units import check_units, is_tiny
from fcos.config.choices import Crowds
from fcos.config.model import ModelConfig
from fcos.config.run import DataConfig
from fcos.coverage.counts import count
from fcos.errors import DataError
from fcos.inspection.counts import boxes_at_input
from fcos.inspection.findings import MAX_EXAMPLES, Example, Finding, Severity
from fcos.inspection.read import SplitView

# From this share of boxes on, crowds are a warning: labelling tools mark brush strokes as crowds.
MANY_CROWDS = 0.2
# Images, spread evenly, whose boxes are assigned to locations.
ASSIGNED_IMAGES = 200
_NOT_TRAINED = "They are not trained on, and evaluation counts them as objects that are never found."
_MEND = "Remove or redraw them."
# Severity, title, meaning and way out of each kind.
_PROBLEMS: Mapping[BoxProblemKind, tuple[Severity, str, str, str]] = {
    "no_size": ("warning", "boxes of zero size", _NOT_TRAINED, _MEND),
    "outside": ("warning", "boxes wholly outside their image", _NOT_TRAINED, _MEND),
    "clipped": (
        "note",
        "boxes partly outside their image",
        "Training clips them to their image; evaluation has them as annotated.",
        "",
    ),
    "no_area": ("warning", "boxes left without area by the box convention", _NOT_TRAINED, _MEND),
    "repeated": (
        "warning",
        "boxes given more than once",
        "Each counts as an object of its own: of two detections that are asked for, one can only be a duplicate.",
        "Remove the copies.",
    ),
    "area_zero": (
        "note",
        "boxes of a size with area=0",
        "Evaluation counts them as small objects, by the area that the file gives.",
        "Leave area out, and it is width times height.",
    ),
}


def box_findings(view: SplitView, data: DataConfig, model: ModelConfig) -> list[Finding]:
    """Return what the boxes of a split show."""
    units = _units(view)
    if any(finding.severity == "error" for finding in units):
        # In other units, all else about the boxes would be a consequence.
        return [*units, *_crowds(view, data.crowds)]
    return [
        *units,
        *_tiny(view),
        *_problems(view, data.crowds, model),
        *_crowds(view, data.crowds),
        *_nothing_to_train(view),
        *_without_location(view, data, model),
    ]


def examples_of(view: SplitView, rows: Bool[np.ndarray, " M"]) -> tuple[Example, ...]:
    """Return the first boxes as examples, image by image, with their annotation ids."""
    annotations, images = view.annotations, view.image_of_row
    examples = []
    for position in np.unique(images[rows])[:MAX_EXAMPLES].tolist():
        of_image = np.flatnonzero(rows & (images == position))
        ids = ", ".join(map(str, annotations.ids[of_image][:3].tolist())) + (", ..." if len(of_image) > 3 else "")
        word = "annotation" if len(of_image) == 1 else "annotations"
        examples.append(Example(f"{annotations.names[position]}, {word} {ids}", position, tuple(of_image.tolist())))
    return tuple(examples)


def _units(view: SplitView) -> list[Finding]:
    """Return findings of boxes in other units; those of boxes under a pixel are `_tiny`."""
    file = view.file
    everything = np.ones(len(view.annotations.ids), dtype=bool)
    try:
        notes = check_units(file.xywh, file.sizes[file.image], view.annotations.path)
    except DataError as error:
        return [
            Finding(
                "error", view.name, "boxes are not in pixels", f"{error}.", len(file.ids), len(file.ids),
                examples=examples_of(view, everything)[:3],
            )
        ]  # fmt: skip
    doubts = [note for note in notes if "smaller than a pixel" not in note]
    return [
        Finding(
            "warning", view.name, "boxes may be in other units", f"{note}.", examples=examples_of(view, everything)[:3]
        )
        for note in doubts
    ]


def _tiny(view: SplitView) -> list[Finding]:
    xywh = view.annotations.xywh
    rows = is_tiny(xywh) & (xywh[:, 2:] > 0).all(axis=1)
    return _counted(
        view, "warning", "boxes smaller than a pixel", rows,
        "They are narrower and lower than a pixel: rests of a click, or fractions of the image's sides.",
        "Remove them, or multiply fractions by the sides of their image.",
    )  # fmt: skip


def _problems(view: SplitView, crowds: Crowds, model: ModelConfig) -> list[Finding]:
    findings = []
    for problem in box_problems(view.file, model.assignment.corners, crowds):
        severity, title, meaning, way_out = _PROBLEMS[problem.kind]
        rows = view.rows_of(view.file.ids[problem.rows])
        findings += _counted(view, severity, title, rows, meaning, way_out)
    return findings


def _crowds(view: SplitView, crowds: Crowds) -> list[Finding]:
    rows = view.rows_of(view.file.ids[view.file.crowd])
    if crowds == "objects":
        return _counted(
            view, "note", "boxes with iscrowd=1", rows, "They are objects like all others (data.crowds=objects)."
        )
    many = len(rows) > 0 and rows.mean() >= MANY_CROWDS
    return _counted(
        view, "warning" if many else "note", "boxes with iscrowd=1", rows,
        "Crowds are not trained on, and ignored in evaluation.",
        "data.crowds=objects takes them as objects, as where a labelling tool's brush wrote iscrowd=1." if many else "",
    )  # fmt: skip


def _nothing_to_train(view: SplitView) -> list[Finding]:
    try:
        require_boxes(view.annotations)
    except DataError as error:
        return [Finding("error", view.name, "no box to train on or to detect", f"{error}.")]
    return []


def _without_location(view: SplitView, data: DataConfig, model: ModelConfig) -> list[Finding]:
    """Return the boxes that no location answers for, at the input size, as training assigns them."""
    if model.assignment.kind != "fcos" or model.assignment.by_masks or not view.annotations.trainable.any():
        return []
    total = len(view.annotations)
    positions = np.unique(np.linspace(0, total - 1, min(total, ASSIGNED_IMAGES)).astype(np.int64))
    boxes = boxes_at_input(view.annotations.select(positions), data)
    _, recall = count(boxes, model.strides, model.assignment)
    lost = boxes.ids[~recall.recalled]
    if not len(lost):
        return []
    return [
        Finding(
            "warning", view.name, "boxes without a location",
            "No location of the level ranges shown answers for them at this input size, so they cannot be learned or "
            f"found{f' (counted on {len(positions)} images)' if len(positions) < total else ''}.",
            len(lost), len(boxes.ids),
            "A larger input (data.short_sides, data.long_side), a lower level or other ranges reach more of them.",
            examples_of(view, view.rows_of(lost)),
        )
    ]  # fmt: skip


def _counted(
    view: SplitView, severity: Severity, title: str, rows: Bool[np.ndarray, " M"], meaning: str, way_out: str = ""
) -> list[Finding]:
    if not rows.any():
        return []
    found, total = int(rows.sum()), len(rows)
    return [Finding(severity, view.name, title, meaning, found, total, way_out, examples_of(view, rows))]
