"""Each preset's losses are those of its implementation, written out plainly, but for what the preset says itself."""

import math
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fcos.build import build_loss
from fcos.config.model import ModelConfig
from fcos.config.parse import with_keys
from fcos.config.presets import load_presets
from fcos.losses import criterion
from fcos.losses.criterion import Losses, Normalizer
from fcos.structures import NO_OBJECT, Assignment, HeadOutputs, Locations
from tests.helpers.present import present

PRESETS = load_presets()
IMAGES, NUM, CLASSES = 2, 40, 5


@dataclass(frozen=True)
class Terms:
    """The losses of an implementation's own code on one worker, but for 1 added to intersection and union."""

    box: Literal["iou", "giou"]
    # Whether the box loss is weighted by center-ness and divided by its sum, or is a mean over the positives.
    weighted: bool
    # Added to the number of positives that the class loss is divided by.
    more: int = 0


IMPLEMENTATIONS = {
    "official_v1": Terms("iou", weighted=True),
    "official_improved": Terms("giou", weighted=True),
    "adelaidet": Terms("giou", weighted=True),
    "torchvision": Terms("giou", weighted=False),
    "mmdetection": Terms("iou", weighted=True),
    "detectron2": Terms("giou", weighted=False),
    "fcos_plus": Terms("iou", weighted=True, more=IMAGES),
    "rosinality": Terms("giou", weighted=True, more=IMAGES),
}


def case(seed: int, positives: int = 12) -> tuple[HeadOutputs, Assignment, Locations]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((IMAGES * NUM,), NO_OBJECT)
    chosen = torch.randperm(IMAGES * NUM, generator=generator)[:positives]
    labels[chosen] = torch.randint(0, CLASSES, (positives,), generator=generator)
    labels = labels.view(IMAGES, NUM)
    positive = labels != NO_OBJECT
    target = (torch.rand(IMAGES, NUM, 4, generator=generator) * 60 + 2).where(positive[..., None], 1.0)
    left, top, right, bottom = target.unbind(-1)
    ratio = torch.minimum(left, right) / torch.maximum(left, right)
    ratio = ratio * torch.minimum(top, bottom) / torch.maximum(top, bottom)
    outputs = HeadOutputs(
        (torch.randn(IMAGES, NUM, CLASSES, generator=generator) - 2,),
        torch.rand(IMAGES, NUM, 4, generator=generator) * 60 + 2,
        torch.randn(IMAGES, NUM, generator=generator),
        ((1, NUM),),
    )
    locations = Locations(torch.zeros(NUM, 2), torch.full((NUM,), 8.0), ((1, NUM),), ((0.0, 0.0),), ((8.0, 8.0),), (8,))
    matched = torch.where(positive, 0, NO_OBJECT)
    return outputs, Assignment(matched, labels, target, ratio.sqrt().where(positive, 0.0)), locations


def focal_by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    is_target = labels[..., None] == torch.arange(CLASSES)
    p = logits.double().sigmoid()
    return -torch.where(is_target, 0.25 * (1 - p) ** 2 * p.log(), 0.75 * p**2 * (1 - p).log()).sum()


def box_losses(kind: str, predicted: Tensor, target: Tensor) -> Tensor:
    """Losses of single boxes, and their IoUs for kind=overlap."""
    losses = []
    for one, other in zip(predicted.double().tolist(), target.double().tolist(), strict=True):
        least = [min(*pair) for pair in zip(one, other, strict=True)]
        most = [max(*pair) for pair in zip(one, other, strict=True)]
        areas = [(side[0] + side[2]) * (side[1] + side[3]) for side in (one, other, least, most)]
        union = areas[0] + areas[1] - areas[2]
        overlap = areas[2] / union
        values = {"iou": -math.log(overlap), "giou": 1 - overlap + (areas[3] - union) / areas[3], "overlap": overlap}
        losses.append(values[kind])
    return torch.tensor(losses, dtype=torch.float64)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=0)


def compute(model: ModelConfig, outputs: HeadOutputs, assignment: Assignment, locations: Locations) -> Losses:
    loss = build_loss(model)
    return loss(outputs, assignment, locations, loss.normalizer([assignment]))


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_preset_has_the_losses_of_its_implementation(name: str) -> None:
    terms = IMPLEMENTATIONS[name]
    for seed in range(4):
        outputs, assignment, locations = case(seed)
        losses, positive = compute(PRESETS[name], outputs, assignment, locations), assignment.positive
        count, weights = int(positive.sum()), assignment.centerness[positive].double()
        # Those that add the images are said to in the preset: no key says it.
        expected = focal_by_hand(outputs.logits[0], assignment.labels) / (count + terms.more)
        close(losses.classification * count / (count + terms.more), expected)
        boxes = box_losses(terms.box, outputs.ltrb[positive], assignment.ltrb[positive])
        expected = (boxes * weights).sum() / weights.sum() if terms.weighted else boxes.mean()
        close(losses.regression, expected)
        quality = binary_cross_entropy_with_logits(present(outputs.quality)[positive].double(), weights)
        close(losses.quality, quality)


def test_every_preset_is_compared() -> None:
    assert set(IMPLEMENTATIONS) == set(PRESETS)


def test_adelaidets_iou_quality_is_as_in_its_preset() -> None:
    """BOX_QUALITY=iou predicts the IoU, and leaves the box loss without center-ness."""
    model = with_keys(PRESETS["adelaidet"], {"head.quality": "iou", "loss.weight_by_centerness": False})
    outputs, assignment, locations = case(0)
    losses, positive = compute(model, outputs, assignment, locations), assignment.positive
    predicted, target = outputs.ltrb[positive], assignment.ltrb[positive]
    close(losses.regression, box_losses("giou", predicted, target).mean())
    overlap = box_losses("overlap", predicted, target)
    expected = binary_cross_entropy_with_logits(present(outputs.quality)[positive].double(), overlap)
    close(losses.quality, expected)


def normalizer_of_workers(
    monkeypatch: pytest.MonkeyPatch, model: ModelConfig, positives: int, workers: int
) -> Normalizer:
    """The normaliser of a worker that has all the positives there are."""
    monkeypatch.setattr(criterion, "world_size", lambda: workers)
    monkeypatch.setattr(criterion, "mean_over_workers", lambda values: values / workers)
    return build_loss(model).normalizer([case(0, positives)[1]])


FLOORS = ("one_per_step", "one_per_worker")


@pytest.mark.parametrize("name", ["official_v1", "official_improved", "adelaidet", "mmdetection", "detectron2"])
def test_a_step_without_a_positive_divides_by_one_for_each_worker_as_they_do(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The class loss of 8 workers is 8 times theirs where one positive in the whole step is enough."""
    preset = PRESETS[name]
    ours = with_keys(preset, {"loss.normalizer_floor": "one_per_step"})
    theirs = normalizer_of_workers(monkeypatch, preset, positives=0, workers=8)
    assert theirs.positives == 1 and theirs.centerness == pytest.approx(1e-6)
    assert normalizer_of_workers(monkeypatch, ours, positives=0, workers=8).positives == pytest.approx(1 / 8)
    # One worker, and as many positives as workers, are the same either way.
    for positives, workers in ((0, 1), (8, 8), (12, 8)):
        one, other = (normalizer_of_workers(monkeypatch, each, positives, workers) for each in (preset, ours))
        assert one.positives == other.positives == pytest.approx(max(positives, 1) / workers)


@pytest.mark.parametrize("scope", ["global", "ema"])
def test_few_positives_of_many_workers_count_as_one_for_each(monkeypatch: pytest.MonkeyPatch, scope: str) -> None:
    found = [
        normalizer_of_workers(
            monkeypatch,
            with_keys(PRESETS["mmdetection"], {"loss.normalizer": scope, "loss.normalizer_floor": floor}),
            positives=3,
            workers=8,
        ).positives
        for floor in FLOORS
    ]
    assert found == [pytest.approx(3 / 8), 1]


def test_the_moving_average_is_of_at_least_one_positive_in_each_step() -> None:
    many, none = case(0, 12)[1], case(0, 0)[1]
    averages = []
    for floor in FLOORS:
        loss = build_loss(with_keys(PRESETS["detectron2"], {"loss.normalizer_floor": floor}))
        loss.normalizer([none])
        averages.append(float(loss.normalizer([many]).positives))
    # Weights 0.9 and 1 of a step without positives and of one with twelve.
    assert averages == [pytest.approx(12 / 1.9), pytest.approx((0.9 + 12) / 1.9)]
