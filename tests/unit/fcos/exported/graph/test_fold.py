"""Folding frozen norms for good changes no output by more than rounding."""

from pathlib import Path
from typing import Any

import torch

from fcos.exported.graph.fold import folded_copy
from fcos.model.norm import FoldedConv2d, FrozenBatchNorm2d
from tests.helpers.detections.random_detectors import make_random_detector


def test_a_folded_detector_gives_the_same_outputs(tmp_path: Path, tiny_values: dict[str, Any]) -> None:
    trained = make_random_detector(tmp_path, tiny_values, model__backbone__norm="frozen_bn")
    norms = [module for module in trained.detector.modules() if isinstance(module, FrozenBatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5), norm.bias.uniform_(-1, 1)
        norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2)
    folded = folded_copy(trained.detector)
    assert norms and not any(isinstance(module, FoldedConv2d) for module in folded.modules())
    assert any(isinstance(module, FoldedConv2d) for module in trained.detector.modules())
    pixels = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    sizes = torch.tensor([[64, 96], [60, 90]])
    with torch.no_grad():
        expected, found = trained.detector(pixels, sizes), folded(pixels, sizes)
    torch.testing.assert_close(found.joined_logits, expected.joined_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.ltrb, expected.ltrb, rtol=1e-4, atol=1e-3)
