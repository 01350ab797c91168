"""Thresholds of doubles in float32, and NMS as one operator."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcos.exported.graph.nms_operator import float32_below, kept_by_nms


@given(st.floats(1e-3, 1.0), st.integers(-3, 3))
def test_a_float32_is_above_both_thresholds_or_above_none(threshold: float, steps: int) -> None:
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.sign(steps) * np.inf))
    assert (float(value) > threshold) == bool(value > np.float32(float32_below(threshold)))


def test_nms_keeps_within_images_and_groups_and_takes_no_candidate_of_a_score_below_zero() -> None:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    boxes = box.expand(2, 4, 4)
    scores = torch.tensor([[0.5, 0.9, 0.1, -1.0], [0.2, -1.0, -1.0, 0.0]])
    groups = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1]])
    kept = kept_by_nms(boxes, scores, groups, 2, 0.5, 10)
    assert kept.tolist() == [[False, True, True, False], [True, False, False, True]]
