"""The detector: shapes, normalisation, determinism, autocast and compilation."""

import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.model.detector import FCOS
from fcos.structures import HeadOutputs
from tests.helpers.present import present

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests" / "golden" / "fcos_small_state_dict.txt"


def build(seed: int = 0, channels_last: bool = False, overrides: Mapping[str, Any] | None = None) -> FCOS:
    """Build the default model fcos_small with some keys replaced."""
    values = yaml.safe_load((ROOT / "conf" / "model" / "fcos_small.yaml").read_text())
    for key, value in (overrides or {}).items():
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        section[last] = value
    torch.manual_seed(seed)
    return build_detector(parse(ModelConfig, values), 5, channels_last=channels_last)


def images(batch: int = 2, height: int = 64, width: int = 96) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)
    return pixels, torch.tensor([[height, width]] * batch)


def assert_equal(ours: HeadOutputs, theirs: HeadOutputs) -> None:
    torch.testing.assert_close(ours.joined_logits, theirs.joined_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.ltrb, theirs.ltrb, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.quality, theirs.quality, rtol=1e-5, atol=1e-5)
    assert ours.shapes == theirs.shapes


def test_the_default_model_has_six_hundred_thousand_parameters() -> None:
    assert sum(parameter.numel() for parameter in build().parameters()) == 575_230


def test_state_dict_names_are_stable() -> None:
    lines = [f"{key} {list(value.shape)}" for key, value in build().state_dict().items()]
    assert lines == GOLDEN.read_text().splitlines()


def test_backward_of_the_default_model_in_channels_last() -> None:
    """torch 2.15 corrupts the heap in narrow 1x1 stride-2 convolutions on CPU, which would crash the process."""
    detector = build(channels_last=True).train()
    for _ in range(3):
        outputs = detector(*images(8, 128, 128))
        (outputs.joined_logits.sum() + outputs.ltrb.sum() + present(outputs.quality).sum()).backward()
    assert all(present(parameter.grad).isfinite().all() for parameter in detector.parameters())


@pytest.mark.parametrize(("height", "width"), [(64, 96), (65, 97), (127, 33), (40, 200)])
@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "mobilenet_v2"])
def test_any_padded_size_has_ceil_of_side_over_stride_locations(name: str, height: int, width: int) -> None:
    with torch.device("meta"):
        detector = build(overrides={"backbone.name": name})
        outputs = detector(torch.zeros(1, 3, height, width, dtype=torch.uint8), torch.zeros(1, 2, dtype=torch.int64))
    assert outputs.shapes == tuple((-(-height // stride), -(-width // stride)) for stride in detector.strides)
    assert outputs.joined_logits.shape[1] == sum(rows * columns for rows, columns in outputs.shapes)


@pytest.mark.parametrize("levels", [[4], [3, 4], [3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6], [5, 6, 7, 8]])
@pytest.mark.parametrize("source", ["p5", "c5"])
def test_any_consecutive_levels_can_be_built(levels: list[int], source: str) -> None:
    ends: list[float | None] = [0.0, *(16.0 * 2**k for k in range(1, len(levels))), None]
    detector = build(
        overrides={
            "levels": levels,
            "assignment.ranges": [[low, high] for low, high in pairwise(ends)],
            "fpn.extra_levels_from": source,
        }
    )
    outputs = detector(*images())
    assert detector.levels == tuple(levels)
    assert outputs.shapes == tuple((-(-64 // 2**level), -(-96 // 2**level)) for level in levels)


def test_pixels_are_normalised_as_imagenet_and_padding_is_zero() -> None:
    pixels, _ = images()
    normalized = build().normalize(pixels, torch.tensor([[64, 96], [40, 50]]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalized[1, :, 39, 49], (pixels[1, :, 39, 49] / 255 - mean) / std)
    torch.testing.assert_close(normalized[0, :, 63, 95], (pixels[0, :, 63, 95] / 255 - mean) / std)
    assert not normalized[1, :, 40:].any()
    assert not normalized[1, :, :, 50:].any()


def test_the_content_of_the_padding_does_not_matter() -> None:
    detector = build().eval()
    pixels, _ = images()
    sizes = torch.tensor([[64, 96], [40, 50]])
    other = pixels.clone()
    other[1, :, 40:], other[1, :, :, 50:] = 255, 7
    assert_equal(detector(pixels, sizes), detector(other, sizes))


def test_batch_equals_single_images() -> None:
    detector = build().eval()
    pixels, sizes = images()
    batched, single = detector(pixels, sizes), detector(pixels[1:], sizes[1:])
    torch.testing.assert_close(batched.joined_logits[1:], single.joined_logits)
    torch.testing.assert_close(batched.ltrb[1:], single.ltrb)


def test_channels_last_gives_the_same_numbers() -> None:
    assert_equal(build(channels_last=True).eval()(*images()), build().eval()(*images()))


def test_the_same_seed_gives_the_same_weights_with_and_without_quality() -> None:
    with_quality = build().state_dict()
    without_quality = build(overrides={"head.quality": "none", "postprocess": {"quality": "none"}}).state_dict()
    assert set(with_quality) - set(without_quality) == {"head.quality.weight", "head.quality.bias"}
    for key, value in without_quality.items():
        torch.testing.assert_close(with_quality[key], value, rtol=0, atol=0)


def test_distances_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = build()(*images())
    assert (outputs.joined_logits.dtype, outputs.ltrb.dtype) == (torch.bfloat16, torch.float32)


class Calls(TorchDispatchMode):
    """Records the names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
def test_forward_never_waits_for_the_device(norm: str) -> None:
    detector = build(overrides={"backbone.norm": norm})
    with Calls() as calls:
        detector(*images())
    assert "convolution" in calls.names
    assert calls.names.isdisjoint({"_local_scalar_dense", "nonzero", "masked_select", "item", "equal"})


COMPILED = """
import torch, yaml
from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse

values = yaml.safe_load(open("conf/model/fcos_small.yaml"))
detector = build_detector(parse(ModelConfig, values), 5, channels_last=True).eval()
images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8), torch.tensor([[64, 96], [40, 50]])
ours, theirs = torch.compile(detector, fullgraph=True)(*images), detector(*images)
for name in ("logits", "ltrb", "quality"):
    torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-4)
"""


@pytest.mark.slow
def test_the_detector_compiles_without_a_graph_break() -> None:
    # In a subprocess, because the shape checks around every function in tests cannot be traced.
    process = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
