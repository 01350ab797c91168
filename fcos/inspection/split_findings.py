"""Findings between the splits: the same images in both, other categories, classes that one split lacks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fcos.annotations.categories import require_same_categories
from fcos.config.choices import Split
from fcos.errors import DataError
from fcos.images.duplicates import Duplicates, find_duplicates
from fcos.images.image_files import FileStat
from fcos.inspection.findings import MAX_EXAMPLES, Example, Finding
from fcos.inspection.read import SplitView
from fcos.storage.reading import CountCallback


def split_findings(views: Mapping[Split, SplitView], cache: Path, on_count: CountCallback) -> list[Finding]:
    """Return what the splits have in common, or one of them alone."""
    return [*_categories(views), *_repeated_images(views, cache, on_count), *_classes(views)]


def _categories(views: Mapping[Split, SplitView]) -> list[Finding]:
    if len(views) < 2:
        return []
    try:
        require_same_categories(views["train"].annotations, views["val"].annotations)
    except DataError as error:
        way_out = "Give both files the same section categories, with the same ids."
        return [Finding("error", None, "the splits differ in their categories", f"{error}.", way_out=way_out)]
    return []


def _repeated_images(views: Mapping[Split, SplitView], cache: Path, on_count: CountCallback) -> list[Finding]:
    files: dict[Split, tuple[Path, list[FileStat]]] = {
        split: (view.folder, [stat for stat in view.located.stats if stat[1] >= 0])
        for split, view in views.items()
        if view.located is not None
    }
    duplicates = find_duplicates(files, cache, on_count)
    return [*_shared(views, duplicates), *_within(views, duplicates)]


def _shared(views: Mapping[Split, SplitView], duplicates: Duplicates) -> list[Finding]:
    if not duplicates.shared:
        return []
    val = views["val"].annotations.names
    examples = tuple(
        Example(f"val {name} = train {other}", val.index(name)) for name, other in duplicates.shared[:MAX_EXAMPLES]
    )
    meaning = "They are trained on too, by content: the metrics of validation are partly those of known images."
    way_out = "Remove them from one of the splits."
    return [Finding("warning", "val", "images that are train images too", meaning, len(duplicates.shared), len(val),
                    way_out, examples)]  # fmt: skip


def _within(views: Mapping[Split, SplitView], duplicates: Duplicates) -> list[Finding]:
    findings = []
    for split, groups in duplicates.repeated.items():
        names = views[split].annotations.names
        examples = tuple(Example(" = ".join(group), names.index(group[0])) for group in groups[:MAX_EXAMPLES])
        count = sum(len(group) - 1 for group in groups)
        meaning = "They have the content of another image of the split under a name of their own, and count twice."
        if count:
            findings.append(
                Finding("note", split, "repeated images", meaning, count, len(names),
                        "Remove the copies where they are none on purpose.", examples)
            )  # fmt: skip
    return findings


def _classes(views: Mapping[Split, SplitView]) -> list[Finding]:
    """Return the classes that have no box to train on in a split."""
    lacking = {split: _without_boxes(view) for split, view in views.items()}
    everywhere = set.intersection(*map(set, lacking.values())) if lacking else set()
    findings = []
    for split, classes in lacking.items():
        alone = [name for name in classes if name not in everywhere]
        if alone:
            total = len(views[split].annotations.classes)
            meaning = (
                "They are validated and never trained on." if split == "train"
                else "They are trained on and never validated; their AP is no part of the mean."
            )  # fmt: skip
            findings.append(
                Finding("warning", split, "classes without a box in this split", meaning, len(alone), total,
                        "Move images between the splits.", _named(alone))
            )  # fmt: skip
    if everywhere:
        total = len(next(iter(views.values())).annotations.classes)
        unused = sorted(everywhere)
        meaning = "They are listed, and nothing of them can be learned."
        findings.append(
            Finding("note", None, "classes without any box", meaning, len(unused), total, "", _named(unused))
        )
    return findings


def _without_boxes(view: SplitView) -> list[str]:
    labels = view.annotations.labels[view.annotations.trainable]
    counts = np.bincount(labels, minlength=len(view.annotations.classes))
    return [name for name, count in zip(view.annotations.classes, counts.tolist(), strict=True) if not count]


def _named(classes: list[str]) -> tuple[Example, ...]:
    return tuple(Example(name) for name in classes[:MAX_EXAMPLES])
