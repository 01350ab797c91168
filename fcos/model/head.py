"""The prediction head: class logits, ltrb distances and localisation quality."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config.choices import HeadNorm
from fcos.config.model_parts import HeadConfig
from fcos.model.level_canvas import Canvas, canvas_of, group_norm_relu, joins, lay, take
from fcos.model.norm import GroupNorm, batch_norm
from fcos.structures import HeadOutputs

# (width, height) of each anchor of a location, in strides.
Anchors = tuple[tuple[float, float], ...]
# Maps of class logits, raw regression and quality.
Maps = tuple[Tensor, Tensor, Tensor | None]


class Tower(nn.Module):
    """3x3 convolutions shared by all levels, each followed by a norm (shared or one per level) and ReLU."""

    def __init__(self, channels: int, config: HeadConfig, *, num_levels: int) -> None:
        super().__init__()
        layers = range(config.num_convs)
        self.convs = nn.ModuleList(_conv(channels, channels, bias=0.0 if config.conv_bias else None) for _ in layers)
        copies = num_levels if config.norm == "bn_per_level" else 1
        self.norms = nn.ModuleList(
            nn.ModuleList(_norm(config.norm, channels, config.gn_groups) for _ in layers) for _ in range(copies)
        )

    def forward(self, x: Float[Tensor, "B C H W"], where: int | Canvas) -> Float[Tensor, "B C H W"]:
        """Return the features of a level; `where` is its number, or what all levels lie on (group norm only)."""
        norms = self.norms[where if isinstance(where, int) and len(self.norms) > 1 else 0]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            if isinstance(where, Canvas):
                assert isinstance(norm, GroupNorm)
                x = group_norm_relu(conv(x), norm.weight, norm.bias, norm.num_groups, norm.eps, where)
            else:
                x = norm(conv(x)).relu()
        return x


class Head(nn.Module):
    """Head shared by all levels: towers of convolutions and the predictions made from them.

    towers=separate has one for classification and one for regression, shared one for both; quality_branch=own adds one
    for the quality. regression=exp: exp(s_i x) (v1), relu: relu(s_i x) (v2), with a learned s_i per level or none;
    `divide_by_stride` predicts in units of the stride (v2), but ltrb is returned in pixels. deltas predicts shift and
    log-scale of each of the `anchors`, (width, height) in strides (RetinaNet). Locations with several anchors, or with
    several `targets_per_location`, have consecutive predictions for each. `prior` is the initial probability of every
    class (focal loss paper, 4.1).
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        config: HeadConfig,
        *,
        strides: Sequence[int],
        anchors: Anchors = (),
        targets_per_location: int = 1,
    ) -> None:
        super().__init__()
        make_tower = partial(Tower, channels, config, num_levels=len(strides))
        self.regression_kind = config.regression
        self.strides = tuple(strides)
        self.predictions_per_location = max(targets_per_location, len(anchors))
        self.register_buffer("anchors", torch.tensor(anchors).view(-1, 2), persistent=False)
        self.units = [float(stride) if config.divide_by_stride else 1.0 for stride in strides]
        self.quality_branch = config.quality_branch
        # Whether the levels can be laid on one map: batch norms gather statistics of what lies between them.
        self._joins = config.norm == "gn"
        # Also the regression tower where towers are shared.
        self.classification_tower = make_tower()
        self.regression_tower = make_tower() if config.towers == "separate" else None
        prior_bias = -math.log((1 - config.prior) / config.prior)
        self.classification = _conv(channels, num_classes * self.predictions_per_location, bias=prior_bias)
        self.regression = _conv(channels, 4 * self.predictions_per_location)
        self.scales = nn.Parameter(torch.ones(len(strides))) if config.scale_per_level else None
        # Last, so that all other initial weights are the same with and without it.
        has_quality = config.quality != "none"
        self.quality_tower = make_tower() if has_quality and config.quality_branch == "own" else None
        self.quality = _conv(channels, self.predictions_per_location) if has_quality else None

    anchors: Float[Tensor, "A 2"]

    def forward(self, features: Sequence[Float[Tensor, "B C _ _"]]) -> HeadOutputs:
        count = self.predictions_per_location
        logits, ltrb, quality = [], [], []
        joined = self._joins and joins(features)
        maps = self._joined_maps(features) if joined else (self._maps(x, level) for level, x in enumerate(features))
        for level, (classes, distances, quality_map) in enumerate(maps):
            logits.append(flatten(classes, count))
            ltrb.append(self._distances(flatten(distances, count), level))
            if quality_map is not None:
                quality.append(flatten(quality_map, count).squeeze(-1))
        return HeadOutputs(
            logits=tuple(logits),
            ltrb=torch.cat(ltrb, dim=1),
            quality=torch.cat(quality, dim=1) if self.quality is not None else None,
            shapes=tuple((x.shape[-2], x.shape[-1] * count) for x in features),
        )

    def _joined_maps(self, features: Sequence[Float[Tensor, "B C _ _"]]) -> list[Maps]:
        """Return the maps of every level, predicted on one map of them all."""
        canvas = canvas_of(tuple((x.shape[-2], x.shape[-1]) for x in features))
        classes, distances, quality = self._maps(lay(features, canvas), canvas)
        qualities = [None] * len(features) if quality is None else take(quality, canvas)
        return list(zip(take(classes, canvas), take(distances, canvas), qualities, strict=True))

    def _maps(self, x: Float[Tensor, "B C H W"], where: int | Canvas) -> Maps:
        of_classes = self.classification_tower(x, where)
        of_boxes = of_classes if self.regression_tower is None else self.regression_tower(x, where)
        classes, distances = self.classification(of_classes), self.regression(of_boxes)
        if self.quality is None:
            return classes, distances, None
        if self.quality_tower is not None:
            return classes, distances, self.quality(self.quality_tower(x, where))
        return classes, distances, self.quality(of_classes if self.quality_branch == "classification" else of_boxes)

    def _distances(self, raw: Float[Tensor, "B N 4"], level: int) -> Float[Tensor, "B N 4"]:
        """Decode raw regression outputs of a level into ltrb distances in pixels."""
        # bfloat16 has 8 significant bits: under autocast coordinates would be off by pixels.
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.scales is not None:
            raw = raw * self.scales[level]
        # The limit is beyond any image; an infinity would reach the gradient even of negatives.
        match self.regression_kind:
            case "exp":
                return raw.clamp(max=80).exp() * self.units[level]
            case "relu":
                return raw.relu() * self.units[level]
            case _:
                sizes = (self.anchors * self.strides[level]).repeat(raw.shape[1] // len(self.anchors), 1)
                shift, half_size = raw[..., :2] * sizes, raw[..., 2:].clamp(max=10).exp() * (sizes / 2)
                return torch.cat((half_size - shift, half_size + shift), dim=-1)


def _conv(in_channels: int, out_channels: int, bias: float | None = 0.0) -> nn.Conv2d:
    """Return a 3x3 convolution with FCOS's initial weights; None has no bias."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias is not None)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None and bias is not None:
        nn.init.constant_(conv.bias, bias)
    return conv


def _norm(name: HeadNorm, channels: int, gn_groups: int) -> nn.Module:
    match name:
        case "gn":
            return GroupNorm(gn_groups, channels)
        case "bn" | "bn_per_level":
            return batch_norm("bn")(channels)
        case "sync_bn":
            return batch_norm("sync_bn")(channels)
        case "none":
            return nn.Identity()


def flatten(x: Float[Tensor, "B KC H W"], count: int = 1) -> Float[Tensor, "B N C"]:
    """Return a view of a map with its locations row by row, repeated for `count` predictions, also in channels_last."""
    flat = x.permute(0, 2, 3, 1).flatten(1, 2)
    return flat if count == 1 else flat.unflatten(-1, (count, -1)).flatten(1, 2)


class SeparateHeads(nn.Module):
    """The same outputs as `Head`, from one single-level head per level, finest first."""

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Sequence[Float[Tensor, "B C _ _"]]) -> HeadOutputs:
        outputs = [head([x]) for head, x in zip(self.heads, features, strict=True)]
        quality = [output.quality for output in outputs if output.quality is not None]
        return HeadOutputs(
            logits=tuple(output.logits[0] for output in outputs),
            ltrb=torch.cat([output.ltrb for output in outputs], dim=1),
            quality=torch.cat(quality, dim=1) if quality else None,
            shapes=tuple(output.shapes[0] for output in outputs),
        )
