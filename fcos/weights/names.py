"""Rename weights between the layouts of other implementations and ours."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class WeightsError(ValueError):
    """A state dict is not that of the expected model; the message names keys."""


def require_same_keys(keys: Iterable[str], expected: Iterable[str], model: str) -> None:
    """Raise WeightsError naming missing and unexpected keys."""
    missing, unexpected = sorted({*expected} - {*keys}), sorted({*keys} - {*expected})
    if missing or unexpected:
        raise WeightsError(
            f"these weights are not those of {model}: "
            f"{len(missing)} missing {_some(missing)}, {len(unexpected)} unexpected {_some(unexpected)}"
        )


def _some(keys: list[str]) -> str:
    return f"({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})" if keys else ""


def tower_key(branch: str, position: int, rest: str) -> str:
    """Return our key of a part of a tower that elsewhere is one Sequential of conv, norm, ReLU, conv, ...

    `rest` is weight or bias, or level.weight where each level has its own norm.
    """
    layer, part = divmod(position, 3)
    if part == 0:
        return f"head.{branch}_tower.convs.{layer}.{rest}"
    level, _, name = rest.rpartition(".")
    return f"head.{branch}_tower.norms.{level or 0}.{layer}.{name}"


def rename(state_dict: Mapping[str, Tensor], rules: Mapping[str, str], model: str) -> dict[str, Tensor]:
    r"""Rename weights by patterns of whole names.

    `\1` in a new name is the first group, as in re. New names that end in [i] are row i of one tensor. Raises
    WeightsError for names that match no pattern.
    """
    patterns = {re.compile(pattern): new for pattern, new in rules.items()}
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in state_dict.items():
        name = next((match.expand(new) for pattern, new in patterns.items() if (match := pattern.fullmatch(key))), None)
        if name is None:
            unknown.append(key)
        else:
            renamed[name] = value
    if unknown:
        raise WeightsError(f"{len(unknown)} of these weights have no place in {model}: {_some(sorted(unknown))}")
    return _concatenate_rows(renamed)


def _concatenate_rows(renamed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    rows: dict[str, dict[int, Tensor]] = {}
    tensors: dict[str, Tensor] = {}
    for key, value in renamed.items():
        if match := re.fullmatch(r"(.+)\[(\d+)\]", key):
            rows.setdefault(match[1], {})[int(match[2])] = value
        else:
            tensors[key] = value
    return tensors | {key: torch.cat([parts[i].flatten() for i in sorted(parts)]) for key, parts in rows.items()}


def bgr_to_rgb(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the first convolution from BGR to RGB images."""
    key = "backbone.stem.conv1.weight"
    return {**weights, key: weights[key].flip(1)}
