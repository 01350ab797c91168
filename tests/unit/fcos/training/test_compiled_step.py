"""A compiled step has a bounded number of graphs, and compiled losses equal the eager ones."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.build import build_detector, build_train_state
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.runtime import LocalRuntime

ROOT = Path(__file__).parents[4]

START = """
import torch, yaml
from torch._dynamo.testing import CompileCounter
from fcos.build import build_assign, build_detector, build_locate, build_loss
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.structures import Batch, HeadOutputs, Targets

config = parse(ModelConfig, yaml.safe_load(open("conf/model/fcos_small.yaml")))

def batch_of(height, width, boxes):
    corner = torch.rand(2, boxes, 2) * 40
    boxes_of_two = torch.cat((corner, corner + 20), dim=-1)
    targets = Targets(boxes_of_two, torch.zeros(2, boxes).long(), torch.ones(2, boxes).bool())
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    sizes = torch.tensor([[height, width]] * 2)
    return Batch(pixels, sizes, sizes, targets, (1, 2), ("a", "b"))
"""

COUNT = """
detector, counter = build_detector(config, 5, channels_last=True), CompileCounter()
forward = torch.compile(detector, backend=counter, dynamic=False, fullgraph=True)
for boxes in (8, 16, 32):
    batch = batch_of(64, 96, boxes)
    forward(batch.pixels, batch.sizes)
assert counter.frame_count == 1, counter.frame_count
batch = batch_of(96, 64, 8)
forward(batch.pixels, batch.sizes)
assert counter.frame_count == 2, counter.frame_count
"""

LOSSES = """
batch = batch_of(64, 96, 8)
locations = build_locate(config)(batch)
shape = (2, locations.xy.shape[0])
values = [torch.rand(*shape, 4) * 30, torch.randn(*shape)]
# As returned by convolutions, in both memory layouts.
for h, w in locations.shapes:
    values.append((torch.randn(2, 5, h, w) * 8).flatten(2).mT if h > 4 else torch.randn(2, h * w, 5))
outcomes = []
for compiled in (False, True):
    leaves = [value.clone().requires_grad_() for value in values]
    assignment = build_assign(config, compiled=compiled)(batch.targets, locations)
    loss = build_loss(config, compiled=compiled)
    outputs = HeadOutputs(tuple(leaves[2:]), *leaves[:2], locations.shapes)
    losses = loss(outputs, assignment, locations, loss.normalizer([assignment]))
    losses.total.backward()
    terms = losses.classification, losses.regression, losses.quality
    outcomes.append([*terms, *(leaf.grad for leaf in leaves)])
assert assignment.positive.any()
for eager, fast in zip(*outcomes, strict=True):
    torch.testing.assert_close(fast, eager, rtol=1e-5, atol=1e-7)
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [COUNT, LOSSES], ids=["batches_of_one_canvas_share_one_graph", "losses_are_equal"])
def test_compiled(script: str) -> None:
    # In a subprocess, because the shape checks around every function in tests cannot be traced.
    process = subprocess.run(
        [sys.executable, "-c", START + script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr


def test_only_training_is_compiled(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, set_value(tiny_values, "schedule.compile", True))
    detector = build_detector(config.model, 5, channels_last=True)
    state = build_train_state(config, detector, LocalRuntime(tmp_path, torch.device("cpu")))
    assert isinstance(state.forward, torch._dynamo.OptimizedModule)
    assert state.evaluated(None) is detector and detector._compiled_call_impl is None
    assert state.loss.compiled
