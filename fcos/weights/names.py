"""Names of weights elsewhere and here."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class WeightsError(ValueError):
    """A state dict is not the one of the model that it is taken for; the message names its keys."""


def compare(given: Iterable[str], expected: Iterable[str], model: str) -> None:
    """Raises WeightsError naming missing and unexpected keys."""
    missing, unexpected = sorted({*expected} - {*given}), sorted({*given} - {*expected})
    if missing or unexpected:
        raise WeightsError(
            f"these weights are not those of {model}: "
            f"{len(missing)} missing {_some(missing)}, {len(unexpected)} unexpected {_some(unexpected)}"
        )


def _some(keys: list[str]) -> str:
    return f"({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})" if keys else ""


def tower(branch: str, position: int, rest: str) -> str:
    """Our name of a part of a tower that is one Sequential of conv, norm, ReLU, conv, ... elsewhere.

    `rest` is weight or bias, or level.weight where each level has a norm of its own.
    """
    layer, part = divmod(position, 3)
    if part == 0:
        return f"head.{branch}_tower.convs.{layer}.{rest}"
    level, _, name = rest.rpartition(".")
    return f"head.{branch}_tower.norms.{level or 0}.{layer}.{name}"


def rename(state_dict: Mapping[str, Tensor], rules: Mapping[str, str], model: str) -> dict[str, Tensor]:
    """Weights under our names, by patterns of whole names; `\\1` in a new name is the first group, as in re.

    A name of ours that ends in [i] is row i of one tensor. Raises WeightsError for names that no pattern knows.
    """
    patterns = {re.compile(pattern): new for pattern, new in rules.items()}
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in state_dict.items():
        found = next(
            (match.expand(new) for pattern, new in patterns.items() if (match := pattern.fullmatch(key))), None
        )
        if found is None:
            unknown.append(key)
        else:
            renamed[found] = value
    if unknown:
        raise WeightsError(f"{len(unknown)} of these weights have no place in {model}: {_some(sorted(unknown))}")
    return _joined(renamed)


def _joined(renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    rows: dict[str, dict[int, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, value in renamed.items():
        if match := re.fullmatch(r"(.+)\[(\d+)\]", key):
            rows.setdefault(match[1], {})[int(match[2])] = value
        else:
            whole[key] = value
    return whole | {key: torch.cat([parts[i].flatten() for i in sorted(parts)]) for key, parts in rows.items()}


def from_blue_green_red(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first convolution for images in RGB, of one that was trained on BGR."""
    key = "backbone.stem.conv1.weight"
    return {**weights, key: weights[key].flip(1)}
