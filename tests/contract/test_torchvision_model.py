from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torchvision import ops
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.geometry import compute_locations
from fcos.model.detector import FCOS
from fcos.weights.torchvision import WeightsError, from_torchvision, to_torchvision

ROOT = Path(__file__).parents[2]
NUM_CLASSES = 7
SIZES = ((40, 60), (40, 47))


def build_peer() -> detection.FCOS:
    """torchvision's detector as it is trained, with frozen batch norm; its statistics are not trivial."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=ops.FrozenBatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    peer = detection.FCOS(backbone, NUM_CLASSES, min_size=40, max_size=60)
    for module in peer.modules():
        if isinstance(module, ops.FrozenBatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.5)
    nn.init.normal_(peer.head.regression_head.bbox_reg.weight, std=0.05)
    return peer.eval()


def build_ours(weights: dict[str, Tensor]) -> FCOS:
    values = yaml.safe_load((ROOT / "conf" / "model" / "torchvision.yaml").read_text())
    values["backbone"]["weights"] = None
    detector = build_detector(parse(ModelConfig, values), NUM_CLASSES, channels_last=False)
    detector.load_state_dict(from_torchvision(weights))
    return detector.eval()


@pytest.fixture(scope="module")
def peer() -> detection.FCOS:
    return build_peer()


@pytest.fixture(scope="module")
def ours(peer: detection.FCOS) -> FCOS:
    return build_ours(peer.state_dict())


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]


def outputs_of(peer: detection.FCOS, ours: FCOS) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Logits, ltrb in pixels and quality, ours and torchvision's, for the same two images."""
    dtype = next(peer.parameters()).dtype
    batch, _ = peer.transform([image.to(dtype) / 255 for image in images()])
    assert batch.image_sizes == list(SIZES)
    raw = peer.head(list(peer.backbone(batch.tensors).values()))

    padded = torch.full(batch.tensors.shape, 99, dtype=torch.uint8)
    for pixels, image in zip(padded, images(), strict=True):
        pixels[:, : image.shape[1], : image.shape[2]] = image
    found = ours(padded, torch.tensor(SIZES))
    grid = compute_locations(found.shapes, ours.strides, tuple(padded.shape[-2:]), "torchvision", torch.device("cpu"))
    assert found.quality is not None
    return (found.joined_logits, found.ltrb, found.quality), (
        raw["cls_logits"],
        raw["bbox_regression"] * grid.strides[:, None],
        raw["bbox_ctrness"].squeeze(-1),
    )


def test_the_same_weights_and_pixels_give_the_same_outputs(peer: detection.FCOS, ours: FCOS) -> None:
    with torch.no_grad():
        found, expected = outputs_of(peer, ours)
    for name, x, y in zip(("logits", "ltrb", "quality"), found, expected, strict=True):
        assert y.std() > 1e-3, f"{name}: nothing to compare"
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5 * y.abs().max().item())


def test_the_same_loss_gives_the_same_gradients(peer: detection.FCOS, ours: FCOS) -> None:
    # In float64: over fifty layers the rounding of float32 alone adds up to more than 1e-5.
    peer, ours = deepcopy(peer).double(), deepcopy(ours).double()
    found, expected = outputs_of(peer, ours)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(y.shape, generator=generator) for y in expected]
    for detector, outputs in ((peer, expected), (ours, found)):
        detector.zero_grad()
        products = ((weight * x).sum() for weight, x in zip(weights, outputs, strict=True))
        sum(products, start=torch.zeros(())).backward()

    # `peer` trains the stages that model=torchvision does: torchvision freezes the stem and layer1 as well.
    theirs = dict(peer.named_parameters())
    state_dict = peer.state_dict()
    names = dict(zip(from_torchvision(state_dict), state_dict, strict=True))
    for name, parameter in ours.named_parameters():
        expected_gradient = theirs[names[name]].grad
        assert (parameter.grad is None) == (expected_gradient is None), name
        if expected_gradient is not None:
            scale = expected_gradient.abs().max().item()
            torch.testing.assert_close(parameter.grad, expected_gradient, rtol=1e-5, atol=1e-7 * scale)


def test_weights_survive_the_way_to_torchvision_and_back(peer: detection.FCOS, ours: FCOS) -> None:
    back = to_torchvision(ours.state_dict())
    assert set(back) == set(peer.state_dict())
    for key, value in peer.state_dict().items():
        torch.testing.assert_close(back[key], value, rtol=0, atol=0)


def test_torchvision_with_trainable_batch_norm_exchanges_weights(ours: FCOS) -> None:
    trained = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=NUM_CLASSES)
    ours_again = build_ours(trained.state_dict())
    trained.load_state_dict(to_torchvision(ours_again.state_dict()))


def test_wrong_keys_are_named(peer: detection.FCOS, ours: FCOS) -> None:
    state_dict = dict(peer.state_dict())
    del state_dict["head.regression_head.bbox_reg.bias"]
    state_dict["roi_heads.box_head.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        from_torchvision(state_dict)
    assert "1 missing (head.regression_head.bbox_reg.bias)" in str(error.value)
    assert "1 unexpected (roi_heads.box_head.weight)" in str(error.value)

    with pytest.raises(WeightsError, match=r"not those of model=torchvision: .* 1 unexpected \(head.scales\)"):
        to_torchvision({**ours.state_dict(), "head.scales": torch.ones(5)})
