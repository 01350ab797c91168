"""The page of an inspection: one HTML file that needs no network and no scripts."""

import base64
from dataclasses import dataclass
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from fcos.inspection.findings import Finding, count_by_severity
from fcos.inspection.pictures import Pictures, SamplePicture
from fcos.inspection.plots import DARK, LIGHT, plot_boxes_an_image, plot_sizes
from fcos.inspection.run import Inspection

# Pictures of a finding.
MAX_THUMBNAILS: Final = 4
# Rows of the table of classes; further classes are summed up.
MAX_CLASSES: Final = 30


@dataclass(frozen=True)
class ShownFinding:
    """A finding with the pictures of its examples."""

    finding: Finding
    pictures: tuple[SamplePicture, ...]


@dataclass(frozen=True)
class ClassRow:
    """A row of the table of classes: boxes by split, and the share of the most frequent class in percent."""

    name: str
    boxes: tuple[int, ...]
    width: float


@dataclass(frozen=True)
class Figure:
    """A plot for light and for dark pages, as data URIs."""

    title: str
    caption: str
    light: str
    dark: str


def render_page(inspection: Inspection) -> str:
    """Return the page as HTML, a few megabytes at most."""
    pictures = Pictures(inspection.source.data)
    samples = [sample for view in inspection.views.values() for sample in pictures.samples(view)]
    findings = [ShownFinding(finding, _thumbnails(inspection, finding, pictures)) for finding in inspection.findings]
    environment = Environment(
        loader=PackageLoader("fcos.inspection"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("inspection.html.j2").render(
        source=inspection.source,
        counts=inspection.counts,
        findings=findings,
        counted=count_by_severity(inspection.findings),
        classes=_class_rows(inspection),
        figures=_figures(inspection),
        samples=samples,
        left_out=pictures.left_out,
    )


def _thumbnails(inspection: Inspection, finding: Finding, pictures: Pictures) -> tuple[SamplePicture, ...]:
    if finding.split is None or finding.split not in inspection.views:
        return ()
    view = inspection.views[finding.split]
    shown = []
    for example in finding.examples[:MAX_THUMBNAILS]:
        if view.facts is None or example.position is None:
            continue
        uri = pictures.thumbnail(view, example.position, example.rows)
        if uri:
            shown.append(SamplePicture(view.annotations.names[example.position], example.text, uri))
    return tuple(shown)


def _class_rows(inspection: Inspection) -> list[ClassRow]:
    """Return the classes by their number of boxes; those of splits with other categories are left out."""
    counts = inspection.counts
    columns = [
        split.per_class if len(split.per_class) == len(counts.classes) else np.zeros(len(counts.classes), np.int64)
        for split in counts.splits.values()
    ]
    table = np.stack(columns, axis=1)
    totals = table.sum(axis=1)
    order = np.argsort(-totals, kind="stable")
    shown, others = order[:MAX_CLASSES], order[MAX_CLASSES:]
    most = max(int(totals.max(initial=0)), 1)
    rows = [ClassRow(counts.classes[i], tuple(table[i].tolist()), 100 * totals[i] / most) for i in shown.tolist()]
    if len(others):
        rows.append(ClassRow(f"{len(others)} others", tuple(table[others].sum(axis=0).tolist()), 0))
    return rows


def _figures(inspection: Inspection) -> list[Figure]:
    counts = inspection.counts
    drawn = (
        (
            "Sizes of the boxes", plot_sizes,
            "At the input, with the ends of the level ranges as dashed lines: a location in the middle of a box "
            "predicts it on the level into whose range this value falls.",
        ),
        ("Boxes an image", plot_boxes_an_image, "Those that are trained on."),
    )  # fmt: skip
    return [
        Figure(title, caption, _svg(plot(counts, LIGHT)), _svg(plot(counts, DARK))) for title, plot, caption in drawn
    ]


def _svg(content: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
