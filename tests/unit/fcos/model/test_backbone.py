"""Backbones: strides and channels, frozen stages and norms, pretrained weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision import ops
from torchvision.models import get_model, get_model_weights

from fcos.config.backbone import BackboneConfig
from fcos.config.choices import BackboneName, BackboneNorm
from fcos.errors import ConfigError
from fcos.model.backbone import Backbone, build_backbone
from fcos.model.norm import FrozenBatchNorm2d
from fcos.model.pretrained import pretrained_state_dict
from tests.helpers.present import present

CHANNELS = {
    "small_resnet": [32, 64, 96, 128],
    "resnet18": [64, 128, 256, 512],
    "resnet34": [64, 128, 256, 512],
    "mobilenet_v2": [24, 32, 96, 320],
    "mobilenet_v3_large": [24, 40, 112, 160],
}


def build(
    name: str = "small_resnet", norm: BackboneNorm = "bn", first: int = 3, last: int = 5, **settings: object
) -> Backbone:
    config = BackboneConfig.model_validate({"name": name, "norm": norm, **settings})
    backbone = build_backbone(config, first_level=first, last_level=last)
    assert isinstance(backbone, Backbone)
    return backbone


@pytest.mark.parametrize("name", get_args(BackboneName))
def test_every_backbone_returns_the_strides_and_channels_of_its_levels(name: str) -> None:
    with torch.device("meta"):
        backbone = build(name, first=2)
        features = backbone(torch.zeros(2, 3, 97, 160))
    assert list(features) == ["c2", "c3", "c4", "c5"]
    assert backbone.channels == CHANNELS.get(name, [256, 512, 1024, 2048])
    sizes = [(25, 40), (13, 20), (7, 10), (4, 5)]
    for x, channels, size in zip(features.values(), backbone.channels, sizes, strict=True):
        assert x.shape == (2, channels, *size)


@pytest.mark.parametrize(("first", "last"), [(2, 2), (4, 4), (3, 5), (2, 4)])
def test_stages_after_the_last_level_are_not_built(first: int, last: int) -> None:
    with torch.device("meta"):
        backbone = build("resnet18", first=first, last=last)
        features = backbone(torch.zeros(1, 3, 64, 64))
    assert list(features) == [f"c{level}" for level in range(first, last + 1)]
    assert [name for name, _ in backbone.named_children()][1:] == [f"c{level}" for level in range(2, last + 1)]
    assert len(backbone.channels) == len(features)


def test_frozen_batch_norm_equals_torchvision_and_batch_norm_in_eval_mode() -> None:
    batch_norm = nn.BatchNorm2d(8)
    for values in (present(batch_norm.running_mean), batch_norm.bias):
        values.data.normal_()
    for values in (present(batch_norm.running_var), batch_norm.weight):
        values.data.uniform_(0.5, 2)
    frozen, peer = FrozenBatchNorm2d(8), ops.FrozenBatchNorm2d(8)
    frozen.load_state_dict(batch_norm.state_dict())
    peer.load_state_dict(batch_norm.state_dict())
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(frozen(x), batch_norm.eval()(x))
    torch.testing.assert_close(frozen(x), peer(x))
    assert frozen.state_dict().keys() == peer.state_dict().keys()


def test_frozen_batch_norm_keeps_no_activations_for_backward() -> None:
    saved: list[int] = []
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()), lambda kept: kept):
        FrozenBatchNorm2d(8)(x)
    assert saved == [8]


def test_frozen_batch_norm_has_no_parameters_but_propagates_gradients() -> None:
    frozen = FrozenBatchNorm2d(4)
    frozen.weight.fill_(3.0)
    frozen.running_var.fill_(4.0)
    x = torch.randn(1, 4, 2, 2, requires_grad=True)
    frozen.train()(x).sum().backward()
    assert not list(frozen.parameters())
    torch.testing.assert_close(x.grad, torch.full_like(x, 1.5))


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "mobilenet_v3_large"])
def test_activations_stay_bfloat16_under_autocast(name: str, norm: BackboneNorm) -> None:
    backbone = build(name, norm)
    promoted: list[str] = []

    def record(module: nn.Module, _: object, output: Tensor) -> None:
        if output.dtype != torch.bfloat16:
            promoted.append(type(module).__name__)

    for module in backbone.modules():
        if not list(module.children()):
            module.register_forward_hook(record)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone(torch.randn(2, 3, 64, 64))
    assert promoted == []
    assert all(x.dtype == torch.bfloat16 for x in features.values())


def test_frozen_stages_are_counted_from_the_stem_and_do_not_change() -> None:
    backbone = build("small_resnet", "bn", frozen_stages=2).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    sum(x.sum() for x in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(("stem.", "c2."))
    changed = {key.split(".")[0] for key, value in backbone.state_dict().items() if not value.equal(before[key])}
    assert changed == {"c3", "c4", "c5"}


def test_frozen_stages_stay_in_eval_mode() -> None:
    backbone = build(frozen_stages=1).eval().train()
    assert not backbone.stem.training
    assert all(module.training for name, module in backbone.named_modules() if name.startswith("c"))


def test_a_new_small_resnet_computes_only_its_shortcuts() -> None:
    backbone = build("small_resnet", "bn", first=2, last=2).eval()
    x = torch.randn(1, 3, 32, 32)
    block = backbone.get_submodule("c2.0")
    torch.testing.assert_close(backbone(x)["c2"], block.get_submodule("downsample")(backbone.stem(x)).relu())


def test_a_frozen_small_resnet_has_active_residual_branches() -> None:
    block = build("small_resnet", "frozen_bn").get_submodule("c3.0")
    assert (block.state_dict()["bn2.weight"] == 1).all()


def test_mobilenet_v3_keeps_the_epsilon_it_was_trained_with() -> None:
    norms: tuple[BackboneNorm, ...] = ("frozen_bn", "bn")
    for norm in norms:
        with torch.device("meta"):
            backbone = build("mobilenet_v3_large", norm)
        eps = {module.eps for module in backbone.modules() if isinstance(module, (FrozenBatchNorm2d, nn.BatchNorm2d))}
        assert eps == {0.001}


def test_synchronised_batch_norm_of_one_process_is_batch_norm() -> None:
    torch.manual_seed(0)
    plain = build("small_resnet", "bn").train()
    synchronised = build("small_resnet", "sync_bn").train()
    synchronised.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(synchronised(x), plain(x))


@pytest.fixture
def cpu_workers() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("cpu_workers")
def test_synchronised_batch_norm_on_cpu_workers_is_refused_when_built() -> None:
    with pytest.raises(ConfigError, match=r"norm=sync_bn: .* between CUDA devices only"):
        build("small_resnet", "sync_bn")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide an empty torch.hub cache on a machine without network."""

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_offline_weights_are_refused_with_two_ways_out(hub: Path) -> None:
    with pytest.raises(ConfigError) as error:
        pretrained_state_dict("resnet18", "IMAGENET1K_V1")
    for part in ("weights=IMAGENET1K_V1", str(hub / "resnet18-f37072fd.pth"), "model.backbone.weights=null"):
        assert part in str(error.value)


def test_cached_weights_are_loaded_without_network(hub: Path) -> None:
    torch.manual_seed(0)
    source = get_model("resnet18", weights=None)
    torch.save(source.state_dict(), hub / Path(get_model_weights("resnet18")["IMAGENET1K_V1"].url).name)
    backbone = build("resnet18", "frozen_bn", first=5, weights="IMAGENET1K_V1")
    x = torch.randn(1, 3, 64, 64)
    up_to_c5 = nn.Sequential(*list(source.eval().children())[:-2])
    torch.testing.assert_close(backbone(x)["c5"], up_to_c5(x))


def test_an_unreadable_weights_file_is_named(hub: Path) -> None:
    file = hub / "resnet18-f37072fd.pth"
    file.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=rf"{file} is not readable .*remove it"):
        pretrained_state_dict("resnet18", "IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("weights", "hint"),
    [("IMAGENET1K_V3", "did you mean IMAGENET1K_V"), ("coco", "torchvision has IMAGENET1K_V1")],
)
def test_unknown_weights_are_refused_with_suggestions(weights: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"weights={weights}: no such weights of resnet50; {hint}"):
        pretrained_state_dict("resnet50", weights)


def test_frozen_stages_keep_their_statistics_from_the_first_step() -> None:
    backbone = build(frozen_stages=2, widths=(16,) * 5)
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running" in name}
    backbone(torch.randn(2, 3, 64, 64))
    changed = {
        name.split(".")[0]
        for name, value in backbone.state_dict().items()
        if "running" in name and not torch.equal(value, before[name])
    }
    assert changed == {"c3", "c4", "c5"}


def test_folded_norms_have_the_same_outputs_and_gradients_under_autocast() -> None:
    torch.manual_seed(0)
    backbone = _frozen_small_resnet()
    x = torch.randn(2, 3, 64, 64)
    plain = backbone(x)["c3"]
    plain.square().sum().backward()
    expected = {name: present(parameter.grad).clone() for name, parameter in backbone.named_parameters()}
    backbone.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        folded = backbone(x)["c3"]
    assert folded.dtype == torch.bfloat16, "a norm in float32 would lift every activation"
    assert (folded.float() - plain).norm() < 0.02 * plain.norm()
    folded.float().square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (present(parameter.grad) - expected[name]).norm() < 0.06 * expected[name].norm(), name


def test_folding_does_not_change_the_state_dict() -> None:
    names = set(_frozen_small_resnet().state_dict())
    assert {"stem.conv1.weight", "stem.bn1.weight", "stem.bn1.running_var", "c3.0.downsample.1.bias"} <= names
    assert not any("norm" in name for name in names)


def _frozen_small_resnet() -> Backbone:
    backbone = build("small_resnet", "frozen_bn", last=3, widths=(16, 16, 32, 32, 32))
    for name, buffer in backbone.named_buffers():
        if name.endswith(("running_var", "bn1.weight")):
            buffer.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            buffer.normal_(0, 0.1)
    return backbone
