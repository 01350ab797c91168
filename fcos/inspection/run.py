"""Inspect a data set: read it, count it, and collect what is found."""

from collections.abc import Mapping
from dataclasses import dataclass

from fcos.config.choices import Split
from fcos.data.prepare import cache_folder
from fcos.inspection.box_findings import box_findings
from fcos.inspection.counts import DataCounts, count_data
from fcos.inspection.findings import Finding, by_severity
from fcos.inspection.image_findings import image_findings
from fcos.inspection.read import SplitView, read_data
from fcos.inspection.source import DataSource
from fcos.inspection.split_findings import split_findings
from fcos.storage.reading import ProgressCallback


@dataclass(frozen=True)
class Inspection:
    """What a data set holds; the findings are in order of their severity."""

    source: DataSource
    views: Mapping[Split, SplitView]
    counts: DataCounts
    findings: tuple[Finding, ...]


def inspect_data(source: DataSource, progress: ProgressCallback) -> Inspection:
    """Read all of a data set and return what was found; raises as `fcos.inspection.read.read_data`."""
    data, model = source.data, source.model
    view = read_data(source, progress)
    findings = [*view.failures]
    for split in view.splits.values():
        findings += image_findings(split, data)
        findings += box_findings(split, data, model)
    findings += split_findings(
        view.splits, cache_folder(data), lambda done, total: progress("comparing images", done, total)
    )
    if source.refused and not any(finding.severity == "error" for finding in findings):
        findings.append(Finding("error", None, "training refuses the folder", f"{source.refused}."))
    notes = dict.fromkeys((*source.notes, *view.notes))
    findings += [Finding("warning", None, "while the folder was read", f"{note}.") for note in notes]
    return Inspection(source, view.splits, count_data(view.splits, data, model), by_severity(findings))
