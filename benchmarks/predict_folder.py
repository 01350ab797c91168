"""A folder of pictures to a json file against a plain loop over torchvision: python benchmarks/predict_folder.py

JPEG files of 640x480, at their own size. The peer opens each with Pillow, hands it to torchvision's detector and writes
COCO's results; ours is what `python -m fcos predict RUN folder --output found --no-pictures` calls. Both have the same
weights, float32, and the processors that the process has. Detections must be equal: labels and number exactly, scores
to 1e-4 and boxes to 1e-2 pixels, but for those at the edge of a threshold.

r50 is model=torchvision. lite is model=fcos_lite with torchvision's rules: its backbone and pyramid, by the same
modules, in torchvision's detector, with torch's own batch norms.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from data_pipeline import draw_jpegs
from detectors import CLASSES, MODEL, build_pair, model_config
from PIL import Image
from side_by_side import require
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.transforms import functional

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.inference import Trained
from fcos.model.detector import FCOS
from fcos.model.norm import FrozenBatchNorm2d
from fcos.prediction.predictor import Predictor
from fcos.prediction.run import PredictionProgress, Request, run_prediction
from fcos.prediction.sources import find_sources

SIZE: Final = (480, 640)
# Files of equal content from there on; each is read and decoded by itself.
DRAWN: Final = 40
# Of the schedule nothing but precision and order in memory matters to a prediction.
SCHEDULE: Final = {"batch_size": 8, "steps": 1, "optimizer": "sgd", "decay": "none", "channels_last": True}
# (location, class) pairs above the threshold in the first picture.
CANDIDATES: Final = 300
FOUND: Final = "detections.json"
# Of a folder's detections, those that may be missing on the other side: NMS and threshold decide by the last bit.
EDGE_SHARE: Final = 1e-3


def build_r50() -> tuple[detection.FCOS, FCOS, ModelConfig]:
    """Return torchvision's R50 detector and ours."""
    peer, ours = build_pair(SIZE, channels_last=True, device=torch.device("cpu"))
    return peer, ours, model_config()


class _Features(nn.Module):
    """Our backbone and pyramid with torch's own batch norms, as torchvision's detector takes a backbone."""

    def __init__(self, detector: FCOS, out_channels: int) -> None:
        super().__init__()
        self.body, self.fpn = deepcopy((detector.backbone, detector.fpn))
        for parent in list(self.body.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, FrozenBatchNorm2d):
                    setattr(parent, name, _plain_norm(child))
        self.to(memory_format=torch.contiguous_format)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.fpn(self.body(x))
        return features


def _plain_norm(norm: FrozenBatchNorm2d) -> nn.Module:
    plain = nn.BatchNorm2d(norm.weight.numel(), eps=norm.eps)
    plain.load_state_dict(norm.state_dict(), strict=False)
    return nn.Sequential(plain, *norm.children())


def build_lite() -> tuple[detection.FCOS, FCOS, ModelConfig]:
    """Return both with the backbone of model=fcos_lite, with its pretrained weights."""
    values = yaml.safe_load((MODEL.parent / "fcos_lite.yaml").read_text())
    rules = yaml.safe_load(MODEL.read_text())
    del values["defaults"]
    for section in ("head", "assignment", "postprocess"):
        values[section] = {**rules[section], **({"num_convs": 2} if section == "head" else {})}
    values["assignment"]["ranges"] = [[0, 64], [64, 128], [128, 256], [256, None]]
    config = parse(ModelConfig, values)
    torch.manual_seed(0)
    ours = build_detector(config, CLASSES, channels_last=True)
    channels = config.fpn.channels
    peer = detection.FCOS(
        _Features(ours, channels), CLASSES, min_size=min(SIZE), max_size=max(SIZE),
        image_mean=list(config.pixel_mean), image_std=list(config.pixel_std),
        anchor_generator=AnchorGenerator([(stride,) for stride in config.strides], [(1.0,)] * len(config.strides)),
        head=FCOSHead(channels, 1, CLASSES, config.head.num_convs),
    )  # fmt: skip
    head: Any = peer.head
    own: Any = ours.head
    pairs = [
        (head.classification_head.conv, own.classification_tower),
        (head.regression_head.conv, own.regression_tower),
    ]
    for theirs, tower in pairs:
        for index, (conv, norm) in enumerate(zip(tower.convs, tower.norms[0], strict=True)):
            theirs[3 * index].load_state_dict(conv.state_dict())
            theirs[3 * index + 1].load_state_dict(norm.state_dict())
    head.classification_head.cls_logits.load_state_dict(own.classification.state_dict())
    head.regression_head.bbox_reg.load_state_dict(own.regression.state_dict())
    head.regression_head.bbox_ctrness.load_state_dict(own.quality.state_dict())
    return peer, ours, config


MODELS: Final[dict[str, Callable[[], tuple[detection.FCOS, FCOS, ModelConfig]]]] = {
    "r50": build_r50,
    "lite": build_lite,
}


def build(name: str, picture: Path) -> tuple[detection.FCOS, Predictor]:
    """Return torchvision's detector and ours, with random heads by which a picture has some hundred candidates.

    A trained detector has about as many; with thousands, sorting them would be measured.
    """
    peer, detector, model = MODELS[name]()
    head: Any = peer.head
    own: Any = detector.head
    theirs, ours = head.classification_head.cls_logits, own.classification
    config = parse(
        Config, {"model": model.model_dump(), "data": {"name": "synthetic", "synthetic": {}}, "schedule": SCHEDULE}
    )
    classes = tuple(f"class {number}" for number in range(1, CLASSES + 1))
    trained = Trained(detector.eval(), config, classes, 0, torch.device("cpu"))
    with torch.no_grad():
        for layer in (theirs, ours, head.regression_head.bbox_reg, own.regression):
            layer.weight.mul_(10)
            layer.bias.fill_(2.0)
        sample = Predictor(trained).read(picture).sample
        logits = detector(sample.image[None], torch.tensor([sample.size])).joined_logits.flatten()
        # With a quality of one half, the score of this logit is the threshold.
        probability = model.postprocess.score_threshold**2 / 0.5
        shift = math.log(probability / (1 - probability)) - float(logits.topk(CANDIDATES).values[-1])
        for layer in (theirs, ours):
            layer.bias.add_(shift)
    return peer.eval(), Predictor(trained)


def run_peer(peer: detection.FCOS, folder: Path, output: Path) -> None:
    """Detect on the files of a folder one after the other, and write COCO's results."""
    results = []
    with torch.no_grad():
        for number, path in enumerate(sorted(folder.iterdir()), start=1):
            with Image.open(path) as file:
                image = functional.to_tensor(file.convert("RGB"))
            [found] = peer([image])
            columns = (found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist())
            for (x1, y1, x2, y2), score, label in zip(*columns, strict=True):
                box = [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)]
                one = {"image_id": number, "category_id": label + 1, "bbox": box, "score": round(score, 7)}
                results.append(one)
    output.mkdir(exist_ok=True)
    (output / FOUND).write_text(json.dumps(results))


def run_ours(predictor: Predictor, folder: Path, output: Path) -> None:
    """Do what the command does once the detector is loaded."""
    names = tuple(str(number) for number in range(CLASSES))
    progress = PredictionProgress(lambda *_: None, sys.exit)
    run_prediction(predictor, find_sources([str(folder)]), Request(output, names, pictures=False), progress)


def same(theirs: Path, ours: Path) -> str:
    """Compare two files of COCO results: each detection has its equal, but for those at the edge of a threshold."""
    columns = [_columns(path) for path in (theirs, ours)]
    total = sum(len(boxes) for boxes, _ in columns[0].values())
    require(total > 0, "there is no detection")
    missing = _missing(columns[0], columns[1]) + _missing(columns[1], columns[0])
    require(missing <= EDGE_SHARE * total, f"{missing} of {total} detections have no equal")
    return f"{total} detections, {missing} without an equal"


Found = dict[tuple[int, int], tuple[Tensor, Tensor]]


def _columns(path: Path) -> Found:
    """Return boxes (as x, y, width, height) and scores by image and class."""
    grouped: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in json.loads((path / FOUND).read_text()):
        grouped.setdefault((one["image_id"], one["category_id"]), []).append(one)
    return {
        key: (torch.tensor([one["bbox"] for one in group]), torch.tensor([one["score"] for one in group]))
        for key, group in grouped.items()
    }


def _missing(found: Found, others: Found) -> int:
    """Return how many detections have no equal among the others."""
    count = 0
    for key, (boxes, scores) in found.items():
        other_boxes, other_scores = others.get(key, (torch.zeros(0, 4), torch.zeros(0)))
        near = (boxes[:, None] - other_boxes).abs().amax(-1) <= 1e-2
        near &= (scores[:, None] - other_scores).abs() <= 1e-4 * scores[:, None]
        count += int((~near.any(1)).sum())
    return count


def measure(name: str, count: int, rounds: int) -> None:
    """Time a folder of so many pictures through both in turns, compare what the first round gave, and print a line."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, outputs = Path(temporary, "pictures"), [Path(temporary, side) for side in ("peer", "ours")]
        fill(folder, count)
        peer, predictor = build(name, folder / "00000.jpg")
        calls = [partial(run_peer, peer, folder, outputs[0]), partial(run_ours, predictor, folder, outputs[1])]
        times: list[list[tuple[float, float]]] = [[], []]
        text = ""
        for _ in range(rounds):
            for side, call in enumerate(calls):
                times[side].append(seconds_of(call))
            text = text or same(*outputs)
    wall, processor = ([statistics.median(each[kind] for each in side) for side in times] for kind in (0, 1))
    print(
        f"{name}, {count} pictures, {torch.get_num_threads()} threads: {wall[0] / wall[1]:.2f} times "
        f"as fast by the clock ({wall[0]:.1f} -> {wall[1]:.1f} s), {processor[0] / processor[1]:.2f} by processor time "
        f"({processor[0]:.1f} -> {processor[1]:.1f} s); {text}; {rounds} rounds",
        flush=True,
    )


def fill(folder: Path, count: int) -> None:
    """Write so many pictures."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        drawn = min(count, DRAWN)
        draw_jpegs(Path(temporary), drawn)
        for number in range(count):
            shutil.copyfile(Path(temporary, f"{number % drawn + 1}.jpg"), folder / f"{number:05d}.jpg")


def seconds_of(call: Callable[[], None]) -> tuple[float, float]:
    """Return seconds by the clock and of the processors that a call takes."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models that the command line selects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=tuple(MODELS), nargs="+", default=["lite"])
    parser.add_argument("--pictures", type=int, default=40, metavar="N", help="files in the folder (40)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="times that each side does all of them (3)")
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        metavar="N",
        help="torch's, for both (those of the cores)",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    for name in options.model:
        measure(name, options.pictures, options.rounds)


if __name__ == "__main__":
    main()
