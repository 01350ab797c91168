"""Locations that answer for two boxes: which boxes, which prediction learns which, and what that is good for."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcos.__main__ import main
from fcos.assignment.build import build_assign, build_locate
from fcos.assignment.encode import fill
from fcos.assignment.fcos import match
from fcos.build import build_detector, build_learner, build_loss
from fcos.config.model import ModelConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.draw import assignment_panels
from fcos.geometry import areas, compute_locations, ious, ltrb_from_boxes
from fcos.inference import load_trained
from fcos.losses.criterion import FCOSLoss
from fcos.postprocess.decode import Postprocess
from fcos.runtime import LocalRuntime
from fcos.structures import NO_OBJECT, Batch, HeadOutputs, Locations, Targets
from fcos.training.checkpoint import CheckpointError, save
from fcos.training.step import train_step
from tests.helpers.pyramids import CPU, RANGES, box, in_range, pyramid, targets_of

TWICE = compute_locations(((16, 20), (8, 10), (4, 5)), (8, 16, 32), (128, 160), "half_stride", CPU, targets=2)


def first_two_by_matrix(targets: Targets, places: Locations, ends: str, radius: float | None, rule: str,
                        tie_break: str) -> Tensor:  # fmt: skip
    """Every location against every box: the two that come first, B x P x 2."""
    sizes = [rows * columns for rows, columns in places.shapes]
    low = torch.cat([torch.full((n,), r[0]) for n, r in zip(sizes, RANGES, strict=True)])
    high = torch.cat([torch.full((n,), math.inf if r[1] is None else r[1]) for n, r in zip(sizes, RANGES, strict=True)])
    found = []
    for boxes, valid in zip(targets.boxes, targets.valid, strict=True):
        ltrb = torch.stack([ltrb_from_boxes(places.xy, one.expand(len(places.xy), 4)) for one in boxes], dim=1)
        admitted = (ltrb.amin(-1) > 0) & valid & in_range(rule, ltrb.amax(-1), boxes, low, high, ends)
        apart = places.xy[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2
        if radius is not None:
            admitted &= apart.abs().amax(-1) < radius * places.strides[:, None]
        by_area = areas(boxes, "plain").expand_as(admitted)
        cost = (by_area if tie_break == "smallest_area" else apart.square().sum(-1)).masked_fill(~admitted, math.inf)
        # One more that nobody is, for images of one box.
        cost = torch.cat((cost, cost.new_full((len(cost), 1), math.inf)), dim=1)
        values, index = cost.sort(dim=1, stable=True)
        found.append(index[:, :2].masked_fill(values[:, :2].isinf(), NO_OBJECT))
    return torch.stack(found)


@settings(max_examples=100)
@given(
    images=st.lists(st.lists(box, max_size=12), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.5]),
    rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_the_first_two_are_those_of_the_whole_matrix(images, ends, radius, rule, tie_break) -> None:
    places, targets = pyramid(), targets_of(*images)
    found = match(targets, TWICE, RANGES, ends, radius, "plain", rule, tie_break).unflatten(1, (-1, 2))
    expected = first_two_by_matrix(targets, places, ends, radius, rule, tie_break)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[..., 0], match(targets, places, RANGES, ends, radius, "plain", rule, tie_break))


RULES = {"ranges": RANGES, "ends": "closed", "center_sampling_radius": None, "box_convention": "plain"}


def boxes_at(targets: Targets, x: float, y: float, **rules: Any) -> list[int]:
    """The boxes of the finest location at a point, of the first image."""
    matched = match(targets, TWICE, **{**RULES, **rules})[0]
    here = (TWICE.xy == torch.tensor([x, y])).all(1) & (TWICE.strides == 8)
    return matched[here].tolist()


def test_a_location_in_none_one_two_and_three_boxes() -> None:
    around = [[44 - side, 44 - side, 44 + side, 44 + side] for side in (20.0, 8.0, 14.0)]
    for count, expected in [(0, [-1, -1]), (1, [0, -1]), (2, [1, 0]), (3, [1, 2])]:
        assert boxes_at(targets_of(around[:count]), 44, 44) == expected
    assert boxes_at(targets_of([]), 44, 44) == [-1, -1]


def test_of_equal_boxes_the_first_come_first() -> None:
    assert boxes_at(targets_of([[30.0, 30, 50, 50]] * 3), 44, 44) == [0, 1]
    assert boxes_at(targets_of([[30.0, 30, 50, 50]] * 3), 44, 44, tie_break="closest_center") == [0, 1]


def test_in_random_order_the_two_are_never_one_box() -> None:
    targets = targets_of([[30.0, 30, 50, 50]] * 3)
    drawn = {tuple(boxes_at(targets, 44, 44, tie_break="random")) for _ in range(60)}
    assert drawn == {(one, other) for one, other in product(range(3), repeat=2) if one != other}


def test_a_batch_gives_what_each_image_gives_alone_and_no_boxes_give_none() -> None:
    images = [[[0.0, 0, 60, 60], [10.0, 10, 50, 50]], [], [[20.0, 20, 90, 90]] * 3]
    together = match(targets_of(*images), TWICE, **RULES)
    for boxes, row in zip(images, together, strict=True):
        assert torch.equal(match(targets_of(boxes), TWICE, **RULES)[0], row)
    none = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    matched = match(none, TWICE, **RULES)
    assert not fill(matched, none, TWICE.xy).positive.any() and matched.shape == (2, len(TWICE.xy))


def configured(values: dict[str, Any], **changes: Any) -> Config:
    values = set_value(values, "model.targets_per_location", 2)
    for key, value in changes.items():
        values = set_value(values, key.replace("__", "."), value)
    return parse(Config, values)


def batch_of(*boxes: list[list[float]]) -> Batch:
    """Images of 64 x 64 noise, each with boxes of class 0."""
    pixels = torch.randint(
        0, 256, (len(boxes), 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    targets = targets_of(*boxes, labels=[[0] * len(each) for each in boxes])
    sizes = torch.tensor([[64, 64]] * len(boxes))
    return Batch(pixels, sizes, sizes, targets, tuple(range(len(boxes))), ("a",) * len(boxes))


def test_one_box_for_each_location_is_as_ever(tiny_values: dict[str, Any]) -> None:
    model = parse(Config, tiny_values).model
    batch = batch_of([[10.0, 10, 40, 40]])
    places = build_locate(model)(batch)
    once = compute_locations(places.shapes, (8, 16, 32, 64), (64, 64), "half_stride", CPU)
    assert torch.equal(places.xy, once.xy) and places.shapes == once.shapes and places.targets == 1
    assignment, outputs = build_assign(model)(batch.targets, places), HeadOutputs((), torch.zeros(1, 0, 4), None, ())
    loss = build_loss(model)
    assert loss.paired(outputs, assignment, places, loss.normalizer([assignment])) is assignment


# Three locations: in two boxes, in one, in none.
FEW = compute_locations(((1, 3),), (8,), (8, 24), "half_stride", CPU, targets=2)
FEW_BOXES = Targets(
    torch.tensor([[[0.0, 0, 8, 7], [0.0, 0, 14, 8]]]), torch.tensor([[2, 0]]), torch.ones(1, 2, dtype=torch.bool)
)
FEW_MATCHED = torch.tensor([[0, 1, 1, NO_OBJECT, NO_OBJECT, NO_OBJECT]])


def few_outputs(seed: int) -> HeadOutputs:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, 3, generator=draw) * 3
    return HeadOutputs((logits,), torch.rand(1, 6, 4, generator=draw) * 15 + 0.1, torch.randn(1, 6, generator=draw), ())


def rule_of(**changes: Any) -> FCOSLoss:
    values: dict[str, Any] = {
        "regression": "giou", "weight_by_centerness": True, "quality": "centerness", "normalizer_scope": "local",
        "focal_alpha": 0.25, "focal_gamma": 2.0, "classification_weight": 1.0, "regression_weight": 1.0,
        "quality_weight": 1.0,
    }  # fmt: skip
    return FCOSLoss(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_by_centerness": False, "regression": "iou"},
        {"quality": "iou", "quality_loss": "l1", "regression": "l1"},
        {"classification_weight": 0.0, "quality_weight": 3.0},
        {"regression_weight": 0.0, "focal_alpha": 0.6, "focal_gamma": 1.0},
    ],
)
def test_the_pairing_is_the_one_of_least_loss(changes: dict[str, Any]) -> None:
    """Of all pairings of three locations, whose losses are computed as a training computes them."""
    rule, chosen = rule_of(**changes), set()
    for seed in range(12):
        outputs = few_outputs(seed)
        totals: dict[tuple[int, ...], float] = {}
        for turned in product((False, True), repeat=3):
            order = torch.tensor([2 * n + (slot ^ turn) for n, turn in enumerate(turned) for slot in (0, 1)])
            other = fill(FEW_MATCHED[:, order], FEW_BOXES, FEW.xy)
            matched = tuple(other.matched[0].tolist())
            totals[matched] = float(rule(outputs, other, FEW, rule.normalizer([other])).total)
        given_ = fill(FEW_MATCHED, FEW_BOXES, FEW.xy)
        normalizer = rule.normalizer([given_])
        found = rule.paired(outputs, given_, FEW, normalizer)
        total = float(rule(outputs, found, FEW, normalizer).total)
        best = min(totals, key=totals.__getitem__)
        assert tuple(found.matched[0].tolist()) == best and total == pytest.approx(totals[best], rel=1e-5)
        # All of it is turned, and the normaliser stays.
        expected = fill(found.matched, FEW_BOXES, FEW.xy)
        for name in ("labels", "ltrb", "centerness"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))
        assert rule.normalizer([found]) == normalizer
        chosen.add(best)
    assert len(chosen) > 1


def test_equal_costs_leave_the_pairing_as_it_is() -> None:
    given_ = fill(FEW_MATCHED, FEW_BOXES, FEW.xy)
    outputs = few_outputs(0)
    alike = HeadOutputs((outputs.logits[0][:, :1].expand(1, 6, 3),), outputs.ltrb[:, :1].expand(1, 6, 4), None, ())
    rule = rule_of(quality="none")
    found = rule.paired(alike, given_, FEW, rule.normalizer([given_]))
    assert torch.equal(found.matched, given_.matched)


def test_only_the_prediction_that_has_a_box_learns_one() -> None:
    rule, outputs = rule_of(), few_outputs(1)
    leaves = [outputs.logits[0].requires_grad_(), outputs.ltrb.requires_grad_(), outputs.quality.requires_grad_()]
    given_ = fill(FEW_MATCHED, FEW_BOXES, FEW.xy)
    normalizer = rule.normalizer([given_])
    found = rule.paired(outputs, given_, FEW, normalizer)
    assert not found.ltrb.requires_grad
    logits, ltrb, quality = torch.autograd.grad(rule(outputs, found, FEW, normalizer).total, leaves)
    assert torch.equal((ltrb != 0).any(-1), found.positive) and torch.equal(quality != 0, found.positive)
    # Every class of every prediction is learned, the box's class upwards.
    assert (logits != 0).all()
    own = torch.nn.functional.one_hot(found.labels.clamp(min=0), 3).bool() & found.positive[..., None]
    assert torch.equal(logits < 0, own)


def gradients(config: Config, batches: list[Batch]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    detector = build_detector(config.model, 3, channels_last=False)
    learner = build_learner(config, detector, LocalRuntime(Path(), CPU))
    learner.optimizer.step = lambda: None  # type: ignore[method-assign]
    train_step(learner, batches)
    return {name: value.grad for name, value in detector.named_parameters() if value.grad is not None}


def test_micro_batches_leave_the_step_as_it_is(tiny_values: dict[str, Any]) -> None:
    whole = batch_of(
        [[10.0, 10, 40, 40], [12.0, 8, 38, 42]], [[20.0, 20, 50, 50], [22.0, 18, 48, 52], [30.0, 30, 36, 36]]
    )

    def image(number: int) -> Batch:
        part, targets = slice(number, number + 1), whole.targets
        own = Targets(targets.boxes[part], targets.labels[part], targets.valid[part])
        return Batch(whole.pixels[part], whole.sizes[part], whole.sizes[part], own, (number,), ("a",))

    common = {"model__backbone__norm": "frozen_bn", "schedule__clip_norm": None}
    together = gradients(configured(tiny_values, **common), [whole])
    parts = gradients(configured(tiny_values, **common, schedule__accumulate=2), [image(0), image(1)])
    assert together.keys() == parts.keys()
    for name, value in together.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-6)


def test_each_box_of_a_location_has_a_panel(tiny_values: dict[str, Any]) -> None:
    model = configured(tiny_values).model
    batch = batch_of([[10.0, 10, 40, 40], [12.0, 8, 38, 42]])
    places = build_locate(model)(batch)
    assignment = build_assign(model)(batch.targets, places)
    titles = [f"P{level}" for level in model.levels]
    assert len(assignment_panels(batch.pixels[0], batch.targets, assignment, places, titles=titles)) == 2 * len(titles)


# Of one center, size and class: all of their locations are the same.
CROSSED = [[16.0, 22, 48, 42], [22.0, 16, 42, 48]]


def found_of(model: ModelConfig, outputs: HeadOutputs, batch: Batch, suppression: str) -> list[float]:
    """The IoU of each crossed box with the confident detection nearest to it."""
    rule = model.postprocess.model_copy(update={"suppression": suppression, "nms_threshold": 0.4})
    found = Postprocess(rule)(outputs, build_locate(model)(batch), batch.sizes, batch.original_sizes)[0]
    confident = found.boxes[found.scores > 0.3]
    return [float(ious(one, confident).max()) if len(confident) else 0.0 for one in torch.tensor(CROSSED)]


def fitted(model: ModelConfig, batch: Batch, steps: int) -> HeadOutputs:
    """Head outputs that descend the loss themselves, from a start that is the same but for a little noise."""
    places = build_locate(model)(batch)
    draw, num = torch.Generator().manual_seed(0), len(places.xy)
    leaves = [torch.randn(1, num, size, generator=draw).mul(0.1).requires_grad_() for size in (1, 4, 1)]
    counts = [rows * columns for rows, columns in places.shapes]
    rule, assignment = build_loss(model), build_assign(model)(batch.targets, places)
    normalizer = rule.normalizer([assignment])
    optimizer = torch.optim.Adam(leaves, lr=0.1)

    def outputs() -> HeadOutputs:
        logits, ltrb, quality = leaves
        return HeadOutputs((logits - 3).split(counts, dim=1), (ltrb + 2).exp(), quality.squeeze(-1), places.shapes)

    for _ in range(steps):
        optimizer.zero_grad()
        rule(outputs(), rule.paired(outputs(), assignment, places, normalizer), places, normalizer).total.backward()
        optimizer.step()
    return outputs()


def test_two_boxes_at_one_place_are_learned_by_two_predictions_alone(tiny_values: dict[str, Any]) -> None:
    """Their IoU is 0.45, so that NMS of 0.4 leaves one; with one prediction there is but one to begin with."""
    batch = batch_of(CROSSED)
    two = configured(tiny_values).model
    outputs = fitted(two, batch, 80)
    assert min(found_of(two, outputs, batch, "set_nms")) > 0.8
    assert min(found_of(two, outputs, batch, "nms")) < 0.6
    one = configured(tiny_values, model__targets_per_location=1).model
    assert min(found_of(one, fitted(one, batch, 80), batch, "nms")) < 0.6


@pytest.mark.slow
def test_a_detector_learns_them_too(tiny_values: dict[str, Any]) -> None:
    batch = batch_of(CROSSED, CROSSED)
    for count, learns in ((2, True), (1, False)):
        config = configured(tiny_values, model__targets_per_location=count, schedule__lr=0.005)
        torch.manual_seed(0)
        detector = build_detector(config.model, 1, channels_last=False)
        learner = build_learner(config, detector, LocalRuntime(Path(), CPU))
        learner = replace(learner, scheduler=torch.optim.lr_scheduler.ConstantLR(learner.optimizer, factor=1.0))
        for _ in range(120):
            train_step(learner, [batch])
        with torch.no_grad():
            outputs = detector.eval()(batch.pixels, batch.sizes)
        assert (min(found_of(config.model, outputs, batch, "set_nms" if learns else "nms")) > 0.8) == learns


def test_torchvision_has_no_place_for_two_predictions(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tiny_values)
    detector = build_detector(config.model, 1, channels_last=False)
    values = config.model_dump(mode="json")
    folder = save(tmp_path, step=1, config=values, classes=("a",), model=detector, ema=None, state={})
    assert main(["export-weights", str(folder), "--output", str(tmp_path / "out.pth")]) == 2
    assert "model.targets_per_location=2: torchvision's FCOS has one prediction" in capsys.readouterr().err
    one = {"model.targets_per_location": 1}
    with pytest.raises(CheckpointError, match="the weights do not fit the changed model"):
        load_trained(folder, CPU, one)
