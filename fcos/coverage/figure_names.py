"""Names of the figures that coverage reports, apart from their computation, which loads torch."""

from fcos.config.run import CoverageConfig

# Fractions of boxes and positives, and their numbers; in addition two fractions per level.
FIGURES = (
    *("bpr", "ambiguous", "ambiguous_different", "claims_1", "claims_2", "claims_3plus"),
    *("evenness", "objective", "num_boxes", "num_positives"),
)
# Metrics of coverage by anchors.
ANCHOR_FIGURES = ("bpr", "num_boxes")


def figure_names(levels: tuple[int, ...], config: CoverageConfig) -> tuple[str, ...]:
    """Return the metric keys of all figures that coverage reports."""
    if config.assignment == "retinanet":
        return tuple(f"coverage/{name}" for name in ANCHOR_FIGURES)
    per_level = [f"{what}_P{level}" for level in levels for what in ("positives", "boxes")]
    return tuple(f"coverage/{name}" for name in (*FIGURES, *per_level))
