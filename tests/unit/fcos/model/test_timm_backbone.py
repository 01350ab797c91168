"""Networks of timm as backbones: strides, frozen stages, norms, and the weights of an installed package."""

import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fcos.config.backbone import BackboneConfig
from fcos.errors import ConfigError
from fcos.model.backbone import build_backbone
from fcos.model.norm import FrozenBatchNorm2d
from fcos.model.timm_backbone import TimmBackbone

LITE = "timm/tf_efficientnet_lite0"
# One of each kind of feature extractor that timm has.
SMALL = ["timm/resnet10t", "timm/mobilenetv3_small_050", "timm/lcnet_035"]


def build(name: str, norm: str = "bn", first: int = 3, last: int = 5, **settings: object) -> TimmBackbone:
    torch.manual_seed(0)
    config = BackboneConfig.model_validate({"name": name, "norm": norm, **settings})
    backbone = build_backbone(config, first_level=first, last_level=last)
    assert isinstance(backbone, TimmBackbone)
    return backbone


@pytest.mark.parametrize("name", [*SMALL, LITE])
@pytest.mark.parametrize(("first", "last"), [(2, 5), (3, 4)])
def test_a_network_returns_the_strides_and_channels_of_its_levels(name: str, first: int, last: int) -> None:
    backbone = build(name, first=first, last=last).eval()
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert list(features) == [f"c{level}" for level in range(first, last + 1)]
    for level, channels, x in zip(range(first, last + 1), backbone.channels, features.values(), strict=True):
        assert x.shape == (1, channels, 64 >> level, 96 >> level)


@pytest.mark.parametrize("last", [4, 5])
@pytest.mark.parametrize("name", [*SMALL, LITE])
def test_every_trainable_parameter_gets_a_gradient(name: str, last: int) -> None:
    backbone = build(name, last=last)
    sum(x.square().sum() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    missing = [
        key for key, parameter in backbone.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["timm/resnet10t", LITE])
def test_frozen_stages_are_counted_from_the_stem_and_do_not_change(name: str) -> None:
    trainable = []
    for stages in range(6):
        backbone = build(name, frozen_stages=stages).train()
        before = {key: value.clone() for key, value in backbone.state_dict().items()}
        features = backbone(torch.randn(2, 3, 64, 64))
        if stages < 5:
            features["c5"].square().sum().backward()
        fixed = {key for key, parameter in backbone.named_parameters() if not parameter.requires_grad}
        norms = {key.rpartition(".")[0] for key, value in backbone.state_dict().items() if not value.equal(before[key])}
        assert not any(f"{norm}.weight" in fixed for norm in norms)
        trainable.append(sum(parameter.requires_grad for parameter in backbone.parameters()))
    assert trainable == sorted(set(trainable), reverse=True), "each stage holds more parameters"
    assert trainable[-1] == 0


@pytest.mark.parametrize("name", ["timm/resnet10t", LITE])
def test_frozen_norms_compute_what_they_compute_in_evaluation(name: str) -> None:
    plain, frozen = build(name, "bn").eval(), build(name, "frozen_bn").train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in frozen.modules())
    x = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(frozen(x).values(), plain(x).values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(value.dtype == torch.bfloat16 for value in frozen(x).values())


def test_one_process_synchronises_batch_norms_with_itself() -> None:
    plain, synchronised = build("timm/resnet10t", "bn").train(), build("timm/resnet10t", "sync_bn").train()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(synchronised(x)["c5"], plain(x)["c5"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "timm/resnet10"}, r"name=timm/resnet10: timm has no such network; did you mean .*resnet10t"),
        ({"name": "timm/resnet10t.c3_in1k"}, r"give timm/resnet10t and model\.backbone\.weights=c3_in1k"),
        ({"name": "timm/resnet10t", "weights": "c3_in2k"}, r"weights=c3_in2k: no such weights .* did you mean c3_in1k"),
        ({"name": "timm/resnet10t", "weights": "installed"}, "no package has weights of timm/resnet10t, only of"),
        ({"name": "timm/vit_tiny_patch16_224"}, r"vit_tiny_patch16_224: .*"),
        ({"name": "timm/resnet10t", "norm": "own"}, r"norm=own: timm/resnet10t has batch norms; give frozen_bn"),
        ({"name": "timm/convnext_atto"}, r"norm=bn: timm/convnext_atto has no batch norms; give own"),
        ({"name": "timm/convnext_atto", "norm": "own", "frozen_stages": 1}, "has no feature map of stride 2 where"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_with_the_way_out(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**{"norm": "bn", **settings})  # type: ignore[arg-type]


def test_layer_norms_stay_as_they_are() -> None:
    backbone = build("timm/convnext_atto", "own", frozen_stages=2)
    assert any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.body.stem_0.weight.requires_grad  # type: ignore[union-attr]


def test_installed_weights_need_no_network_and_leave_nothing_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backbone = build(LITE, "frozen_bn", weights="installed")
    assert backbone.notes == ()
    # The statistics of 1.2 million images, not those of a new norm.
    assert all(norm.running_var.std() > 0 for norm in backbone.modules() if isinstance(norm, FrozenBatchNorm2d))


def test_without_a_network_a_tag_is_refused_in_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown_host(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    # Between its tries the hub waits.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(hub, "propagate", True)
    with pytest.raises(ConfigError) as refused:
        build("timm/resnet10t", weights="c3_in1k")
    assert caplog.messages == []
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("model.backbone.weights=c3_in1k: the weights of timm/resnet10t cannot be had (")
    assert "Name or service not known" in message
    assert "`hf download timm/resnet10t.c3_in1k` fetches them" in message
    assert message.endswith("give that file, model.backbone.weights=<file>.safetensors, or null for random ones")


def test_a_file_of_the_whole_network_gives_its_features(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole: Any = timm.create_model("convnext_atto", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = build("timm/convnext_atto", "own", weights=str(tmp_path / "weights.safetensors")).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(x)["c5"], whole.forward_features(x), rtol=1e-4, atol=1e-5)
