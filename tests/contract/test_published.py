"""Weights files of torchvision, the official code, AdelaiDet and detectron2, by their documented names and shapes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.models.detection import FCOS, fcos_resnet50_fpn

from fcos.__main__ import main
from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse
from fcos.config.presets import load_presets
from fcos.errors import ConfigError
from fcos.inference import load_trained
from fcos.prediction.predictor import Predictor
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.weights.find import find_checkpoint
from fcos.weights.published import (
    COCO,
    DETECTRON2_MEAN,
    MODELS,
    OFFICIAL_MEAN,
    detect_layout,
    load_published,
    model_values,
)

CPU = torch.device("cpu")
BLOCKS, CLASSES, CHANNELS = (3, 4, 6, 3), 80, 256
NORM = ("weight", "bias", "running_mean", "running_var")
# A detector of published size, so that the small inputs below are all that it takes.
SIDES = {"data.short_sides": [128], "data.long_side": 192}


def bottlenecks() -> list[tuple[int, int, dict[str, tuple[int, ...]]]]:
    """Stage, number and convolutions (name -> shape) of each block of ResNet-50; sc is the shortcut."""
    blocks: list[tuple[int, int, dict[str, tuple[int, ...]]]] = []
    inputs = 64
    for stage, count in enumerate(BLOCKS):
        width = 64 * 2**stage
        for number in range(count):
            shapes: dict[str, tuple[int, ...]] = {
                "1": (width, inputs, 1, 1),
                "2": (width, width, 3, 3),
                "3": (4 * width, width, 1, 1),
            }
            if number == 0:
                shapes["sc"] = (4 * width, inputs, 1, 1)
            blocks.append((stage, number, shapes))
            inputs = 4 * width
    return blocks


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Small numbers, and statistics of batch norms near those that Caffe's weights have.

    Large weights are one number for each output channel, which takes no memory and a small file.
    """
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        drawn = shape if torch.Size(shape).numel() < 600_000 else (shape[0], *(1 for _ in shape[1:]))
        value = torch.randn(drawn, generator=generator) * 0.02
        positive = name.endswith(("running_var", "scale")) or (value.ndim == 1 and name.endswith("weight"))
        weights[name] = (1 + value.abs() if positive else value).expand(shape)
    return weights


def norm(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{name}": (channels,) for name in NORM}


def head(prefix: str, towers: tuple[str, str], predictions: tuple[str, str, str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for tower in towers:
        for layer in range(4):
            shapes[f"{prefix}{tower}.{3 * layer}.weight"] = (CHANNELS, CHANNELS, 3, 3)
            for name in (f"{3 * layer}.bias", f"{3 * layer + 1}.weight", f"{3 * layer + 1}.bias"):
                shapes[f"{prefix}{tower}.{name}"] = (CHANNELS,)
    for name, count in zip(predictions, (CLASSES, 4, 1), strict=True):
        shapes |= {f"{prefix}{name}.weight": (count, CHANNELS, 3, 3), f"{prefix}{name}.bias": (count,)}
    return shapes


def pyramid(inner: str, output: str, first: int, top: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, channels in enumerate((512, 1024, 2048), start=first):
        shapes |= {f"backbone.{inner}{number}.weight": (CHANNELS, channels, 1, 1)}
        shapes |= {f"backbone.{output}{number}.weight": (CHANNELS, CHANNELS, 3, 3)}
        shapes |= {f"backbone.{name}{number}.bias": (CHANNELS,) for name in (inner, output)}
    for level in (6, 7):
        shapes |= {f"backbone.{top}.p{level}.weight": (CHANNELS, CHANNELS, 3, 3)}
        shapes |= {f"backbone.{top}.p{level}.bias": (CHANNELS,)}
    return shapes


def official() -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"backbone.body.stem.conv1.weight": (64, 3, 7, 7)}
    shapes |= norm("backbone.body.stem.bn1", 64)
    for stage, number, convs in bottlenecks():
        for name, shape in convs.items():
            prefix = f"backbone.body.layer{stage + 1}.{number}"
            conv, bn = ("downsample.0", "downsample.1") if name == "sc" else (f"conv{name}", f"bn{name}")
            shapes |= {f"{prefix}.{conv}.weight": shape, **norm(f"{prefix}.{bn}", shape[0])}
    shapes |= pyramid("fpn.fpn_inner", "fpn.fpn_layer", 2, "fpn.top_blocks")
    shapes |= head("rpn.head.", ("cls_tower", "bbox_tower"), ("cls_logits", "bbox_pred", "centerness"))
    shapes |= {f"rpn.head.scales.{level}.scale": (1,) for level in range(5)}
    return filled(shapes)


def detectron2(adelaidet: bool) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7)}
    shapes |= norm("backbone.bottom_up.stem.conv1.norm", 64)
    for stage, number, convs in bottlenecks():
        for name, shape in convs.items():
            conv = "shortcut" if name == "sc" else f"conv{name}"
            prefix = f"backbone.bottom_up.res{stage + 2}.{number}.{conv}"
            shapes |= {f"{prefix}.weight": shape, **norm(f"{prefix}.norm", shape[0])}
    shapes |= pyramid("fpn_lateral", "fpn_output", 3, "top_block")
    if adelaidet:
        prefix = "proposal_generator.fcos_head."
        shapes |= head(prefix, ("cls_tower", "bbox_tower"), ("cls_logits", "bbox_pred", "ctrness"))
        shapes |= {f"{prefix}scales.{level}.scale": (1,) for level in range(5)}
    else:
        shapes |= head("head.", ("cls_subnet", "bbox_subnet"), ("cls_score", "bbox_pred", "ctrness"))
    return filled(shapes)


def of_layout(name: str) -> dict[str, Tensor]:
    match name:
        case "official_v1" | "official_improved":
            return official()
        case _:
            return detectron2(name == "adelaidet")


def saved(folder: Path, content: Any, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["official_v1", "official_improved", "adelaidet", "detectron2"])
def test_every_documented_weight_has_its_parameter(name: str, tmp_path: Path) -> None:
    theirs = of_layout(name)
    path = saved(tmp_path, {"model": {f"module.{key}": value for key, value in theirs.items()}, "iteration": 90000})
    trained = load_trained(path, CPU, {}, name)
    ours = trained.detector.state_dict()
    tower, prediction = {
        "adelaidet": ("proposal_generator.fcos_head.bbox_tower", "proposal_generator.fcos_head.ctrness"),
        "detectron2": ("head.bbox_subnet", "head.ctrness"),
    }.get(name, ("rpn.head.bbox_tower", "rpn.head.centerness"))
    assert torch.equal(ours["head.regression_tower.convs.2.weight"], theirs[f"{tower}.6.weight"])
    assert torch.equal(ours["head.regression_tower.norms.0.3.bias"], theirs[f"{tower}.10.bias"])
    assert torch.equal(ours["head.quality.weight"], theirs[f"{prediction}.weight"])
    if name != "detectron2":
        scales = [theirs[key] for key in sorted(theirs) if key.endswith(".scale")]
        assert torch.equal(ours["head.scales"], torch.cat(scales))
    assert len(trained.classes) == 80 and (trained.classes[0], trained.classes[-1]) == ("person", "toothbrush")
    assert trained.config.model.backbone.stride_in_1x1


@pytest.mark.parametrize(("name", "mean"), [("official_v1", OFFICIAL_MEAN), ("adelaidet", DETECTRON2_MEAN)])
def test_pixels_and_the_first_blocks_compute_what_they_do_there(name: str, mean: Any, tmp_path: Path) -> None:
    theirs = of_layout(name)
    detector = load_trained(saved(tmp_path, theirs), CPU, {}, name).detector.eval()
    pixels = torch.randint(0, 256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    # Gray levels, blue first, padded with zeros after the mean is gone; the image ends before the canvas.
    x = pixels.flip(1).float() - torch.tensor(mean[::-1]).view(1, 3, 1, 1)
    x[:, :, 50:] = 0
    prefix = "backbone.body.layer1.0" if name == "official_v1" else "backbone.bottom_up.res2.0"
    stem = prefix.rsplit(".", 2)[0] + ".stem.conv1"
    # Official batch norms add nothing to the variance.
    epsilon = 0.0 if name == "official_v1" else 1e-5

    def conv(x: Tensor, at: str, norm_at: str, stride: int, padding: int) -> Tensor:
        weight, bias, moved, variance = (theirs[f"{norm_at}.{part}"].view(1, -1, 1, 1) for part in NORM)
        y = F.conv2d(x, theirs[f"{at}.weight"], stride=stride, padding=padding)
        return (y - moved) / (variance + epsilon).sqrt() * weight + bias

    bn = (lambda at: at.replace("conv", "bn")) if name == "official_v1" else (lambda at: f"{at}.norm")
    x = F.max_pool2d(conv(x, stem, bn(stem), 2, 3).relu(), 3, 2, 1)
    prefix = prefix.replace("layer1", "layer2").replace("res2", "res3")
    with torch.no_grad():
        stemmed = detector.backbone.get_submodule("stem")(detector.normalize(pixels, torch.tensor([[50, 96]])))
        torch.testing.assert_close(stemmed, x, rtol=1e-4, atol=1e-4)
        # A block with a stride takes it in its first convolution.
        x = torch.rand(1, 256, 16, 24)
        y = conv(x, f"{prefix}.conv1", bn(f"{prefix}.conv1"), 2, 0).relu()
        y = conv(y, f"{prefix}.conv2", bn(f"{prefix}.conv2"), 1, 1).relu()
        y = conv(y, f"{prefix}.conv3", bn(f"{prefix}.conv3"), 1, 0)
        of_conv, of_norm = ("downsample.0", "downsample.1") if name == "official_v1" else ("shortcut", "shortcut.norm")
        y = (y + conv(x, f"{prefix}.{of_conv}", f"{prefix}.{of_norm}", 2, 0)).relu()
        torch.testing.assert_close(detector.backbone.get_submodule("c3.0")(x), y, rtol=1e-4, atol=1e-5)


def test_what_a_file_declares_of_pixels_counts(tmp_path: Path) -> None:
    theirs = detectron2(adelaidet=True)
    theirs |= {"pixel_mean": torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), "pixel_std": torch.ones(3, 1, 1) * 57}
    model = load_published(saved(tmp_path, theirs), None).config["model"]
    assert model["pixel_mean"] == pytest.approx([3 / 255, 2 / 255, 1 / 255])
    assert model["pixel_std"] == pytest.approx([57 / 255] * 3)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> tuple[FCOS, Path, Path]:
    """torchvision's detector of 91 ids with weights that speak, the file of its weights, and an image."""
    torch.manual_seed(0)
    theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, min_size=128, max_size=192)
    with torch.no_grad():
        theirs.head.classification_head.cls_logits.bias.fill_(-1.0)
        theirs.head.regression_head.bbox_reg.bias.fill_(2.0)
        for name, parameter in theirs.head.named_parameters():
            if name.endswith("weight") and parameter.ndim == 4:
                parameter.mul_(2)
        # Ids that no class of COCO has never speak in the published weights.
        for number, label in enumerate(load_names()):
            if label in ("__background__", "N/A"):
                theirs.head.classification_head.cls_logits.bias[number] = -50
    folder = tmp_path_factory.mktemp("torchvision")
    pixels = torch.randint(0, 256, (128, 192, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(folder / "noise.png")
    return theirs.eval(), saved(folder, theirs.state_dict(), "fcos_resnet50_fpn_coco.pth"), folder / "noise.png"


def load_names() -> list[str]:
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

    names: list[str] = FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return names


def test_a_file_of_torchvision_gives_torchvisions_detections(peer) -> None:
    theirs, path, image = peer
    trained = load_trained(path, CPU, SIDES)
    predictor = Predictor(trained)
    picture = predictor.read(image)
    (found,) = predictor.detect([picture.sample])
    with torch.no_grad():
        (expected,) = theirs([picture.pixels.float() / 255])
    assert len(found.boxes) > 10
    torch.testing.assert_close(found.scores, expected["scores"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=1e-5, atol=1e-3)
    names = load_names()
    assert [trained.classes[label] for label in found.labels] == [names[label] for label in expected["labels"]]


def test_weights_come_in_and_go_out_again(peer, tmp_path: Path, capsys) -> None:
    theirs, path, _ = peer
    assert main(["import-weights", str(path), "--output", str(tmp_path / "in")]) == 0
    folder = tmp_path / "in" / "step_00000000"
    assert find_checkpoint(folder).classes[0] == "person"
    assert main(["export-weights", str(folder), "--output", str(tmp_path / "out.pth")]) == 0
    assert "num_classes=80" in capsys.readouterr().out
    exported = torch.load(tmp_path / "out.pth", weights_only=True)
    again = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=80)
    missing, unexpected = again.load_state_dict(exported, strict=False)
    assert unexpected == [] and all(key.endswith("num_batches_tracked") for key in missing)
    key = "head.regression_head.conv.4.weight"
    assert torch.equal(exported[key], theirs.state_dict()[key])


@pytest.mark.parametrize("name", MODELS)
def test_published_models_are_the_presets_but_for_what_belongs_to_the_weights(name: str) -> None:
    ours = flatten(parse(ModelConfig, model_values(name)).model_dump())
    preset = flatten(load_presets()[name].model_dump())
    caffe = {"backbone.stride_in_1x1", "pixel_std"}
    # AdelaiDet's and detectron2's mean is ImageNet's.
    of_weights = {
        "torchvision": set(), "official_v1": caffe | {"pixel_mean"}, "official_improved": caffe | {"pixel_mean"},
        "adelaidet": caffe, "detectron2": caffe,
    }[name]  # fmt: skip
    assert {key for key in ours if ours[key] != preset[key]} == {"backbone.weights", *of_weights}
    parts = ("name", "norm", "weights", "frozen_stages")
    assert [ours[f"backbone.{part}"] for part in parts] == ["resnet50", "frozen_bn", None, 2]


def test_data_of_published_models_are_cocos(read_group) -> None:
    group = read_group("data", "coco")
    assert {key: group[key] for key in COCO} == COCO


@pytest.mark.parametrize(
    ("content", "model", "error", "words"),
    [
        (official, None, ConfigError, "give --model official_v1 or official_improved"),
        (official, "adelaidet", ConfigError, "has the names of official"),
        (official, "official", ConfigError, "did you mean official_v1"),
        (lambda: detectron2(adelaidet=True), "adelaide", ConfigError, "did you mean adelaidet"),
        (lambda: {"a": torch.zeros(1)}, None, CheckpointError, "names are those of no known FCOS"),
        (lambda: {"a": "b"}, None, CheckpointError, "holds no state dict"),
        (
            lambda: {**official(), "extra": torch.zeros(1)},
            "official_v1",
            CheckpointError,
            r"1 of these weights have no place in.*extra",
        ),
    ],
)
def test_what_is_no_published_file_is_refused(content, model, error, words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        load_published(saved(tmp_path, content()), model)


def test_a_missing_weight_and_a_file_that_is_none_are_refused(tmp_path: Path, capsys) -> None:
    theirs = official()
    del theirs["rpn.head.bbox_pred.bias"]
    with pytest.raises(CheckpointError, match=r"head\.regression\.bias"):
        load_trained(saved(tmp_path, theirs), CPU, {}, "official_v1")
    (tmp_path / "text.pth").write_text("no weights")
    assert main(["evaluate", str(tmp_path / "text.pth")]) == 2
    assert "cannot be read as a state dict" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--model", "official_v1"]) == 2
    assert "is for a weights file" in capsys.readouterr().err


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (print, ("never",))

    with pytest.raises(CheckpointError, match="cannot be read"):
        load_published(saved(tmp_path, {"model": Trap()}), None)


def test_layouts_are_recognised_by_one_name(tmp_path: Path) -> None:
    assert detect_layout({"head.cls_score.weight": torch.zeros(1)}, tmp_path) == "detectron2"
