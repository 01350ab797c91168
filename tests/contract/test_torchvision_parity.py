"""With the same weights, inputs and configuration, torchvision's FCOS gives the same assignment, losses, gradients
and detections.

torchvision's own defects are avoided by the choice of the case, not imitated: areas of one image differ by more than
float32 can lose next to 1e8, and no location lies on the end of a range.
"""

import pytest
import torch
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fcos.assignment.build import build_assign, build_locate
from fcos.build import build_detector, build_loss
from fcos.config.model import ModelConfig
from fcos.postprocess.decode import Postprocess
from fcos.structures import Batch, Targets
from fcos.weights.torchvision import from_torchvision

CLASSES = 7
HEIGHT, WIDTH = 128, 192


@pytest.fixture(scope="module")
def case(read_group):
    torch.manual_seed(0)
    # What fcos_resnet50_fpn builds; asked for without weights, it would not freeze its batch norms.
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256), trainable_layers=3,
    )  # fmt: skip
    theirs = FCOS(backbone, CLASSES, min_size=HEIGHT, max_size=WIDTH)
    # Random weights say the same everywhere; these speak, and some detections pass the threshold.
    with torch.no_grad():
        theirs.head.classification_head.cls_logits.bias.fill_(-1.0)
        theirs.head.regression_head.bbox_reg.bias.fill_(2.0)
        for name, parameter in theirs.head.named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                parameter.mul_(2)
    values = read_group("model", "torchvision")
    values["backbone"]["weights"] = None
    config = ModelConfig.model_validate(values)
    ours = build_detector(config, CLASSES, channels_last=False)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    boxes = [
        torch.tensor([[10.3, 20.1, 90.7, 120.2], [30.2, 40.9, 60.4, 70.3], [5.1, 5.2, 180.3, 126.4]]),
        torch.tensor([[100.6, 10.3, 180.2, 115.7]]),
    ]
    labels = [torch.tensor([1, 5, 0]), torch.tensor([3])]
    padded, classes, valid = (
        torch.zeros(2, 8, 4),
        torch.zeros(2, 8, dtype=torch.long),
        torch.zeros(2, 8).bool(),
    )
    for row in range(2):
        count = len(boxes[row])
        padded[row, :count], classes[row, :count], valid[row, :count] = boxes[row], labels[row], True
    sizes = torch.tensor([[HEIGHT, WIDTH]] * 2)
    batch = Batch(images, sizes, sizes, Targets(padded, classes, valid), (1, 2), ("a", "b"))
    targets = [{"boxes": b, "labels": c} for b, c in zip(boxes, labels, strict=True)]
    return theirs, ours, config, batch, targets


def test_assignment(case, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, _, config, batch, targets = case
    seen = {}

    def remember(targets, outputs, anchors, matched):
        seen["matched"] = torch.stack(matched)
        return {}

    monkeypatch.setattr(theirs.head, "compute_loss", remember)
    theirs.train()
    theirs(list(batch.pixels.float() / 255), [dict(target) for target in targets])
    found = build_assign(config)(batch.targets, build_locate(config)(batch))
    torch.testing.assert_close(found.matched, seen["matched"])
    assert (found.matched >= 0).sum() > 30


def test_losses_and_gradients(case) -> None:
    theirs, ours, config, batch, targets = case
    theirs.train(), ours.train()
    theirs.zero_grad(), ours.zero_grad()
    expected = theirs(list(batch.pixels.float() / 255), [dict(target) for target in targets])
    sum(expected.values()).backward()
    locations = build_locate(config)(batch)
    assignment = build_assign(config)(batch.targets, locations)
    loss = build_loss(config)
    losses = loss(ours(batch.pixels, batch.sizes), assignment, locations, loss.normalizer([assignment]))
    losses.total.backward()
    for mine, name in (
        ("classification", "classification"),
        ("regression", "bbox_regression"),
        ("quality", "bbox_ctrness"),
    ):
        torch.testing.assert_close(getattr(losses, mine), expected[name], rtol=1e-5, atol=0)
    gradients = from_torchvision(
        {
            name: torch.zeros_like(value) if getattr(value, "grad", None) is None else value.grad
            for name, value in theirs.state_dict(keep_vars=True).items()
        }
    )
    compared = 0
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None:
            scale = float(gradients[name].abs().max())
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-5 * scale)
            compared += 1
    assert compared > 80


def test_detections(case) -> None:
    theirs, ours, config, batch, _ = case
    theirs.eval(), ours.eval()
    with torch.no_grad():
        expected = theirs(list(batch.pixels.float() / 255))
        outputs = ours(batch.pixels, batch.sizes)
    rule = Postprocess(config.postprocess, config.assignment.corners)
    found = rule(outputs, build_locate(config)(batch), batch.sizes, batch.original_sizes)
    for mine, other in zip(found, expected, strict=True):
        assert len(mine.boxes) > 10
        torch.testing.assert_close(mine.scores, other["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mine.boxes, other["boxes"], rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(mine.labels, other["labels"])
