"""v1's Figure 7, drawn and in numbers: score against IoU, without and with center-ness, before and after NMS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fcos.assignment.build import build_locate
from fcos.config.model_parts import PostprocessConfig
from fcos.evaluation.calibration import score_iou_pairs, score_iou_statistics
from fcos.evaluation.detect import detect
from fcos.inference import Trained, read_validation
from fcos.postprocess.decode import Postprocess

# Candidates an image before NMS; all of a small head, the best of a large one.
BEFORE = 1000
# More would be one dark area, and a file of megabytes.
MOST_POINTS = 20_000


@dataclass(frozen=True)
class Panel:
    """Score and IoU of every detection under one setting."""

    score: Float64[np.ndarray, " N"]
    iou: Float64[np.ndarray, " N"]

    @property
    def numbers(self) -> dict[str, float]:
        return score_iou_statistics(self.score, self.iou)


def panels(trained: Trained, *, batch_size: int, progress: Callable[[int, int], None]) -> dict[str, Panel]:
    """Title -> panel, of one pass over the validation images; without a quality in the score there are two.

    Raises CheckpointError where the classes of the data are not the checkpoint's.
    """
    config = trained.config
    data, batches = read_validation(trained, batch_size=batch_size)
    total = len(data.val.annotations)
    rules = {
        title: Postprocess(rule, config.model.assignment.corners)
        for title, rule in settings(config.model.postprocess).items()
    }
    found = detect(
        trained.detector, batches, rules, locate=build_locate(config.model), device=trained.device,
        precision=config.schedule.precision, progress=lambda done: progress(done, total),
    )  # fmt: skip
    return {title: Panel(*score_iou_pairs(data.val.annotations, found[title])) for title in rules}


def settings(config: PostprocessConfig) -> dict[str, PostprocessConfig]:
    """Title -> post-processing: the class alone and the whole score, each before and after NMS."""
    plain = config.model_copy(update={"oracle": "none", "oracle_background": "predicted", "analyses": ()})
    scores = {"class score": plain.model_copy(update={"quality": "none"})}
    if plain.quality != "none":
        scores["score with quality"] = plain
    found = {}
    for title, rule in scores.items():
        found[f"{title}, before NMS"] = rule.model_copy(update={"nms_threshold": 1.0, "max_detections": BEFORE})
        found[f"{title}, after NMS"] = rule
    return found


def draw_panels(found: Mapping[str, Panel], path: Path) -> None:
    """A scatter for each panel with the mean IoU by score; of many points an even sample is shown."""
    from matplotlib.figure import Figure

    columns = max(1, len(found) // 2)
    figure = Figure(figsize=(4.6 * columns, 8.4), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False))
    for place, (title, panel) in enumerate(found.items()):
        plot = axes[place % 2, place // 2]
        shown = slice(None, None, max(1, len(panel.score) // MOST_POINTS))
        plot.scatter(panel.score[shown], panel.iou[shown], s=3, alpha=0.25, linewidths=0, color="#0072b2")
        numbers = panel.numbers
        means = {key: value for key, value in numbers.items() if key.startswith("iou_of_")}
        at = [float(key.removeprefix("iou_of_")) + 0.05 for key in means]
        plot.plot(at, list(means.values()), "o-", color="#d55e00", label="mean IoU")
        plot.plot([0, 1], [0, 1], ":", color="#59636e", label="score = IoU")
        plot.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="IoU")
        plot.set_title(f"{title}\n{summary(numbers, per_line=2)}", fontsize=9)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)


def summary(numbers: Mapping[str, float], per_line: int = 4) -> str:
    """The numbers that a panel is judged by."""
    names = {"pearson": "Pearson", "spearman": "Spearman", "calibration_error": "calibration error",
             "overconfident": "overconfident"}  # fmt: skip
    said = [f"{words} {numbers[key]:.3f}" for key, words in names.items() if key in numbers]
    return "\n".join(", ".join(said[start : start + per_line]) for start in range(0, len(said), per_line))
