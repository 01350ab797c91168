"""The summary of an inspection on the console."""

import numpy as np

from fcos.inspection.findings import Finding, count_by_severity
from fcos.inspection.run import Inspection

# Classes that are listed by name.
MAX_CLASSES = 8


def summary_lines(inspection: Inspection) -> list[str]:
    """Return a few lines: splits, classes, level shares, and one line for each finding."""
    counts, source = inspection.counts, inspection.source
    lines = [f"{source.name}: {'; '.join(source.understood)}"]
    for name, split in counts.splits.items():
        boxes = f"{split.boxes:,} boxes" + (
            f" to train on of {split.annotated:,}" if split.annotated != split.boxes else ""
        )
        median, most = (np.median(split.per_image), split.per_image.max()) if split.images else (0, 0)
        lines.append(
            f"{name}: {split.images:,} images of {split.median_size} px (median), {boxes}, "
            f"{median:g} an image (median; at most {most})"
        )
    per_class = sum(split.per_class for split in counts.splits.values() if len(split.per_class) == len(counts.classes))
    order = np.argsort(-np.asarray(per_class), kind="stable")
    named = ", ".join(f"{counts.classes[i]} {int(np.asarray(per_class)[i]):,}" for i in order[:MAX_CLASSES].tolist())
    ellipsis = ", ..." if len(counts.classes) > MAX_CLASSES else ""
    lines.append(f"classes: {len(counts.classes)} ({named}{ellipsis})")
    shares = ", ".join(
        f"{level.level} {' / '.join(f'{share:.0%}' for share in level.shares.values())}" for level in counts.levels
    )
    lines.append(f"boxes over the level ranges of {source.model_name}, at {counts.input_size}: {shares}")
    lines.append(f"findings: {count_by_severity(inspection.findings)}")
    lines += map(_finding_line, inspection.findings)
    return lines


def _finding_line(finding: Finding) -> str:
    """Return severity and headline; of a finding without a count, which one of its kind it is, too."""
    text = finding.headline if finding.counted else f"{finding.headline}: {finding.meaning.removesuffix('.')}"
    return f"  {finding.severity}: {text}"
