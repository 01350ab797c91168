"""Findings in the images of a split: unreadable, turned, dim, repeated, unusual kinds of pixels, names."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fcos.config.run import DataConfig
from fcos.inspection.findings import MAX_EXAMPLES, Example, Finding, Severity
from fcos.inspection.image_facts import ImageFacts
from fcos.inspection.read import SplitView

# 16-bit images whose highest value has at most this many bits come from a camera of fewer bits; real ones reach more.
FEW_BITS: Final = 14


def image_findings(view: SplitView, data: DataConfig) -> list[Finding]:
    """Return what the image files of a split show."""
    findings = [*_repeated_names(view), *_without_boxes(view)]
    if view.facts is None:
        return findings
    return [
        *_unusable(view, view.facts, data),
        *_orientation(view, view.facts, data),
        *_few_bits(view, view.facts),
        *_other_names(view),
        *findings,
        *_kinds(view, view.facts),
    ]


def _unusable(view: SplitView, facts: Sequence[ImageFacts], data: DataConfig) -> list[Finding]:
    failed = [position for position, fact in enumerate(facts) if fact.failure]
    if not failed:
        return []
    examples = tuple(Example(facts[position].failure) for position in failed[:MAX_EXAMPLES])
    if data.on_bad_image == "skip" and len(failed) < len(facts):
        meaning = "They are left out (data.on_bad_image=skip)."
        return [Finding("warning", view.name, "images cannot be used", meaning, len(failed), len(facts), "", examples)]
    way_out = "Repair or remove them" + (
        "; data.on_bad_image=skip goes on without them." if len(failed) < len(facts) else "."
    )
    meaning = "Training does not start with images that do not open or are not as annotated."
    return [Finding("error", view.name, "images cannot be used", meaning, len(failed), len(facts), way_out, examples)]


def _orientation(view: SplitView, facts: Sequence[ImageFacts], data: DataConfig) -> list[Finding]:
    title = "images with an EXIF orientation"
    if data.exif_orientation == "apply":
        meaning = "They are turned as their tag asks (data.exif_orientation=apply)."
        return _having(view, facts, "note", title, lambda fact: fact.has_orientation, meaning)
    return _having(
        view, facts, "warning", title, lambda fact: fact.has_orientation,
        "Their tag asks to turn them and is not applied, as in COCO's own tools: boxes that were drawn on turned "
        "pictures lie on other pixels here. The samples show which.",
        "Where boxes lie wrong, give data.exif_orientation=apply.",
    )  # fmt: skip


def _few_bits(view: SplitView, facts: Sequence[ImageFacts]) -> list[Finding]:
    """Return the finding that images of 16 bits use fewer, so that all of them are dark."""
    peaks = {position: fact.peak for position, fact in enumerate(facts) if fact.peak is not None}
    highest = max(peaks.values(), default=0)
    bits = highest.bit_length()
    if not peaks or bits > FEW_BITS:
        return []
    examples = tuple(
        Example(f"{view.annotations.names[position]}, highest value {peak}", position)
        for position, peak in list(peaks.items())[:MAX_EXAMPLES]
    )
    return [
        Finding(
            "warning", view.name, f"16-bit images that use {bits} bits",
            f"Their highest value is {highest}, and 65535 is scaled to white: the brightest pixel becomes "
            f"{highest * 255 // 65535} of 255, so the pictures are nearly black.",
            len(peaks), len(facts), f"Write them with values multiplied by {2 ** (16 - bits)}.", examples,
        )
    ]  # fmt: skip


def _other_names(view: SplitView) -> list[Finding]:
    if view.located is None or not view.located.mended:
        return []
    mended = view.located.mended
    examples = tuple(Example(f"{name!r} read as {other!r}") for name, other in list(mended.items())[:MAX_EXAMPLES])
    meaning = "The annotations spell their names otherwise than the disk; they are read."
    return [Finding("note", view.name, "images under another spelling of the name", meaning, len(mended),
                    len(view.annotations), "", examples)]  # fmt: skip


def _repeated_names(view: SplitView) -> list[Finding]:
    names = view.annotations.names
    repeated = {name: count for name, count in Counter(names).items() if count > 1}
    if not repeated:
        return []
    examples = tuple(
        Example(f"{name}, {count} times", names.index(name)) for name, count in list(repeated.items())[:MAX_EXAMPLES]
    )
    meaning = "Each entry is an image of its own: trained on and evaluated as often as it is listed."
    return [Finding("warning", view.name, "files listed more than once", meaning, len(repeated), len(set(names)),
                    "Merge the entries, and the boxes of each file.", examples)]  # fmt: skip


def _without_boxes(view: SplitView) -> list[Finding]:
    positions = np.flatnonzero(np.diff(view.annotations.offsets) == 0)
    examples = tuple(Example(view.annotations.names[i], i) for i in positions[:MAX_EXAMPLES].tolist())
    if not len(positions):
        return []
    meaning = "They are trained on as background alone; anything of the classes in them should have a box."
    return [Finding("note", view.name, "images without boxes", meaning, len(positions), len(view.annotations), "",
                    examples)]  # fmt: skip


def _kinds(view: SplitView, facts: Sequence[ImageFacts]) -> list[Finding]:
    return [
        *_having(view, facts, "note", "animated or paged images", lambda fact: fact.has_several_frames,
                 "Only the first frame or page is read; boxes that were drawn on another lie on other pixels here."),
        *_having(view, facts, "note", "gray images", lambda fact: fact.is_gray, "Their one channel is repeated."),
        *_having(view, facts, "note", "images with transparency", lambda fact: fact.has_alpha,
                 "Transparency is dropped: what lies below it is seen."),
        *_having(view, facts, "note", "CMYK images", lambda fact: fact.mode == "CMYK",
                 "They are converted to RGB without a colour profile."),
        *_having(view, facts, "note", "16-bit images", lambda fact: fact.peak is not None,
                 "They are scaled to 8 bits, 65535 to 255."),
    ]  # fmt: skip


def _having(
    view: SplitView,
    facts: Sequence[ImageFacts],
    severity: Severity,
    title: str,
    has: Callable[[ImageFacts], bool],
    meaning: str,
    way_out: str = "",
) -> list[Finding]:
    positions = [position for position, fact in enumerate(facts) if has(fact)]
    if not positions:
        return []
    examples = tuple(Example(_shown(view, position), position) for position in positions[:MAX_EXAMPLES])
    return [Finding(severity, view.name, title, meaning, len(positions), len(facts), way_out, examples)]


def _shown(view: SplitView, position: int) -> str:
    return Path(view.annotations.names[position]).as_posix()
