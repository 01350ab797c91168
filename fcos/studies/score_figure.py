"""v1's Figure 7, as picture and numbers: score against IoU, without and with center-ness, before and after NMS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fcos.assignment.build import build_locate
from fcos.config.model_parts import PostprocessConfig
from fcos.evaluation.calibration import score_iou_pairs, score_iou_statistics
from fcos.evaluation.detect import Inference, detect
from fcos.inference import Trained, read_validation
from fcos.postprocess.decode import Postprocess

# Detections per image before NMS: all of a small head, the best of a large one.
DETECTIONS_BEFORE_NMS = 1000
# More points would be one dark area, and a file of megabytes.
MAX_POINTS = 20_000


@dataclass(frozen=True)
class Panel:
    """Score and IoU of every detection under one post-processing."""

    score: Float64[np.ndarray, " N"]
    iou: Float64[np.ndarray, " N"]

    @property
    def numbers(self) -> dict[str, float]:
        return score_iou_statistics(self.score, self.iou)


def measure_panels(trained: Trained, *, batch_size: int, progress: Callable[[int, int], None]) -> dict[str, Panel]:
    """Detect on the validation images once and return a panel per title.

    Without a quality in the score there are two. Raises CheckpointError where the classes of the data are not the
    checkpoint's.
    """
    config = trained.config
    data, batches = read_validation(trained, batch_size=batch_size)
    total = len(data.val.annotations)
    postprocess = {
        title: Postprocess(setting, config.model.assignment.corners)
        for title, setting in panel_settings(config.model.postprocess).items()
    }
    inference = Inference(postprocess, build_locate(config.model), trained.device, config.schedule.precision)
    detections = detect(trained.detector, batches, inference, progress=lambda done: progress(done, total))
    return {title: Panel(*score_iou_pairs(data.val.annotations, detections[title])) for title in postprocess}


def panel_settings(config: PostprocessConfig) -> dict[str, PostprocessConfig]:
    """Return the post-processing per title: class score and full score, each before and after NMS."""
    base = config.model_copy(update={"oracle": "none", "oracle_background": "predicted", "analyses": ()})
    score_settings = {"class score": base.model_copy(update={"quality": "none"})}
    if base.quality != "none":
        score_settings["score with quality"] = base
    result = {}
    for title, setting in score_settings.items():
        result[f"{title}, before NMS"] = setting.model_copy(
            update={"nms_threshold": 1.0, "max_detections": DETECTIONS_BEFORE_NMS}
        )
        result[f"{title}, after NMS"] = setting
    return result


def draw_panels(panels: Mapping[str, Panel], path: Path) -> None:
    """Draw a scatter plot per panel with the mean IoU by score.

    Of many points only an even sample is drawn.
    """
    from matplotlib.figure import Figure

    columns = max(1, len(panels) // 2)
    figure = Figure(figsize=(4.6 * columns, 8.4), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False))
    for index, (title, panel) in enumerate(panels.items()):
        axis = axes[index % 2, index // 2]
        subset = slice(None, None, max(1, len(panel.score) // MAX_POINTS))
        axis.scatter(panel.score[subset], panel.iou[subset], s=3, alpha=0.25, linewidths=0, color="#0072b2")
        numbers = panel.numbers
        means = {key: value for key, value in numbers.items() if key.startswith("iou_of_")}
        centers = [float(key.removeprefix("iou_of_")) + 0.05 for key in means]
        axis.plot(centers, list(means.values()), "o-", color="#d55e00", label="mean IoU")
        axis.plot([0, 1], [0, 1], ":", color="#59636e", label="score = IoU")
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="IoU")
        axis.set_title(f"{title}\n{format_summary(numbers, per_line=2)}", fontsize=9)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)


def format_summary(numbers: Mapping[str, float], per_line: int = 4) -> str:
    """Format the main numbers of a panel."""
    names = {"pearson": "Pearson", "spearman": "Spearman", "calibration_error": "calibration error",
             "overconfident": "overconfident"}  # fmt: skip
    parts = [f"{label} {numbers[key]:.3f}" for key, label in names.items() if key in numbers]
    return "\n".join(", ".join(parts[start : start + per_line]) for start in range(0, len(parts), per_line))
