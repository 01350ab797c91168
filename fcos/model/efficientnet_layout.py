"""Rename weights of the package efficientnet_pytorch (and its Lite models) to timm's names."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Parts of a block there -> here, with an expansion before the depthwise convolution and without.
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_UNEXPANDED = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def from_efficientnet_pytorch(given: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename weights to those of a timm network with these `names`; others than of that package stay as they are.

    Blocks are numbered through there, and by stage and position here.
    """
    if "_conv_stem.weight" not in given:
        return dict(given)
    blocks = sorted(
        {(int(match[1]), int(match[2])) for name in names if (match := re.match(r"blocks\.(\d+)\.(\d+)\.", name))}
    )
    renamed = {}
    for key, value in given.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(.+)", key):
            number, part, rest = int(match[1]), match[2], match[3]
            parts = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in given else _UNEXPANDED
            position = ".".join(map(str, blocks[number])) if number < len(blocks) else f"?.{number}"
            renamed[f"blocks.{position}.{parts.get(part, part)}.{rest}"] = value
        else:
            first, _, rest = key.partition(".")
            renamed[f"{_OUTSIDE.get(first, first)}.{rest}"] = value
    return renamed
