"""The head: order of locations, decoding of distances, towers, norms, anchors and several targets."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcos.config.model_parts import HeadConfig
from fcos.model.head import Head, SeparateHeads
from fcos.model.norm import GroupNorm
from fcos.structures import HeadOutputs
from tests.helpers.present import present

STRIDES = (8, 16)
SIZES = ((4, 6), (2, 3))


def build(seed: int = 0, num_classes: int = 3, **settings: Any) -> Head:
    torch.manual_seed(seed)
    network = {key: settings.pop(key) for key in ("strides", "anchors", "targets_per_location") if key in settings}
    config = HeadConfig(**{"num_convs": 2, "gn_groups": 4, **settings})
    return Head(16, num_classes, config, **{"strides": STRIDES, **network})


def features(batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 16, *size, generator=generator) for size in SIZES]


def raw_regression(head: Head, level: int) -> Tensor:
    """Return the output of the regression convolution, row by row, before scale, activation and unit."""
    assert head.regression_tower is not None
    x = head.regression(head.regression_tower(features()[level], level))
    return torch.stack([x[:, :, row, column] for row in range(x.shape[2]) for column in range(x.shape[3])], dim=1)


def split(outputs: HeadOutputs) -> list[Tensor]:
    return list(outputs.ltrb.split([rows * columns for rows, columns in outputs.shapes], dim=1))


def test_outputs_are_ordered_by_level_and_row() -> None:
    head = build(num_convs=0)
    outputs = head(features())
    assert outputs.shapes == SIZES
    maps = [head.classification(x) for x in features()]
    torch.testing.assert_close(outputs.joined_logits[1, 2 * 6 + 5], maps[0][1, :, 2, 5])
    torch.testing.assert_close(outputs.joined_logits[0, 24 + 1 * 3 + 2], maps[1][0, :, 1, 2])
    assert outputs.quality is not None
    torch.testing.assert_close(outputs.quality[0, 24 + 1 * 3 + 2], present(head.quality)(features()[1])[0, 0, 1, 2])


@pytest.mark.parametrize("prior", [0.01, 0.3])
def test_every_class_starts_at_the_prior(prior: float) -> None:
    probabilities = build(prior=prior)(features()).joined_logits.sigmoid()
    assert abs(probabilities.mean() - prior) < 0.05 * prior


@pytest.mark.parametrize("divide_by_stride", [False, True])
@pytest.mark.parametrize("regression", ["exp", "relu"])
@pytest.mark.parametrize("scaled", [False, True])
def test_distances_are_scaled_activated_and_converted_to_pixels(
    scaled: bool, regression: str, divide_by_stride: bool
) -> None:
    head = build(scale_per_level=scaled, regression=regression, divide_by_stride=divide_by_stride)
    nn.init.normal_(head.regression.weight, std=0.5)
    scales = torch.tensor([0.5, 2.0])
    if scaled:
        present(head.scales).data.copy_(scales)
    for level, ltrb in enumerate(split(head(features()))):
        raw = raw_regression(head, level) * (scales[level] if scaled else 1)
        expected = raw.exp() if regression == "exp" else raw.clamp(min=0)
        torch.testing.assert_close(ltrb, expected * (STRIDES[level] if divide_by_stride else 1))


@pytest.mark.parametrize("training", [True, False])
def test_an_image_alone_is_as_in_a_batch_where_each_group_has_one_value(training: bool) -> None:
    head = build(norm="gn", gn_groups=16, strides=(128,)).train(training)
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 16, 1, 1, generator=generator)
    alone, together = head([maps[:1]]), head([maps])
    torch.testing.assert_close(alone.ltrb, together.ltrb[:1])
    torch.testing.assert_close(alone.joined_logits, together.joined_logits[:1])


def test_group_norm_is_torchs_own() -> None:
    ours, theirs = GroupNorm(4, 16), nn.GroupNorm(4, 16)
    (x, _) = features()
    assert torch.equal(ours(x), theirs(x)) and list(ours.state_dict()) == list(theirs.state_dict())


def test_group_norm_in_bf16_is_that_of_float32_rounded_and_keeps_the_order_of_the_tensor() -> None:
    norm, (x, _) = GroupNorm(4, 16), features()
    nn.init.normal_(norm.weight)
    last = x.bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_()
    full = last.detach().float().requires_grad_()
    ours, theirs = norm(last), norm(full)
    assert ours.dtype == torch.bfloat16 and ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-2, atol=1e-2)
    outer = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    parameters = [norm.weight, norm.bias]
    of_ours = torch.autograd.grad(ours, [last, *parameters], outer.bfloat16())
    of_theirs = torch.autograd.grad(theirs, [full, *parameters], outer)
    for one, other in zip(of_ours, of_theirs, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=2e-2, atol=2e-2)


def test_each_level_has_its_own_scale() -> None:
    head = build()
    nn.init.normal_(head.regression.weight, std=0.5)
    split(head(features()))[1].sum().backward()
    gradient = present(present(head.scales).grad)
    assert gradient[0] == 0
    assert gradient[1] != 0


def test_overflowing_distances_are_large_but_finite() -> None:
    head = build()
    nn.init.constant_(present(head.regression.bias), 100.0)
    ltrb = head(features()).ltrb
    assert ltrb.isfinite().all() and (ltrb > 1e30).all()


@pytest.mark.parametrize("branch", ["classification", "regression"])
def test_quality_depends_on_its_branch_only(branch: str) -> None:
    head = build(quality_branch=branch)
    head(features()).quality.sum().backward()
    for name in ("classification", "regression"):
        tower = head.get_submodule(f"{name}_tower")
        assert all((parameter.grad is not None) == (name == branch) for parameter in tower.parameters())


def test_an_own_quality_tower_is_used_for_the_quality_only() -> None:
    head = build(quality_branch="own")
    head(features()).quality.sum().backward()
    for name, is_used in (("classification", False), ("regression", False), ("quality", True)):
        tower = head.get_submodule(f"{name}_tower")
        assert all((parameter.grad is not None) == is_used for parameter in tower.parameters())


def test_shared_towers_use_one_tower_for_both() -> None:
    head = build(towers="shared")
    assert not any(name.startswith("regression_tower") for name in head.state_dict())
    outputs = head(features())
    outputs.ltrb.sum().backward()
    assert all(parameter.grad is not None for parameter in head.classification_tower.parameters())
    x = head.regression(head.classification_tower(features()[0], 0))
    torch.testing.assert_close(split(outputs)[0][0, 0], x[0, :, 0, 0].exp())


@pytest.mark.parametrize("quality", ["none", "centerness"])
def test_separate_heads_equal_heads_of_single_levels(quality: str) -> None:
    heads = [
        build(seed, strides=(stride,), quality=quality, divide_by_stride=True) for seed, stride in enumerate(STRIDES)
    ]
    outputs = SeparateHeads(heads)(features())
    single = [head([x]) for head, x in zip(heads, features(), strict=True)]
    assert outputs.shapes == SIZES
    torch.testing.assert_close(outputs.joined_logits, torch.cat([output.joined_logits for output in single], dim=1))
    torch.testing.assert_close(outputs.ltrb, torch.cat([output.ltrb for output in single], dim=1))
    if quality == "none":
        assert outputs.quality is None
    else:
        torch.testing.assert_close(outputs.quality, torch.cat([output.quality for output in single], dim=1))


def test_separate_heads_get_gradients_from_their_level_only() -> None:
    heads = SeparateHeads([build(strides=(stride,)) for stride in STRIDES])
    outputs = heads(features())
    (outputs.logits[1].sum() + split(outputs)[1].sum()).backward()
    others = [parameter.grad for parameter in heads.heads[0].parameters()]
    assert all(gradient is None or not gradient.any() for gradient in others)
    assert present(heads.get_parameter("heads.1.classification.weight").grad).abs().sum() > 0


def test_no_quality_branch_gives_no_quality() -> None:
    assert build(quality="none")(features()).quality is None


def test_quality_does_not_change_other_initial_weights() -> None:
    without_quality = build(quality="none").state_dict()
    for quality in ("centerness", "iou"):
        with_quality = build(quality=quality).state_dict()
        assert set(with_quality) - set(without_quality) == {"quality.weight", "quality.bias"}
        for key, value in without_quality.items():
            torch.testing.assert_close(with_quality[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["gn", "bn", "bn_per_level", "sync_bn", "none"])
def test_every_norm_starts_from_the_same_weights(norm: str) -> None:
    head = build(norm=norm).train()
    for name in ("classification_tower.convs.1.weight", "regression.weight", "quality.weight"):
        torch.testing.assert_close(head.state_dict()[name], build(norm="gn").state_dict()[name], rtol=0, atol=0)
    outputs = head(features())
    (outputs.joined_logits.sum() + outputs.ltrb.sum() + present(outputs.quality).sum()).backward()
    assert all(present(parameter.grad).isfinite().all() for parameter in head.parameters())


def test_towers_without_bias_have_only_that_less() -> None:
    head, biased = build(conv_bias=False), build()
    missing = {f"{tower}_tower.convs.{n}.bias" for tower in ("classification", "regression") for n in (0, 1)}
    assert biased.state_dict().keys() - head.state_dict().keys() == missing
    # The predictions keep theirs: a class starts at the prior.
    assert abs(head(features()).joined_logits.sigmoid().mean() - 0.01) < 5e-4
    weights = head.state_dict()["classification_tower.convs.1.weight"]
    assert abs(weights.std() - 0.01) < 1e-3 and abs(weights.mean()) < 1e-3


def test_batch_norm_per_level_has_statistics_per_level() -> None:
    head = build(norm="bn_per_level").train()
    head([features()[0], features()[1] * 5 + 7])
    norms: list[Any] = [norms.get_submodule("0") for norms in head.classification_tower.norms]
    first, second = norms
    expected = nn.BatchNorm2d(16)
    expected(head.classification_tower.convs[0](features()[0]))
    torch.testing.assert_close(first.running_mean, expected.running_mean)
    assert not torch.allclose(first.running_mean, second.running_mean)


def test_shared_batch_norm_sees_every_level() -> None:
    norms = build(norm="bn").classification_tower.norms
    assert len(norms) == 1
    head = build(norm="bn").train()
    head(features())
    assert head.get_submodule("classification_tower.norms.0.0").num_batches_tracked == len(STRIDES)


def test_group_norm_of_an_image_does_not_depend_on_the_batch() -> None:
    head = build()
    batched, single = head(features()), head([x[:1] for x in features()])
    torch.testing.assert_close(batched.joined_logits[:1], single.joined_logits)
    torch.testing.assert_close(batched.ltrb[:1], single.ltrb)


def test_distances_are_float32_under_autocast_and_logits_are_not() -> None:
    head = build(divide_by_stride=True, regression="relu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(features())
    assert outputs.ltrb.dtype == torch.float32
    assert outputs.joined_logits.dtype == outputs.quality.dtype == torch.bfloat16


def test_channels_last_gives_the_same() -> None:
    plain = build()
    last = build().to(memory_format=torch.channels_last)
    ours = last([x.contiguous(memory_format=torch.channels_last) for x in features()])
    theirs = plain(features())
    torch.testing.assert_close(ours.joined_logits, theirs.joined_logits)
    torch.testing.assert_close(ours.ltrb, theirs.ltrb)
    torch.testing.assert_close(ours.quality, theirs.quality)


def test_an_overflowing_exp_leaves_other_gradients_finite() -> None:
    raw = torch.tensor([[500.0, 1.0, 1.0, 1.0]], requires_grad=True)
    head = build(
        num_classes=1, strides=(8,), num_convs=0, norm="none", scale_per_level=False, divide_by_stride=True,
        quality="none",
    )  # fmt: skip
    ltrb = head._distances(raw[None], 0)
    ltrb.where(torch.tensor([[[False, True, True, True]]]), 1.0).sum().backward()
    assert ltrb.isfinite().all() and present(raw.grad).isfinite().all()


@pytest.mark.parametrize("anchors", [((8.0, 8.0),), ((4.0, 2.0), (2.0, 4.0), (3.0, 3.0))])
def test_deltas_shift_and_scale_the_anchors_of_a_location(anchors: tuple[tuple[float, float], ...]) -> None:
    head = build(regression="deltas", anchors=anchors, scale_per_level=False)
    outputs = head(features())
    assert outputs.quality is not None
    for level, (rows, columns) in enumerate(SIZES):
        assert outputs.shapes[level] == (rows, columns * len(anchors))
        raw = raw_regression(head, level)
        expected = []
        for location in raw.unbind(1):
            for (width, height), (x, y, w, h) in zip(
                anchors, (four.unbind(1) for four in location.unflatten(1, (-1, 4)).unbind(1)), strict=True
            ):
                size = torch.tensor([width, height]) * STRIDES[level]
                center = torch.stack((x, y), dim=-1) * size
                half_size = torch.stack((w, h), dim=-1).exp() * size / 2
                expected.append(torch.cat((half_size - center, center + half_size), dim=-1))
        torch.testing.assert_close(split(outputs)[level], torch.stack(expected, dim=1))
        logits = head.classification(head.classification_tower(features()[level], level))
        second = outputs.logits[level][0, len(anchors) - 1]
        torch.testing.assert_close(second, logits[0, -3:, 0, 0])


def test_predictions_of_a_location_are_consecutive() -> None:
    head = build(num_convs=0, targets_per_location=2)
    outputs = head(features())
    assert outputs.shapes == tuple((rows, 2 * columns) for rows, columns in SIZES)
    logits, quality = head.classification(features()[1])[1, :, 1, 2], present(head.quality)(features()[1])[1, :, 1, 2]
    ltrb = head.regression(features()[1])[1, :, 1, 2].exp()
    assert outputs.quality is not None
    for slot in range(2):
        row = 2 * (24 + 1 * 3 + 2) + slot
        torch.testing.assert_close(outputs.joined_logits[1, row], logits[3 * slot : 3 * slot + 3])
        torch.testing.assert_close(outputs.ltrb[1, row], ltrb[4 * slot : 4 * slot + 4])
        torch.testing.assert_close(outputs.quality[1, row], quality[slot])
