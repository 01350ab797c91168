"""A compiled step has a bounded number of shapes, and the compiled losses are the eager ones."""

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
places = build_locate(config)(batch)
shape = (2, places.xy.shape[0])
drawn = [torch.rand(*shape, 4) * 30, torch.randn(*shape)]
# As convolutions give them: both orders in memory.
drawn += [(torch.randn(2, 5, h, w) * 8).flatten(2).mT if h > 4 else torch.randn(2, h * w, 5) for h, w in places.shapes]
outcomes = []
for compiled in (False, True):
    leaves = [value.clone().requires_grad_() for value in drawn]
    assignment = build_assign(config, compiled=compiled)(batch.targets, places)
    rule = build_loss(config, compiled=compiled)
    outputs = HeadOutputs(tuple(leaves[2:]), *leaves[:2], places.shapes)
    losses = rule(outputs, assignment, places, rule.normalizer([assignment]))
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
    # In a process of its own: the shape checks that the tests put around every function cannot be traced.
    done = subprocess.run([sys.executable, "-c", START + script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_training_is_compiled(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, set_value(tiny_values, "schedule.compile", True))
    detector = build_detector(config.model, 5, channels_last=True)
    learner = build_train_state(config, detector, LocalRuntime(tmp_path, torch.device("cpu")))
    assert isinstance(learner.forward, torch._dynamo.OptimizedModule)
    assert learner.evaluated is detector and detector._compiled_call_impl is None
    assert learner.loss.compiled
