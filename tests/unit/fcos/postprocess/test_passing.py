"""Logits that may pass a threshold are those of a look at each of them, in whatever order they lie in memory."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fcos.postprocess import passing
from fcos.postprocess.passing import PassingLogits, best_of_locations, find_passing

Entries = dict[tuple[int, int, int], float]


def stored(logits: Tensor, layout: str) -> Tensor:
    """Return the same logits as a head's level, with classes or locations innermost, or as part of a larger tensor."""
    match layout:
        case "classes":
            return logits.contiguous()
        case "locations":
            return logits.mT.contiguous().mT
        case _:
            joined = torch.cat((logits, torch.full_like(logits, 50.0)), dim=1)
            return joined[:, : logits.shape[1]]


def entries(found: PassingLogits) -> Entries:
    rows = zip(found.image.tolist(), found.location.tolist(), found.label.tolist(), found.logit.tolist(), strict=True)
    result = {(image, location, label): logit for image, location, label, logit in rows}
    assert len(result) == len(found.logit), "none is there twice"
    return result


def expected(logits: Tensor, min_logit: float) -> Entries:
    values = logits.float()
    return {
        (int(image), int(location), int(label)): float(values[image, location, label])
        for image, location, label in (values >= min_logit).nonzero()
    }


@given(
    batch=st.integers(1, 3),
    locations=st.integers(1, 40),
    classes=st.sampled_from([1, 3, 20, 80, 91]),
    layout=st.sampled_from(["classes", "locations", "part"]),
    many=st.sampled_from([1, 200, 1 << 15]),
    min_logit=st.sampled_from([-math.inf, -1.0, 2.0, 9.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 99),
)
def test_the_same_as_a_look_at_each_logit(
    batch: int, locations: int, classes: int, layout: str, many: int, min_logit: float, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, locations, classes, generator=generator) * 2
    # What is no number, or below every minimum, hides nothing beside it.
    logits[torch.rand(logits.shape, generator=generator) < 0.05] = math.nan
    logits[torch.rand(logits.shape, generator=generator) < 0.05] = -math.inf
    logits = logits.to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "MANY", many)
        assert entries(find_passing(stored(logits, layout), min_logit)) == expected(logits, min_logit)


def test_the_minimum_is_not_rounded_to_the_type_of_the_logits() -> None:
    # The nearest number of bf16 to the minimum is -5.
    logits = torch.full((1, 2, passing.MANY), -5.0, dtype=torch.bfloat16)
    assert len(find_passing(logits, -4.99).logit) == 0
    assert len(find_passing(logits[..., :3], -4.99).logit) == 0
    assert len(find_passing(logits[..., :3], -5.01).logit) == 6


@pytest.mark.parametrize("layout", ["classes", "locations"])
def test_a_location_keeps_its_best_class_and_of_equal_ones_the_first(layout: str) -> None:
    logits = torch.tensor([[[1.0, 3.0, 3.0], [2.0, -9.0, 2.0], [-9.0, -9.0, -9.0]], [[0.0, 0.5, 9.0]] * 3])
    best = best_of_locations(find_passing(stored(logits, layout), -1.0), 3)
    assert entries(best) == {(0, 0, 1): 3.0, (0, 1, 0): 2.0, (1, 0, 2): 9.0, (1, 1, 2): 9.0, (1, 2, 2): 9.0}
    nothing = best_of_locations(find_passing(stored(logits, layout), 10.0), 3)
    assert entries(nothing) == {}
