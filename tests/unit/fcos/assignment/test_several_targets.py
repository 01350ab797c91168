"""Locations with two targets: which boxes they get, which prediction learns which, and two boxes at one location."""

import math
from collections.abc import Callable
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
from fcos.assignment.encode import encode_targets
from fcos.assignment.fcos import match_fcos
from fcos.build import build_detector, build_loss, build_train_state
from fcos.config.model import ModelConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.drawing.assignment import assignment_panels
from fcos.geometry import areas, compute_locations, ious, ltrb_from_boxes
from fcos.inference import load_trained
from fcos.losses.criterion import FCOSLoss
from fcos.postprocess.decode import Postprocess
from fcos.runtime import LocalRuntime
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.structures import NO_OBJECT, Batch, HeadOutputs, Locations, Targets
from fcos.training.checkpoint import save
from fcos.training.optim import make_lr_scheduler
from fcos.training.step import train_step
from tests.helpers.detections.pyramids import CPU, RANGES, box, fcos_rule, in_range, pyramid, targets_of
from tests.helpers.present import present

LOCATIONS = compute_locations(((16, 20), (8, 10), (4, 5)), (8, 16, 32), (128, 160), "half_stride", CPU, targets=2)


def first_two_by_matrix(targets: Targets, locations: Locations, ends: str, radius: float | None, rule: str,
                        tie_break: str) -> Tensor:  # fmt: skip
    """Match every location with every box and return the first two candidates, B x P x 2."""
    sizes = [rows * columns for rows, columns in locations.shapes]
    low = torch.cat([torch.full((n,), r[0]) for n, r in zip(sizes, RANGES, strict=True)])
    high = torch.cat([torch.full((n,), math.inf if r[1] is None else r[1]) for n, r in zip(sizes, RANGES, strict=True)])
    matched = []
    for boxes, valid in zip(targets.boxes, targets.valid, strict=True):
        ltrb = torch.stack([ltrb_from_boxes(locations.xy, box.expand(len(locations.xy), 4)) for box in boxes], dim=1)
        is_candidate = (ltrb.amin(-1) > 0) & valid & in_range(rule, ltrb.amax(-1), boxes, low, high, ends)
        offset = locations.xy[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2
        if radius is not None:
            is_candidate &= offset.abs().amax(-1) < radius * locations.strides[:, None]
        by_area = areas(boxes, "plain").expand_as(is_candidate)
        cost = (by_area if tie_break == "smallest_area" else offset.square().sum(-1)).masked_fill(
            ~is_candidate, math.inf
        )
        # One more column that is never a candidate, for images of one box.
        cost = torch.cat((cost, cost.new_full((len(cost), 1), math.inf)), dim=1)
        values, index = cost.sort(dim=1, stable=True)
        matched.append(index[:, :2].masked_fill(values[:, :2].isinf(), NO_OBJECT))
    return torch.stack(matched)


@settings(max_examples=100)
@given(
    images=st.lists(st.lists(box, max_size=12), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.5]),
    rule=st.sampled_from(["longest_offset", "longer_side", "sqrt_area"]),
    tie_break=st.sampled_from(["smallest_area", "closest_center"]),
)
def test_the_first_two_candidates_equal_the_whole_matrix(images, ends, radius, rule, tie_break) -> None:
    locations, targets = pyramid(), targets_of(*images)
    config = fcos_rule(ends, radius, level_rule=rule, tie_break=tie_break)
    matched = match_fcos(targets, LOCATIONS, config).unflatten(1, (-1, 2))
    expected = first_two_by_matrix(targets, locations, ends, radius, rule, tie_break)
    torch.testing.assert_close(matched, expected)
    torch.testing.assert_close(matched[..., 0], match_fcos(targets, locations, config))


def boxes_at(targets: Targets, x: float, y: float, **changes: Any) -> list[int]:
    """Return the boxes of the finest location at a point of the first image."""
    matched = match_fcos(targets, LOCATIONS, fcos_rule(**changes))[0]
    here = (LOCATIONS.xy == torch.tensor([x, y])).all(1) & (LOCATIONS.strides == 8)
    return matched[here].tolist()


def test_a_location_in_none_one_two_and_three_boxes() -> None:
    around = [[44 - side, 44 - side, 44 + side, 44 + side] for side in (20.0, 8.0, 14.0)]
    for count, expected in [(0, [-1, -1]), (1, [0, -1]), (2, [1, 0]), (3, [1, 2])]:
        assert boxes_at(targets_of(around[:count]), 44, 44) == expected
    assert boxes_at(targets_of([]), 44, 44) == [-1, -1]


def test_equal_boxes_are_ordered_by_index() -> None:
    assert boxes_at(targets_of([[30.0, 30, 50, 50]] * 3), 44, 44) == [0, 1]
    assert boxes_at(targets_of([[30.0, 30, 50, 50]] * 3), 44, 44, tie_break="closest_center") == [0, 1]


def test_random_tie_break_never_takes_one_box_twice() -> None:
    targets = targets_of([[30.0, 30, 50, 50]] * 3)
    pairs = {tuple(boxes_at(targets, 44, 44, tie_break="random")) for _ in range(60)}
    assert pairs == {(one, other) for one, other in product(range(3), repeat=2) if one != other}


def test_batch_equals_single_images_also_without_boxes() -> None:
    images = [[[0.0, 0, 60, 60], [10.0, 10, 50, 50]], [], [[20.0, 20, 90, 90]] * 3]
    batched = match_fcos(targets_of(*images), LOCATIONS, fcos_rule())
    for boxes, row in zip(images, batched, strict=True):
        assert torch.equal(match_fcos(targets_of(boxes), LOCATIONS, fcos_rule())[0], row)
    none = Targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    matched = match_fcos(none, LOCATIONS, fcos_rule())
    assert not encode_targets(matched, none, LOCATIONS.xy).positive.any() and matched.shape == (2, len(LOCATIONS.xy))


def configured(values: dict[str, Any], **changes: Any) -> Config:
    values = set_value(values, "model.targets_per_location", 2)
    for key, value in changes.items():
        values = set_value(values, key.replace("__", "."), value)
    return parse(Config, values)


def batch_of(*boxes: list[list[float]]) -> Batch:
    """Return images of 64 x 64 noise, each with boxes of class 0."""
    pixels = torch.randint(
        0, 256, (len(boxes), 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    targets = targets_of(*boxes, labels=[[0] * len(each) for each in boxes])
    sizes = torch.tensor([[64, 64]] * len(boxes))
    return Batch(pixels, sizes, sizes, targets, tuple(range(len(boxes))), ("a",) * len(boxes))


def test_one_target_per_location_needs_no_pairing(tiny_values: dict[str, Any]) -> None:
    model = parse(Config, tiny_values).model
    batch = batch_of([[10.0, 10, 40, 40]])
    locations = build_locate(model)(batch)
    expected = compute_locations(locations.shapes, (8, 16, 32, 64), (64, 64), "half_stride", CPU)
    assert torch.equal(locations.xy, expected.xy) and locations.shapes == expected.shapes and locations.targets == 1
    assignment, outputs = build_assign(model)(batch.targets, locations), HeadOutputs((), torch.zeros(1, 0, 4), None, ())
    loss = build_loss(model)
    assert loss.best_pairing(outputs, assignment, locations, loss.normalizer([assignment])) is assignment


# Three locations: in two boxes, in one, in none.
FEW_LOCATIONS = compute_locations(((1, 3),), (8,), (8, 24), "half_stride", CPU, targets=2)
FEW_BOXES = Targets(
    torch.tensor([[[0.0, 0, 8, 7], [0.0, 0, 14, 8]]]), torch.tensor([[2, 0]]), torch.ones(1, 2, dtype=torch.bool)
)
FEW_MATCHED = torch.tensor([[0, 1, 1, NO_OBJECT, NO_OBJECT, NO_OBJECT]])


def random_outputs(seed: int) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, 3, generator=generator) * 3
    return HeadOutputs(
        (logits,), torch.rand(1, 6, 4, generator=generator) * 15 + 0.1, torch.randn(1, 6, generator=generator), ()
    )


def make_loss(**changes: Any) -> FCOSLoss:
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
def test_the_pairing_has_the_least_loss(changes: dict[str, Any]) -> None:
    """Try all pairings of three locations, with losses computed as in training."""
    loss, best_pairings = make_loss(**changes), set()
    for seed in range(12):
        outputs = random_outputs(seed)
        totals: dict[tuple[int, ...], float] = {}
        for swaps in product((False, True), repeat=3):
            order = torch.tensor([2 * n + (slot ^ swap) for n, swap in enumerate(swaps) for slot in (0, 1)])
            candidate = encode_targets(FEW_MATCHED[:, order], FEW_BOXES, FEW_LOCATIONS.xy)
            matched = tuple(candidate.matched[0].tolist())
            totals[matched] = float(loss(outputs, candidate, FEW_LOCATIONS, loss.normalizer([candidate])).total)
        assignment = encode_targets(FEW_MATCHED, FEW_BOXES, FEW_LOCATIONS.xy)
        normalizer = loss.normalizer([assignment])
        paired = loss.best_pairing(outputs, assignment, FEW_LOCATIONS, normalizer)
        total = float(loss(outputs, paired, FEW_LOCATIONS, normalizer).total)
        best = min(totals, key=totals.__getitem__)
        assert tuple(paired.matched[0].tolist()) == best and total == pytest.approx(totals[best], rel=1e-5)
        # All targets are swapped, and the normaliser stays the same.
        expected = encode_targets(paired.matched, FEW_BOXES, FEW_LOCATIONS.xy)
        for name in ("labels", "ltrb", "centerness"):
            torch.testing.assert_close(getattr(paired, name), getattr(expected, name))
        assert loss.normalizer([paired]) == normalizer
        best_pairings.add(best)
    assert len(best_pairings) > 1


def test_equal_costs_keep_the_pairing() -> None:
    assignment = encode_targets(FEW_MATCHED, FEW_BOXES, FEW_LOCATIONS.xy)
    outputs = random_outputs(0)
    equal_outputs = HeadOutputs(
        (outputs.logits[0][:, :1].expand(1, 6, 3),), outputs.ltrb[:, :1].expand(1, 6, 4), None, ()
    )
    loss = make_loss(quality="none")
    paired = loss.best_pairing(equal_outputs, assignment, FEW_LOCATIONS, loss.normalizer([assignment]))
    assert torch.equal(paired.matched, assignment.matched)


def test_only_predictions_with_a_box_get_regression_gradients() -> None:
    loss, outputs = make_loss(), random_outputs(1)
    leaves = [each.requires_grad_() for each in (outputs.logits[0], outputs.ltrb, present(outputs.quality))]
    assignment = encode_targets(FEW_MATCHED, FEW_BOXES, FEW_LOCATIONS.xy)
    normalizer = loss.normalizer([assignment])
    paired = loss.best_pairing(outputs, assignment, FEW_LOCATIONS, normalizer)
    assert not paired.ltrb.requires_grad
    logits, ltrb, quality = torch.autograd.grad(loss(outputs, paired, FEW_LOCATIONS, normalizer).total, leaves)
    assert torch.equal((ltrb != 0).any(-1), paired.positive) and torch.equal(quality != 0, paired.positive)
    # Every class of every prediction gets a gradient; only that of the box's class is negative.
    assert (logits != 0).all()
    is_target = torch.nn.functional.one_hot(paired.labels.clamp(min=0), 3).bool() & paired.positive[..., None]
    assert torch.equal(logits < 0, is_target)


def gradients(config: Config, batches: list[Batch]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    detector = build_detector(config.model, 3, channels_last=False)
    state = build_train_state(config, detector, LocalRuntime(Path(), CPU))
    state.optimizer.step = lambda: None  # type: ignore[assignment]
    train_step(state, batches)
    return {name: value.grad for name, value in detector.named_parameters() if value.grad is not None}


def test_micro_batches_give_the_same_gradients(tiny_values: dict[str, Any]) -> None:
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


def test_each_target_of_a_location_has_a_panel(tiny_values: dict[str, Any]) -> None:
    model = configured(tiny_values).model
    batch = batch_of([[10.0, 10, 40, 40], [12.0, 8, 38, 42]])
    locations = build_locate(model)(batch)
    assignment = build_assign(model)(batch.targets, locations)
    titles = [f"P{level}" for level in model.levels]
    assert len(assignment_panels(batch.pixels[0], batch.targets, assignment, locations, titles=titles)) == 2 * len(
        titles
    )


# Same center, size and class, so that all of their locations are the same.
CROSSED = [[16.0, 22, 48, 42], [22.0, 16, 42, 48]]


def best_ious(model: ModelConfig, outputs: HeadOutputs, batch: Batch, suppression: str) -> list[float]:
    """Return for each crossed box the IoU with the best confident detection."""
    config = model.postprocess.model_copy(update={"suppression": suppression, "nms_threshold": 0.4})
    detections = Postprocess(config)(outputs, build_locate(model)(batch), batch.sizes, batch.original_sizes)[0]
    confident = detections.boxes[detections.scores > 0.3]
    return [float(ious(box, confident).max()) if len(confident) else 0.0 for box in torch.tensor(CROSSED)]


def fit_outputs(model: ModelConfig, batch: Batch, steps: int) -> HeadOutputs:
    """Optimise head outputs directly on the loss, from a start that is equal everywhere but for a little noise."""
    locations = build_locate(model)(batch)
    generator, num = torch.Generator().manual_seed(0), len(locations.xy)
    leaves = [torch.randn(1, num, size, generator=generator).mul(0.1).requires_grad_() for size in (1, 4, 1)]
    counts = [rows * columns for rows, columns in locations.shapes]
    loss, assignment = build_loss(model), build_assign(model)(batch.targets, locations)
    normalizer = loss.normalizer([assignment])
    optimizer = torch.optim.Adam(leaves, lr=0.1)

    def outputs() -> HeadOutputs:
        logits, ltrb, quality = leaves
        return HeadOutputs((logits - 3).split(counts, dim=1), (ltrb + 2).exp(), quality.squeeze(-1), locations.shapes)

    for _ in range(steps):
        optimizer.zero_grad()
        loss(
            outputs(), loss.best_pairing(outputs(), assignment, locations, normalizer), locations, normalizer
        ).total.backward()
        optimizer.step()
    return outputs()


def test_two_boxes_at_one_location_need_two_predictions(tiny_values: dict[str, Any]) -> None:
    """The boxes' IoU is 0.45, so NMS at 0.4 keeps one of them, and one prediction per location cannot give both."""
    batch = batch_of(CROSSED)
    two = configured(tiny_values).model
    outputs = fit_outputs(two, batch, 80)
    assert min(best_ious(two, outputs, batch, "set_nms")) > 0.8
    assert min(best_ious(two, outputs, batch, "nms")) < 0.6
    one = configured(tiny_values, model__targets_per_location=1).model
    assert min(best_ious(one, fit_outputs(one, batch, 80), batch, "nms")) < 0.6


def constant(factor: float) -> Callable[[int], float]:
    return lambda step: factor


@pytest.mark.slow
def test_a_detector_learns_two_boxes_at_one_location(tiny_values: dict[str, Any]) -> None:
    batch = batch_of(CROSSED, CROSSED)
    for count, learns in ((2, True), (1, False)):
        config = configured(tiny_values, model__targets_per_location=count, schedule__lr=0.005)
        torch.manual_seed(0)
        detector = build_detector(config.model, 1, channels_last=False)
        state = build_train_state(config, detector, LocalRuntime(Path(), CPU))
        state = replace(state, scheduler=make_lr_scheduler(state.optimizer, constant(state.scheduler.lr_lambdas[0](0))))
        for _ in range(120):
            train_step(state, [batch])
        with torch.no_grad():
            outputs = detector.eval()(batch.pixels, batch.sizes)
        assert (min(best_ious(config.model, outputs, batch, "set_nms" if learns else "nms")) > 0.8) == learns


def test_export_to_torchvision_refuses_two_predictions(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tiny_values)
    detector = build_detector(config.model, 1, channels_last=False)
    values = config.model_dump(mode="json")
    folder = save(tmp_path, step=1, config=values, classes=("a",), model=detector, averages={}, state={})
    assert main(["export-weights", str(folder), "--output", str(tmp_path / "out.pth")]) == 2
    assert "model.targets_per_location=2: torchvision's FCOS has one prediction" in capsys.readouterr().err
    one = {"model.targets_per_location": 1}
    with pytest.raises(CheckpointError, match="the weights do not fit the changed model"):
        load_trained(folder, CPU, one)
